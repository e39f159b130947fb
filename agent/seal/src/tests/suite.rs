//! The cipher suite is pinned (M8): a key package or a group of another one is not taken, though all else is right.

use openmls::prelude::tls_codec::Serialize as _;
use openmls::prelude::{
    Capabilities, Ciphersuite, ExtensionType, KeyPackage, MlsGroup, MlsGroupCreateConfig, MlsMessageOut,
    OpenMlsProvider as _, PURE_PLAINTEXT_WIRE_FORMAT_POLICY,
};
use openmls_rust_crypto::OpenMlsRustCrypto;
use policies::directory::DirectoryEntry;

use super::world::{AUDIENCE, Device, World, now_s, roster};
use crate::identity::SUITE;
use crate::member::group_id;
use crate::{
    CommitRefused, JoinError, LeafRefused, MembershipChange, ROSTER_EXTENSION, RejoinError, StageError,
};

const OTHER: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519;

fn capabilities() -> Capabilities {
    let extensions = [
        ExtensionType::Unknown(ROSTER_EXTENSION),
        ExtensionType::LastResort,
    ];
    Capabilities::builder()
        .ciphersuites(vec![SUITE, OTHER])
        .extensions(extensions.to_vec())
        .build()
}

/// A key package of the device, whose leaf its device key vouches for.
fn key_package(device: &Device, suite: Ciphersuite) -> KeyPackage {
    let identity = &device.member.identity;
    let bundle = KeyPackage::builder()
        .leaf_node_capabilities(capabilities())
        .build(
            suite,
            &device.member.provider,
            &identity.leaf,
            identity.credential.clone(),
        )
        .unwrap();
    bundle.into_key_package()
}

fn adding(package: KeyPackage) -> MembershipChange {
    let package = MlsMessageOut::from(package).tls_serialize_detached().unwrap();
    MembershipChange {
        add: vec![package],
        ..MembershipChange::default()
    }
}

/// What is sent of Alice's audience, had she made it in this suite: a Welcome for the joiner, the GroupInfo and the tree.
fn audience_in(suite: Ciphersuite, alice: &Device, joiner: &Device) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let (provider, identity) = (OpenMlsRustCrypto::default(), &alice.member.identity);
    let config = MlsGroupCreateConfig::builder()
        .ciphersuite(suite)
        .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
        .use_ratchet_tree_extension(false)
        .capabilities(capabilities())
        .with_group_context_extensions(alice.member.group(AUDIENCE).unwrap().extensions().clone())
        .build();
    let mut group = MlsGroup::new_with_group_id(
        &provider,
        &identity.leaf,
        &config,
        group_id(AUDIENCE),
        identity.credential.clone(),
    )
    .unwrap();
    let package = key_package(joiner, suite);
    let (_, welcome, _) = group.add_members(&provider, &identity.leaf, &[package]).unwrap();
    group.merge_pending_commit(&provider).unwrap();
    let info = group
        .export_group_info(provider.crypto(), &identity.leaf, false)
        .unwrap();
    (
        welcome.tls_serialize_detached().unwrap(),
        info.tls_serialize_detached().unwrap(),
        group.export_ratchet_tree().tls_serialize_detached().unwrap(),
    )
}

/// Alice with an audience that lists Bob, and two devices of his that are not in it.
fn alice_and_two_of_bobs(world: &mut World) -> (Device, Device, Device) {
    let mut alice = world.device(1, 1);
    alice
        .member
        .create_audience(AUDIENCE, &roster(&[1], &[2]), &world.directory)
        .unwrap();
    (alice, world.device(2, 2), world.device(3, 2))
}

/// M8
#[test]
fn key_package_of_another_suite_is_not_added() {
    let mut world = World::new();
    let (mut alice, bob, _) = alice_and_two_of_bobs(&mut world);
    let mut stage = |suite| {
        let change = adding(key_package(&bob, suite));
        alice
            .member
            .stage_membership(AUDIENCE, &change, &world.directory, now_s())
    };
    let refused = StageError::Refused(LeafRefused::Incapable(bob.id()).into());
    assert_eq!(stage(OTHER).unwrap_err(), refused);
    stage(SUITE).unwrap();
}

/// M8
#[test]
fn group_of_another_suite_is_not_joined() {
    let mut world = World::new();
    let (alice, mut bob, _) = alice_and_two_of_bobs(&mut world);
    let mut join = |suite| {
        let (welcome, _, tree) = audience_in(suite, &alice, &bob);
        bob.member.join(&welcome, &tree, &world.directory)
    };
    assert_eq!(
        join(OTHER).unwrap_err(),
        JoinError::Refused(CommitRefused::Context)
    );
    assert_eq!(join(SUITE).unwrap().audience, AUDIENCE);
}

/// M8
#[test]
fn group_of_another_suite_is_not_rejoined() {
    let mut world = World::new();
    let (alice, bob, mut other) = alice_and_two_of_bobs(&mut world);
    let entry = world.entries;
    world.log(&DirectoryEntry::DeviceRejoin {
        device: other.id(),
        at_s: now_s(),
    });
    let mut rejoin = |suite| {
        let (_, info, tree) = audience_in(suite, &alice, &bob);
        other
            .member
            .rejoin(AUDIENCE, &info, &tree, &world.directory, entry)
            .unwrap_err()
    };
    assert_eq!(rejoin(OTHER), RejoinError::Unusable);
    assert_eq!(rejoin(SUITE), RejoinError::NotAMember);
}
