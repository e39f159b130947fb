//! What the agent reads of local programs and of its own files.

use crate::compose::draft;
use crate::config::{enrollment::Enrollment, settings::Settings};
use crate::local::frame;
use crate::local::wire::FalsePositiveRequest;
use crate::outbox::manifest;
use crate::vault::expiry::ExpiryKeys;

/// Frames on the local socket, which are kept drafts too: what was read is written alike.
#[test]
fn local_frame() {
    bolero::check!(name = "local_frame").for_each(|bytes: &[u8]| {
        if let Ok((header, parts)) = draft::from_frame(bytes) {
            let written = draft::to_frame(&header, &parts).unwrap();
            let (_, again) = draft::from_frame(&written).unwrap();
            assert_eq!(again.digest(), parts.digest());
        }
        let _ = frame::decode::<FalsePositiveRequest>(bytes);
        let _ = frame::decode::<()>(bytes);
    });
}

/// `agent.toml`.
#[test]
fn agent_settings() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    bolero::check!(name = "agent_settings").for_each(|bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        let _ = Settings::load(&file);
    });
}

/// `enrollment.json`.
#[test]
fn enrollment() {
    bolero::check!(name = "enrollment").for_each(|bytes: &[u8]| {
        if let Ok(enrollment) = serde_json::from_slice::<Enrollment>(bytes) {
            let _ = enrollment.pins();
        }
    });
}

/// O4: the manifest beside a file.
#[test]
fn outbox_manifest() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("plan.txt"), "the plan").unwrap();
    bolero::check!(name = "outbox_manifest").for_each(|bytes: &[u8]| {
        std::fs::write(folder.path().join("plan.txt.outbox.json"), bytes).unwrap();
        let promise = manifest::judge(folder.path(), "plan.txt", "team");
        assert_ne!(promise, manifest::Promise::None);
    });
}

/// D4: the key of a bucket.
#[test]
fn expiry_key() {
    let folder = tempfile::tempdir().unwrap();
    let keys = ExpiryKeys::open(folder.path()).unwrap();
    drop(keys.cipher(1).unwrap());
    bolero::check!(name = "expiry_key").for_each(|bytes: &[u8]| {
        std::fs::write(folder.path().join("1.key"), bytes).unwrap();
        assert_eq!(keys.existing(1).is_ok(), bytes.len() == 32);
    });
}
