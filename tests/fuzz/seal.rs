//! What an agent reads of a hostile gateway, and of its own encrypted store.

use zeroize::Zeroizing;

use super::stories::Stage;
use super::world::{AUDIENCE, World, now_s};
use crate::story::Manifest;
use crate::{OpenError, RecordCipher};

#[path = "edits.rs"]
mod edits;

use edits::edited;

/// An envelope that its sender cleared, changed on its way or made up: only the real one shows anything, once.
#[test]
fn envelope() {
    let mut stage = Stage::new();
    let sent = stage.sent();
    bolero::check!(name = "envelope").for_each(|bytes: &[u8]| {
        let [own, rest @ ..] = bytes else { return };
        let envelope = if own % 2 == 0 {
            edited(&sent.envelope, rest)
        } else {
            rest.to_vec()
        };
        let real = envelope == sent.envelope;
        let cleared = stage.cleared_anew(&sent, envelope);
        match stage.open(&cleared) {
            Ok(_) => assert!(real),
            Err(error) => assert!(matches!(error, OpenError::Envelope(_)), "{error}"),
        }
    });
}

/// Handshakes of a hostile gateway to a member: whatever is taken up, the member can go on from its store.
#[test]
fn handshake() {
    let mut world = World::new();
    let (mut alice, mut bob) = world.alice_and_bob();
    bob.persist();
    let commit = alice
        .member
        .stage_self_update(AUDIENCE, &world.directory)
        .unwrap()
        .commit;
    let removal = world.external_remove(1, 0);
    bolero::check!(name = "handshake").for_each(|bytes: &[u8]| {
        let [choice, rest @ ..] = bytes else { return };
        let message = match choice % 3 {
            0 => edited(&commit, rest),
            1 => edited(&removal, rest),
            _ => rest.to_vec(),
        };
        let before = bob.epoch();
        match bob.member.process(AUDIENCE, &message, &world.directory) {
            Ok(_) => bob.restart(),
            Err(_) => assert_eq!(bob.epoch(), before),
        }
    });
}

/// A Welcome and its tree.
#[test]
fn welcome() {
    let mut world = World::new();
    let (mut alice, _bob) = world.alice_and_bob();
    let mut carol = world.device(3, 1);
    let change = crate::MembershipChange {
        add: carol.member.key_packages(1, now_s()).unwrap(),
        ..crate::MembershipChange::default()
    };
    carol.persist();
    let staged = alice
        .member
        .stage_membership(AUDIENCE, &change, &world.directory, now_s())
        .unwrap();
    let welcome = staged.welcome.unwrap();
    bolero::check!(name = "welcome").for_each(|bytes: &[u8]| {
        let [choice, rest @ ..] = bytes else { return };
        let (welcome, tree) = match choice % 4 {
            0 => (edited(&welcome, rest), staged.ratchet_tree.clone()),
            1 => (welcome.clone(), edited(&staged.ratchet_tree, rest)),
            2 => (rest.to_vec(), staged.ratchet_tree.clone()),
            _ => (welcome.clone(), rest.to_vec()),
        };
        let _ = carol.member.join(&welcome, &tree, &world.directory);
        carol.restart();
    });
}

/// A story's manifest, decrypted: its sender may be hostile too.
#[test]
fn manifest() {
    bolero::check!(name = "manifest").for_each(|bytes: &[u8]| {
        if let Ok(manifest) = Manifest::from_bytes(bytes) {
            assert_eq!(manifest.to_bytes(), Zeroizing::new(bytes.to_vec()));
        }
    });
}

/// A record of the store: only what was sealed for this place opens.
#[test]
fn stored_record() {
    let cipher = RecordCipher::new(&[7; 32]).unwrap();
    let record = cipher.seal(b"place", b"value", &mut rand::rng()).unwrap();
    bolero::check!(name = "stored_record").for_each(|bytes: &[u8]| {
        let [own, rest @ ..] = bytes else { return };
        let altered = if own % 2 == 0 {
            edited(&record, rest)
        } else {
            rest.to_vec()
        };
        assert_eq!(cipher.open(b"place", &altered).is_ok(), altered == record);
    });
}
