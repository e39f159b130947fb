//! What `policies` reads: clearances, bundles, timestamps, device lists, directory entries, the policy folder.

use std::collections::BTreeMap;

use policies::bundle::{Timestamp, UnsignedBundle, UnverifiedBundle};
use policies::clearance::UnverifiedClearance;
use policies::device_list::UnverifiedDeviceList;
use policies::directory::{Directory, DirectoryEntry};
use policies::document::{Folder, check};
use policies::keys::{DevicePublicKey, Ed25519PublicKey};
use policies::roster::Roster;

/// SEC1 of the base point of P-256 (SP 800-186): a valid key whose secret is 1.
const DEVICE_KEY: [u8; 33] = *b"\x03\x6b\x17\xd1\xf2\xe1\x2c\x42\x47\xf8\xbc\xe6\xe5\x63\xa4\x40\xf2\x77\x03\x7d\x81\x2d\xeb\x33\xa0\xf4\xa1\x39\x45\xd8\x98\xc2\x96";

fn ed25519() -> Ed25519PublicKey {
    // The base point of Ed25519 (RFC 8032).
    let mut base = [0x66; 32];
    base[0] = 0x58;
    Ed25519PublicKey::from_bytes(&base).unwrap()
}

#[test]
fn clearance() {
    let key = DevicePublicKey::from_sec1(&DEVICE_KEY).unwrap();
    bolero::check!(name = "clearance").for_each(|bytes: &[u8]| {
        let Ok(read) = UnverifiedClearance::parse(bytes) else {
            return;
        };
        assert!(!format!("{read:?}").is_empty());
        // Whoever does not hold the secret of this key cannot have signed it.
        if let Ok(verified) = read.verify(&key) {
            assert!(verified.claims().exp_s >= verified.claims().iat_s);
        }
    });
}

#[test]
fn bundle() {
    bolero::check!(name = "bundle").for_each(|bytes: &[u8]| {
        if let Ok(read) = UnverifiedBundle::parse(bytes) {
            assert_eq!(read.version(), read.manifest().version);
        }
        if let Ok(half) = UnsignedBundle::parse(bytes) {
            // Strict: there is one way to write what was read.
            assert_eq!(half.to_bytes(), bytes);
            let _ = half.check();
        }
    });
}

#[test]
fn timestamp() {
    let key = ed25519();
    bolero::check!(name = "timestamp").for_each(|bytes: &[u8]| {
        let _ = Timestamp::parse_verify(bytes, &key);
    });
}

#[test]
fn device_list() {
    let key = DevicePublicKey::from_sec1(&DEVICE_KEY).unwrap();
    bolero::check!(name = "device_list").for_each(|bytes: &[u8]| {
        if let Ok(read) = UnverifiedDeviceList::parse(bytes) {
            let definer = read.definer();
            if let Ok(list) = read.verify(&key) {
                assert!(list.devices().contains(&definer));
            }
        }
    });
}

/// K4: an agent reads the whole log, whoever wrote it.
#[test]
fn directory_entry() {
    bolero::check!(name = "directory_entry").for_each(|bytes: &[u8]| {
        if let Ok(entry) = DirectoryEntry::decode(bytes) {
            assert_eq!(entry.encode(), bytes);
            let mut directory = Directory::new();
            let _ = directory.apply(0, &entry);
            let _ = directory.apply(1, &entry);
        }
    });
}

#[test]
fn roster() {
    bolero::check!(name = "roster").for_each(|bytes: &[u8]| {
        if let Ok(roster) = Roster::decode(bytes) {
            assert_eq!(roster.encode(), bytes);
        }
    });
}

/// Files of a policy folder, each behind a line `=== path`.
#[test]
fn policy_folder() {
    bolero::check!(name = "policy_folder").for_each(|bytes: &[u8]| {
        let folder = folder(bytes);
        match check(&folder) {
            Ok(checked) => assert!(!checked.parts().is_empty()),
            Err(problems) => {
                assert!(!problems.0.is_empty());
                for problem in problems.0 {
                    // A place that an editor can jump to, and something to do.
                    assert!(problem.line > 0 && problem.column > 0 && !problem.help.is_empty());
                }
            }
        }
    });
}

fn folder(bytes: &[u8]) -> Folder {
    const MARK: &[u8] = b"=== ";
    let mut files = BTreeMap::<String, Vec<u8>>::new();
    let mut file = String::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if let Some(path) = line.strip_prefix(MARK) {
            String::from_utf8_lossy(path).trim_end().clone_into(&mut file);
        } else {
            files.entry(file.clone()).or_default().extend(line);
        }
    }
    Folder { files }
}
