//! What the gateway signs about a story: an acceptance (K14) or a refusal (C5). COSE_Sign1 (RFC 9052),
//! EdDSA by the acceptance key that agents pinned at enrollment; verified over the received bytes.

use ciborium::Value;
use coset::{CborSerializable as _, CoseSign1, CoseSign1Builder, HeaderBuilder, iana};
use ed25519_dalek::{Signer as _, SigningKey};
use policies::cbor;
use policies::keys::Ed25519PublicKey;
use policies::terms::{AudienceId, Cti, DeviceId, Digest, EntryId};

use crate::error::ErrorCode;

const ACCEPTANCE_AAD: &[u8] = b"sealgate/acceptance/1";
const REFUSAL_AAD: &[u8] = b"sealgate/refusal/1";

/// The gateway holds a story, recorded it, and delivers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// The story.
    pub cti: Cti,
    /// SHA-256 of the envelope.
    pub envelope: Digest,
    /// SHA-256 of the clearance.
    pub clearance: Digest,
    /// The audience.
    pub group: AudienceId,
    /// Its place in the group's log.
    pub sequence: u64,
    /// When it was accepted, Unix seconds, gateway time (C4).
    pub at_s: u64,
    /// When it is gone: the floor of its expiry bucket (K14, K18), Unix seconds.
    pub expires_s: u64,
    /// Id of its ledger entry.
    pub entry: EntryId,
}

/// The gateway did not take a story, and says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The story, where its clearance could be read.
    pub cti: Option<Cti>,
    /// Who sent it.
    pub device: DeviceId,
    /// SHA-256 of the envelope.
    pub envelope: Digest,
    /// Why.
    pub code: ErrorCode,
    /// `file:line` of the sharing rule that refused it, where one did.
    pub rule: Option<String>,
    /// In plain words.
    pub reason: String,
    /// Unix seconds, gateway time.
    pub at_s: u64,
}

/// Why a receipt does not count.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReceiptError {
    /// Not a COSE_Sign1 with the fields of this receipt.
    #[error("the receipt cannot be read")]
    Malformed,
    /// Not signed by the pinned acceptance key.
    #[error("the receipt is not signed by the gateway's acceptance key")]
    Signature,
}

impl Acceptance {
    /// The signed bytes.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> Vec<u8> {
        let fields = [
            bytes(self.cti.as_bytes()),
            bytes(self.envelope.as_bytes()),
            bytes(self.clearance.as_bytes()),
            bytes(self.group.as_bytes()),
            self.sequence.into(),
            self.at_s.into(),
            self.expires_s.into(),
            bytes(self.entry.as_bytes()),
        ];
        sign(key, ACCEPTANCE_AAD, fields.into())
    }

    /// Reads and verifies signed bytes.
    ///
    /// # Errors
    /// [`ReceiptError`] when they cannot be read or are not signed by `key`.
    pub fn verify(signed: &[u8], key: &Ed25519PublicKey) -> Result<Self, ReceiptError> {
        let fields = verify(signed, key, ACCEPTANCE_AAD)?;
        let [cti, envelope, clearance, group, sequence, at_s, expires_s, entry] =
            <[Value; 8]>::try_from(fields).map_err(|_| ReceiptError::Malformed)?;
        Ok(Self {
            cti: Cti::from_bytes(array(&cti)?),
            envelope: Digest::from_bytes(array(&envelope)?),
            clearance: Digest::from_bytes(array(&clearance)?),
            group: AudienceId::from_bytes(array(&group)?),
            sequence: unsigned(&sequence)?,
            at_s: unsigned(&at_s)?,
            expires_s: unsigned(&expires_s)?,
            entry: EntryId::from_bytes(array(&entry)?),
        })
    }
}

impl Refusal {
    /// The signed bytes.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> Vec<u8> {
        let fields = [
            self.cti.map_or(Value::Null, |cti| bytes(cti.as_bytes())),
            bytes(self.device.as_bytes()),
            bytes(self.envelope.as_bytes()),
            Value::Text(self.code.as_str().to_owned()),
            self.rule.clone().map_or(Value::Null, Value::Text),
            Value::Text(self.reason.clone()),
            self.at_s.into(),
        ];
        sign(key, REFUSAL_AAD, fields.into())
    }

    /// Reads and verifies signed bytes.
    ///
    /// # Errors
    /// [`ReceiptError`] when they cannot be read or are not signed by `key`.
    pub fn verify(signed: &[u8], key: &Ed25519PublicKey) -> Result<Self, ReceiptError> {
        let fields = verify(signed, key, REFUSAL_AAD)?;
        let [cti, device, envelope, code, rule, reason, at_s] =
            <[Value; 7]>::try_from(fields).map_err(|_| ReceiptError::Malformed)?;
        let code = text(&code)?;
        Ok(Self {
            cti: if cti.is_null() {
                None
            } else {
                Some(Cti::from_bytes(array(&cti)?))
            },
            device: DeviceId::from_bytes(array(&device)?),
            envelope: Digest::from_bytes(array(&envelope)?),
            code: ErrorCode::ALL
                .iter()
                .copied()
                .find(|c| c.as_str() == code)
                .ok_or(ReceiptError::Malformed)?,
            rule: if rule.is_null() { None } else { Some(text(&rule)?) },
            reason: text(&reason)?,
            at_s: unsigned(&at_s)?,
        })
    }
}

fn sign(key: &SigningKey, aad: &[u8], fields: Vec<Value>) -> Vec<u8> {
    let protected = HeaderBuilder::new().algorithm(iana::Algorithm::EdDSA).build();
    let signed = CoseSign1Builder::new()
        .protected(protected)
        .payload(cbor::canonical(&Value::Array(fields)))
        .create_signature(aad, |message| key.sign(message).to_bytes().to_vec())
        .build();
    signed.to_vec().unwrap_or_default()
}

fn verify(signed: &[u8], key: &Ed25519PublicKey, aad: &[u8]) -> Result<Vec<Value>, ReceiptError> {
    let message = CoseSign1::from_slice(signed).map_err(|_| ReceiptError::Malformed)?;
    let eddsa = coset::RegisteredLabelWithPrivate::Assigned(iana::Algorithm::EdDSA);
    if message.protected.header.alg != Some(eddsa) || !message.protected.header.crit.is_empty() {
        return Err(ReceiptError::Malformed);
    }
    message.verify_signature(aad, |signature, data| {
        let signature = signature.try_into().map_err(|_| ReceiptError::Signature)?;
        if key.verify(data, signature) {
            Ok(())
        } else {
            Err(ReceiptError::Signature)
        }
    })?;
    let payload = message.payload.ok_or(ReceiptError::Malformed)?;
    let value = cbor::strict_value(&payload).map_err(|_| ReceiptError::Malformed)?;
    value.into_array().map_err(|_| ReceiptError::Malformed)
}

fn bytes(bytes: &[u8]) -> Value {
    Value::Bytes(bytes.to_vec())
}

fn array<const N: usize>(value: &Value) -> Result<[u8; N], ReceiptError> {
    value
        .as_bytes()
        .and_then(|b| b.as_slice().try_into().ok())
        .ok_or(ReceiptError::Malformed)
}

fn text(value: &Value) -> Result<String, ReceiptError> {
    value.as_text().map(str::to_owned).ok_or(ReceiptError::Malformed)
}

fn unsigned(value: &Value) -> Result<u64, ReceiptError> {
    value
        .as_integer()
        .and_then(|i| u64::try_from(i).ok())
        .ok_or(ReceiptError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> (SigningKey, Ed25519PublicKey) {
        let key = SigningKey::from_bytes(&[7; 32]);
        let public = Ed25519PublicKey::from_bytes(&key.verifying_key().to_bytes()).unwrap();
        (key, public)
    }

    fn acceptance() -> Acceptance {
        Acceptance {
            cti: Cti::from_bytes([1; 16]),
            envelope: Digest::from_bytes([2; 32]),
            clearance: Digest::from_bytes([3; 32]),
            group: AudienceId::from_bytes([4; 16]),
            sequence: 5,
            at_s: 6,
            expires_s: 7,
            entry: EntryId::from_bytes([8; 16]),
        }
    }

    #[test]
    fn acceptance_survives_the_wire() {
        let (key, public) = keys();
        assert_eq!(
            Acceptance::verify(&acceptance().sign(&key), &public),
            Ok(acceptance())
        );
    }

    /// K14: a changed acceptance counts for nothing, whatever byte was changed.
    #[test]
    fn any_changed_byte_is_refused() {
        let (key, public) = keys();
        let signed = acceptance().sign(&key);
        for index in 0..signed.len() {
            let mut changed = signed.clone();
            changed[index] ^= 1;
            assert!(Acceptance::verify(&changed, &public).is_err(), "byte {index}");
        }
    }

    #[test]
    fn refusal_is_no_acceptance() {
        let (key, public) = keys();
        let refusal = Refusal {
            cti: None,
            device: DeviceId::from_bytes([1; 16]),
            envelope: Digest::from_bytes([2; 32]),
            code: ErrorCode::SharingDenied,
            rule: Some("sharing/policy.csv:7".to_owned()),
            reason: "confidential stories stay inside".to_owned(),
            at_s: 9,
        };
        let signed = refusal.sign(&key);
        assert_eq!(Refusal::verify(&signed, &public), Ok(refusal));
        assert!(Acceptance::verify(&signed, &public).is_err());
    }
}
