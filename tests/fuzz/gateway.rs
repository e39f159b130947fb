//! What the gateway reads of devices and of its own files.

use std::path::Path;

use super::*;
use crate::config::Config;
use crate::edits::edited;
use crate::store::audiences;
use crate::store::bucket_keys::{BucketKeys as _, FileBucketKeys};
use crate::store::ledger::subject_keys::FileSubjectKeys;
use crate::store::objects::{ChunkOpener, ObjectKey};

/// A group of Alice and Bob as the gateway follows it, and what Alice could upload next.
struct Uploads {
    group: Group,
    add: Vec<u8>,
    update: Vec<u8>,
    removal: Vec<u8>,
    key_package: Vec<u8>,
    group_info: Vec<u8>,
    ratchet_tree: Vec<u8>,
}

fn uploads(world: &World) -> Uploads {
    let (alice, bob, carol) = (world.member(1), world.member(2), world.member(3));
    let mut theirs = world.found(&alice, &[1, 2, 3]);
    let mut group = world.follow(&theirs, &alice).unwrap();
    let joined = alice.add(&mut theirs, &[bob.key_package()]);
    group.commit(&joined, alice.device, &world.registry()).unwrap();
    let update = theirs
        .self_update(&alice.provider, &alice.signer, LeafNodeParameters::default())
        .unwrap()
        .into_commit()
        .tls_serialize_detached()
        .unwrap();
    theirs.clear_pending_commit(alice.provider.storage()).unwrap();
    let (removal, _) = theirs
        .propose_remove_member(&alice.provider, &alice.signer, LeafNodeIndex::new(1))
        .unwrap();
    theirs.clear_pending_proposals(alice.provider.storage()).unwrap();
    let group_info = theirs
        .export_group_info(alice.provider.crypto(), &alice.signer, false)
        .unwrap()
        .tls_serialize_detached()
        .unwrap();
    let ratchet_tree = theirs.export_ratchet_tree().tls_serialize_detached().unwrap();
    Uploads {
        group,
        add: alice.add(&mut theirs, &[carol.key_package()]),
        update,
        removal: removal.tls_serialize_detached().unwrap(),
        key_package: alice.key_package_bytes(),
        group_info,
        ratchet_tree,
    }
}

/// M1, M2, K5, K8, K9: what a device uploads about a group. The first byte chooses the message, the second whether the
/// rest are edits of a real one or a message of its own. What is refused leaves the group as it was.
#[test]
fn group_messages() {
    let world = World::new();
    let uploads = uploads(&world);
    let state = uploads.group.state(&world.directory).unwrap().state;
    let registry = world.registry();
    let load = || Group::load(AudienceId::from_bytes([5; 16]), &state).unwrap();
    let mut group = load();
    bolero::check!(name = "group_messages").for_each(|bytes: &[u8]| {
        let [choice, own, rest @ ..] = bytes else { return };
        let of = |real: &[u8]| {
            if own % 2 == 0 {
                edited(real, rest)
            } else {
                rest.to_vec()
            }
        };
        let by = device(1);
        let done = match choice % 7 {
            0 => group.commit(&of(&uploads.add), by, &registry).is_ok(),
            1 => group.commit(&of(&uploads.update), by, &registry).is_ok(),
            2 => group.propose(&of(&uploads.removal), by).is_ok(),
            3 => group.rejoin(&of(&uploads.update), by, &registry).is_ok(),
            4 => {
                let _ = group.check_group_info(&of(&uploads.group_info));
                let _ = Group::epoch_after(&of(&uploads.add));
                false
            }
            5 => {
                let _ = check_key_package(&of(&uploads.key_package), by, &registry);
                false
            }
            _ => {
                let (info, tree) = (of(&uploads.group_info), &uploads.ratchet_tree);
                let _ = Group::create(&info, tree, &world.gateway, by, &registry);
                let (info, tree) = (&uploads.group_info, of(&uploads.ratchet_tree));
                let _ = Group::create(info, &tree, &world.gateway, by, &registry);
                false
            }
        };
        if done {
            group = load();
        } else {
            assert_eq!(group.state(&world.directory).unwrap().state, state);
        }
    });
}

/// The stored state of a group: openmls would panic over a damaged one, so none comes that far.
#[test]
fn group_state() {
    let world = World::new();
    let state = uploads(&world).group.state(&world.directory).unwrap().state;
    let stored = audiences::digested(&state);
    bolero::check!(name = "group_state").for_each(|bytes: &[u8]| {
        let [own, rest @ ..] = bytes else { return };
        let damaged = if own % 2 == 0 {
            edited(&stored, rest)
        } else {
            rest.to_vec()
        };
        assert_eq!(audiences::checked(&damaged).is_ok(), damaged == stored);
    });
}

/// `gateway.toml`.
#[test]
fn gateway_config() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    bolero::check!(name = "gateway_config").for_each(|bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        let _ = Config::read(&file);
    });
}

/// Key files: of a bucket (K18), of a subject (K27).
#[test]
fn key_files() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
    };
    bolero::check!(name = "key_files").for_each(|bytes: &[u8]| {
        write("3600.key", bytes);
        // What a crash left half destroyed is no key.
        let is_destroyed = bytes.len() >= 32 && bytes.iter().all(|byte| *byte == 0);
        match FileBucketKeys::open(folder.path()) {
            Ok(keys) => {
                let key = keys.existing(3_600).unwrap();
                let taken = key.as_ref().map(|key| key.as_bytes().as_slice());
                assert_eq!(taken, bytes.get(..32).filter(|_| !is_destroyed));
            }
            Err(_) => assert!(bytes.len() != 32, "a key without a check is read"),
        }
        let _ = std::fs::remove_file(folder.path().join("3600.key"));

        let name = format!("{}.key", "0a".repeat(16));
        write(&name, bytes);
        let _ = FileSubjectKeys::open(Path::new(folder.path()));
        let _ = std::fs::remove_file(folder.path().join(name));
    });
}

/// A stored blob: only what was sealed opens, whole and in order.
#[test]
fn stored_object() {
    let keys = tempfile::tempdir().unwrap();
    let keys = FileBucketKeys::open(keys.path()).unwrap();
    let bucket = keys.key(3_600).unwrap();
    let wrapped = ObjectKey::generate().unwrap().wrap(&bucket, b"object").unwrap();
    bolero::check!(name = "stored_object").for_each(|bytes: &[u8]| {
        let altered = edited(&wrapped, bytes);
        assert_eq!(
            ObjectKey::unwrap(&bucket, b"object", &altered).is_ok(),
            altered == wrapped
        );
        let mut opener = ChunkOpener::new(ObjectKey::unwrap(&bucket, b"object", &wrapped).unwrap());
        assert!(opener.update(bytes).is_err() || opener.finish().is_err());
    });
}
