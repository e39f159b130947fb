//! What `gateway-api` reads: event batches, the envelope's headers, receipts, enrollment files.

use gateway_api::bytes::Bytes;
use gateway_api::enrollment::EnrollmentFile;
use gateway_api::receipt::{Acceptance, Refusal};
use gateway_api::v1::events::{Event, Upload};
use gateway_api::v1::rejoin::StateMark;
use policies::keys::Ed25519PublicKey;

#[test]
fn event_batch() {
    bolero::check!(name = "event_batch").for_each(|bytes: &[u8]| {
        let Ok(upload) = serde_json::from_slice::<Upload>(bytes) else {
            return;
        };
        let _ = upload.events.iter().all(Event::is_within_bounds);
        // What a device reports is what the auditor reads.
        let written = serde_json::to_vec(&upload).unwrap();
        let again: Upload = serde_json::from_slice(&written).unwrap();
        assert_eq!(again.events, upload.events);
    });
}

/// Headers beside an envelope: the clearance in base64url, the mark of the sender's state (M7).
#[test]
fn envelope_header() {
    bolero::check!(name = "envelope_header").for_each(|bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(bytes) = Bytes::from_text(&text) {
            assert_eq!(bytes.to_text(), text);
        }
        if let Ok(mark) = text.parse::<StateMark>() {
            assert_eq!(mark.to_string().parse(), Ok(mark));
        }
    });
}

#[test]
fn receipt() {
    // The base point of Ed25519 (RFC 8032).
    let mut base = [0x66; 32];
    base[0] = 0x58;
    let key = Ed25519PublicKey::from_bytes(&base).unwrap();
    bolero::check!(name = "receipt").for_each(|bytes: &[u8]| {
        let _ = Acceptance::verify(bytes, &key);
        let _ = Refusal::verify(bytes, &key);
    });
}

#[test]
fn enrollment_file() {
    bolero::check!(name = "enrollment_file").for_each(|bytes: &[u8]| {
        let _ = toml::from_str::<EnrollmentFile>(&String::from_utf8_lossy(bytes));
    });
}
