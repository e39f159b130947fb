//! Ours (openmls) and a stranger's MLS (mls-rs) in one audience: what both take for RFC 9420 is what we speak. The
//! stranger's device carries our credential, reads our extensions, and speaks handshakes in the clear as ours do.

use mls_rs::client_builder::MlsConfig;
use mls_rs::crypto::SignaturePublicKey;
use mls_rs::error::MlsError;
use mls_rs::group::{ExportedTree, ReceivedMessage};
use mls_rs::identity::SigningIdentity;
use mls_rs::identity::basic::{BasicCredential, BasicIdentityProvider};
use mls_rs::mls_rules::{CommitOptions, DefaultMlsRules};
use mls_rs::{
    CipherSuite, CipherSuiteProvider as _, Client, CryptoProvider as _, Extension, ExtensionList, Group,
    MlsMessage,
};
use mls_rs_crypto_rustcrypto::RustCryptoProvider;
use policies::leaf::{credential_bytes, leaf_message};
use policies::roster::Roster;
use policies::terms::DeviceId;

use super::world::{AUDIENCE, Device, World, now_s, person, roster, tenant};
use crate::{DeviceSigner as _, FileDeviceKey, MembershipChange, Processed, ROSTER_EXTENSION, SUITE_ID};

const STRANGER: DeviceId = DeviceId::from_bytes([2; 16]);
const SUITE: CipherSuite = CipherSuite::CURVE25519_AES128;

/// A client of mls-rs whose leaf is vouched for by a logged device key (K5).
fn stranger(world: &mut World) -> Client<impl MlsConfig + use<>> {
    let key = FileDeviceKey::generate(STRANGER, &mut rand::rng()).unwrap();
    world.log(&policies::directory::DirectoryEntry::DeviceAdd {
        device: STRANGER,
        person: person(2),
        key: key.public_key().to_sec1(),
        class: policies::terms::AudienceClass::Internal,
        at_s: now_s(),
    });
    let crypto = RustCryptoProvider::default();
    let suite = crypto.cipher_suite_provider(SUITE).unwrap();
    let (secret, public) = suite.signature_key_generate().unwrap();
    let message = leaf_message(&tenant(), STRANGER, SUITE_ID, public.as_bytes());
    let credential = BasicCredential::new(credential_bytes(STRANGER, &key.sign(&message).unwrap()));
    let identity = SigningIdentity::new(
        credential.into_credential(),
        SignaturePublicKey::from(public.as_bytes().to_vec()),
    );
    let out_of_band = CommitOptions::new().with_ratchet_tree_extension(false);
    Client::builder()
        .crypto_provider(crypto)
        .identity_provider(BasicIdentityProvider::new())
        .extension_type(ROSTER_EXTENSION.into())
        .mls_rules(DefaultMlsRules::new().with_commit_options(out_of_band))
        .signing_identity(identity, secret, SUITE)
        .build()
}

/// Alice's audience, made by openmls, which the stranger joined.
fn alice_and_stranger(world: &mut World) -> (Device, Group<impl MlsConfig + use<>>) {
    let mut alice = world.device(1, 1);
    let client = stranger(world);
    alice
        .member
        .create_audience(AUDIENCE, &roster(&[1], &[2]), &world.directory)
        .unwrap();
    let package = client
        .generate_key_package_message(ExtensionList::default(), ExtensionList::default(), None)
        .unwrap();
    let change = MembershipChange {
        add: vec![package.to_bytes().unwrap()],
        ..MembershipChange::default()
    };
    let staged = alice
        .member
        .stage_membership(AUDIENCE, &change, &world.directory, now_s())
        .unwrap();
    alice.member.merge_staged(AUDIENCE).unwrap();
    assert_eq!(staged.joiners, [STRANGER]);
    let tree = ExportedTree::from_bytes(&staged.ratchet_tree).unwrap();
    let welcome = MlsMessage::from_bytes(&staged.welcome.unwrap()).unwrap();
    let (group, _) = client.join_group(Some(tree), &welcome, None).unwrap();
    (alice, group)
}

fn receive<C: MlsConfig>(group: &mut Group<C>, message: &[u8]) -> Result<ReceivedMessage, MlsError> {
    group.process_incoming_message(MlsMessage::from_bytes(message).unwrap())
}

/// Epoch, tree and context are the same on both sides.
fn agree<C: MlsConfig>(alice: &Device, stranger: &Group<C>) {
    let ours = alice.member.group(AUDIENCE).unwrap();
    assert_eq!(stranger.current_epoch(), ours.epoch().as_u64());
    assert_eq!(
        stranger.epoch_authenticator().unwrap().as_bytes(),
        ours.epoch_authenticator().as_slice()
    );
}

fn roster_seen_by<C: MlsConfig>(stranger: &Group<C>) -> Roster {
    let extension: Extension = stranger
        .context()
        .extensions()
        .get(ROSTER_EXTENSION.into())
        .unwrap();
    Roster::decode(extension.extension_data()).unwrap()
}

/// M1, K8: the stranger joins by our Welcome with the tree beside it, and reads our roster and our gateway's key.
#[test]
fn stranger_joins_by_our_welcome_and_reads_our_extensions() {
    let mut world = World::new();
    let (alice, stranger) = alice_and_stranger(&mut world);
    agree(&alice, &stranger);
    assert_eq!(roster_seen_by(&stranger), roster(&[1], &[2]));
    let senders: mls_rs::extension::built_in::ExternalSendersExt =
        stranger.context().extensions().get_as().unwrap().unwrap();
    let keys: Vec<&[u8]> = senders
        .allowed_senders
        .iter()
        .map(|sender| sender.signature_key.as_bytes())
        .collect();
    assert_eq!(keys, [world.gateway_key().to_bytes().as_slice()]);
}

/// Application messages with associated data, both ways.
#[test]
fn messages_are_read_on_the_other_side_with_what_they_authenticate() {
    let mut world = World::new();
    let (mut alice, mut stranger) = alice_and_stranger(&mut world);
    let ours = alice
        .member
        .encrypt(AUDIENCE, b"tag and cti".to_vec(), b"from openmls")
        .unwrap();
    let ReceivedMessage::ApplicationMessage(received) = receive(&mut stranger, &ours).unwrap() else {
        panic!("no application message");
    };
    assert_eq!(received.data(), b"from openmls");
    assert_eq!(received.authenticated_data, b"tag and cti");
    let theirs = stranger
        .encrypt_application_message(b"from mls-rs", b"theirs".to_vec())
        .unwrap();
    let received = alice
        .member
        .decrypt(AUDIENCE, &theirs.to_bytes().unwrap())
        .unwrap();
    assert_eq!(received.plaintext.as_slice(), b"from mls-rs");
    assert_eq!(
        (received.sender, received.associated),
        (STRANGER, b"theirs".to_vec())
    );
}

/// M1, M2: commits in the clear, by either side, bring both to the same epoch.
#[test]
fn commits_of_either_side_are_followed_by_the_other() {
    let mut world = World::new();
    let (mut alice, mut stranger) = alice_and_stranger(&mut world);
    let theirs = stranger.commit(Vec::new()).unwrap();
    stranger.apply_pending_commit().unwrap();
    let processed = world.process(&mut alice, &theirs.commit_message.to_bytes().unwrap());
    assert!(matches!(processed, Processed::CommitApplied { epoch: 2, .. }));
    agree(&alice, &stranger);

    let change = MembershipChange {
        roster: Some(roster(&[1], &[2, 3])),
        ..MembershipChange::default()
    };
    let ours = alice
        .member
        .stage_membership(AUDIENCE, &change, &world.directory, now_s())
        .unwrap();
    alice.member.merge_staged(AUDIENCE).unwrap();
    receive(&mut stranger, &ours.commit).unwrap();
    agree(&alice, &stranger);
    assert_eq!(roster_seen_by(&stranger), roster(&[1], &[2, 3]));
}

/// K8, K9: a device that the stranger adds is judged and let in; one that the gateway proposes to remove is removed
/// by the stranger's commit.
#[test]
fn stranger_adds_a_device_and_carries_out_the_gateways_removal() {
    let mut world = World::new();
    let (mut alice, mut stranger) = alice_and_stranger(&mut world);
    let mut second = world.device(3, 2);
    let package = second.member.key_packages(1, now_s()).unwrap().remove(0);
    let added = stranger
        .commit_builder()
        .add_member(MlsMessage::from_bytes(&package).unwrap())
        .unwrap()
        .build()
        .unwrap();
    stranger.apply_pending_commit().unwrap();
    world.process(&mut alice, &added.commit_message.to_bytes().unwrap());
    let tree = stranger.export_tree().to_bytes().unwrap();
    let welcome = added.welcome_messages[0].to_bytes().unwrap();
    let joined = second.member.join(&welcome, &tree, &world.directory).unwrap();
    assert_eq!((joined.by, joined.members.len()), (STRANGER, 3));
    agree(&second, &stranger);

    let removal = world.external_remove(2, 2);
    for device in [&mut alice, &mut second] {
        let stored = world.process(device, &removal);
        assert_eq!(
            stored,
            Processed::ProposalStored {
                removes: DeviceId::from_bytes([3; 16])
            }
        );
    }
    let ReceivedMessage::Proposal(_) = receive(&mut stranger, &removal).unwrap() else {
        panic!("no proposal");
    };
    let commit = stranger.commit(Vec::new()).unwrap();
    stranger.apply_pending_commit().unwrap();
    let commit = commit.commit_message.to_bytes().unwrap();
    assert_eq!(world.process(&mut second, &commit), Processed::Removed);
    world.process(&mut alice, &commit);
    agree(&alice, &stranger);
    assert_eq!(alice.member.audience_state(AUDIENCE).unwrap().members.len(), 2);
}
