//! What must not work: an invented device, a seized roster, a gateway that proposes more than a removal (K8).

use openmls::prelude::tls_codec::Serialize as _;
use policies::directory::Directory;
use policies::terms::PersonId;

use super::world::{AUDIENCE, Device, World, now_s, person, roster};
use crate::{CommitRefused, JoinError, LeafRefused, MembershipChange, ProcessError, Processed, StageError};

fn adding(joiner: &mut Device) -> MembershipChange {
    MembershipChange {
        add: joiner.member.key_packages(1, now_s()).unwrap(),
        ..MembershipChange::default()
    }
}

/// What a hostile member's own agent would let through: a log of its own making.
fn forged(world: &World, device: &Device, as_person: PersonId) -> Directory {
    let mut forged = World::new();
    forged.directory = world.directory.clone();
    forged.entries = world.entries;
    forged.add(device, as_person);
    forged.directory
}

/// K8
#[test]
fn unlogged_device_is_not_added() {
    let mut world = World::new();
    let (mut alice, _bob) = world.alice_and_bob();
    let mut invented = world.unlogged(9, 2);
    let refused = alice
        .member
        .stage_membership(AUDIENCE, &adding(&mut invented), &world.directory, now_s());
    assert_eq!(
        refused.unwrap_err(),
        StageError::Refused(LeafRefused::Unlogged(invented.id()).into())
    );
}

/// K8
#[test]
fn commit_that_adds_an_unlogged_device_is_not_merged() {
    let mut world = World::new();
    let (mut alice, mut bob) = world.alice_and_bob();
    let mut invented = world.unlogged(9, 2);
    let theirs = forged(&world, &invented, person(2));
    let staged = bob
        .member
        .stage_membership(AUDIENCE, &adding(&mut invented), &theirs, now_s())
        .unwrap();
    let refused = alice.member.process(AUDIENCE, &staged.commit, &world.directory);
    assert_eq!(
        refused.unwrap_err(),
        ProcessError::Refused(LeafRefused::Unlogged(invented.id()).into())
    );
    assert_eq!(alice.epoch(), 1);
    world.add(&invented, person(2));
    let once_logged = world.process(&mut alice, &staged.commit);
    assert!(matches!(once_logged, Processed::CommitApplied { .. }));
}

/// K8
#[test]
fn device_of_an_unlisted_person_is_not_added() {
    let mut world = World::new();
    let (mut alice, _bob) = world.alice_and_bob();
    let mut stranger = world.device(9, 9);
    let refused = alice
        .member
        .stage_membership(AUDIENCE, &adding(&mut stranger), &world.directory, now_s());
    assert_eq!(
        refused.unwrap_err(),
        StageError::Refused(LeafRefused::Unlisted(person(9)).into())
    );
}

#[test]
fn revoked_device_is_not_added() {
    let mut world = World::new();
    let (mut alice, _bob) = world.alice_and_bob();
    let mut second = world.device(3, 2);
    world.revoke(&second);
    let refused = alice
        .member
        .stage_membership(AUDIENCE, &adding(&mut second), &world.directory, now_s());
    assert_eq!(
        refused.unwrap_err(),
        StageError::Refused(LeafRefused::Revoked(second.id()).into())
    );
}

#[test]
fn device_does_not_get_a_second_leaf() {
    let mut world = World::new();
    let (mut alice, mut bob) = world.alice_and_bob();
    let refused = alice
        .member
        .stage_membership(AUDIENCE, &adding(&mut bob), &world.directory, now_s());
    assert!(refused.is_err());
}

/// K5
#[test]
fn leaf_key_that_the_device_key_did_not_sign_is_not_added() {
    let mut world = World::new();
    let (mut alice, _bob) = world.alice_and_bob();
    let logged = world.device(3, 2);
    let mut impostor = world.unlogged(3, 2);
    let refused = alice
        .member
        .stage_membership(AUDIENCE, &adding(&mut impostor), &world.directory, now_s());
    assert_eq!(
        refused.unwrap_err(),
        StageError::Refused(LeafRefused::Unvouched(logged.id()).into())
    );
}

/// K8
#[test]
fn roster_change_by_one_who_is_no_owner_is_not_merged() {
    let mut world = World::new();
    let (mut alice, mut bob) = world.alice_and_bob();
    let seizing = MembershipChange {
        roster: Some(roster(&[2], &[1])),
        ..MembershipChange::default()
    };
    let honest = bob
        .member
        .stage_membership(AUDIENCE, &seizing, &world.directory, now_s());
    let refused = CommitRefused::RosterChange { by: person(2) };
    assert_eq!(honest.unwrap_err(), StageError::Refused(refused.clone()));
    let mut pretending = World::new();
    pretending.add(&alice, person(2));
    pretending.add(&bob, person(1));
    let staged = bob
        .member
        .stage_membership(AUDIENCE, &seizing, &pretending.directory, now_s())
        .unwrap();
    let processed = alice.member.process(AUDIENCE, &staged.commit, &world.directory);
    assert_eq!(processed.unwrap_err(), ProcessError::Refused(refused));
    assert_eq!(
        alice.member.audience_state(AUDIENCE).unwrap().roster,
        roster(&[1], &[2])
    );
}

/// K8
#[test]
fn listed_device_is_not_removed_by_one_who_is_no_owner() {
    let mut world = World::new();
    let (alice, mut bob) = world.alice_and_bob();
    let change = MembershipChange {
        remove: vec![alice.id()],
        ..MembershipChange::default()
    };
    let refused = bob
        .member
        .stage_membership(AUDIENCE, &change, &world.directory, now_s());
    assert_eq!(
        refused.unwrap_err(),
        StageError::Refused(CommitRefused::Removal {
            device: alice.id(),
            by: person(2)
        })
    );
}

#[test]
fn anybody_removes_a_revoked_device() {
    let mut world = World::new();
    let (mut alice, mut bob) = world.alice_and_bob();
    let mut carol = world.device(3, 2);
    let (staged, _) = world.join(&mut alice, &mut carol, None);
    world.process(&mut bob, &staged.commit);
    world.revoke(&alice);
    let change = MembershipChange {
        remove: vec![alice.id()],
        ..MembershipChange::default()
    };
    let staged = bob
        .member
        .stage_membership(AUDIENCE, &change, &world.directory, now_s())
        .unwrap();
    world.process(&mut carol, &staged.commit);
    assert_eq!(world.process(&mut alice, &staged.commit), Processed::Removed);
}

/// K8
#[test]
fn welcome_of_an_audience_with_an_unlogged_leaf_is_not_followed_and_may_be_tried_again() {
    let mut world = World::new();
    let mut mallory = world.unlogged(9, 9);
    let mut bob = world.device(2, 2);
    let mut theirs = World::new();
    theirs.add(&bob, person(2));
    theirs.add(&mallory, person(9));
    let created = mallory
        .member
        .create_audience(AUDIENCE, &roster(&[9], &[2]), &theirs.directory);
    created.unwrap();
    let staged = mallory
        .member
        .stage_membership(AUDIENCE, &adding(&mut bob), &theirs.directory, now_s())
        .unwrap();
    let welcome = staged.welcome.as_ref().unwrap();
    let refused = bob.member.join(welcome, &staged.ratchet_tree, &world.directory);
    assert_eq!(
        refused.unwrap_err(),
        JoinError::Refused(LeafRefused::Unlogged(mallory.id()).into())
    );
    assert_eq!(bob.member.audiences().count(), 0);
    world.add(&mallory, person(9));
    let joined = bob.member.join(welcome, &staged.ratchet_tree, &world.directory);
    assert!(joined.is_ok());
}

#[test]
fn welcome_whose_roster_does_not_list_the_joiner_is_not_followed() {
    let mut world = World::new();
    let mut mallory = world.device(9, 9);
    let mut bob = world.device(2, 2);
    let mut theirs = World::new();
    theirs.add(&mallory, person(9));
    theirs.add(&bob, person(9));
    let created = mallory
        .member
        .create_audience(AUDIENCE, &roster(&[9], &[]), &theirs.directory);
    created.unwrap();
    let staged = mallory
        .member
        .stage_membership(AUDIENCE, &adding(&mut bob), &theirs.directory, now_s())
        .unwrap();
    let refused = bob.member.join(
        staged.welcome.as_ref().unwrap(),
        &staged.ratchet_tree,
        &world.directory,
    );
    assert_eq!(refused.unwrap_err(), JoinError::Unlisted);
}

/// K8
#[test]
fn audience_with_another_gateway_key_is_not_joined() {
    let mut world = World::new();
    let mut bob = world.device(2, 2);
    let key =
        crate::FileDeviceKey::from_scalar(policies::terms::DeviceId::from_bytes([1; 16]), &[7; 32]).unwrap();
    let other = aws_lc_rs::signature::Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
    let other = aws_lc_rs::signature::KeyPair::public_key(&other)
        .as_ref()
        .to_vec();
    let other = policies::keys::Ed25519PublicKey::from_bytes(other.as_slice().try_into().unwrap()).unwrap();
    let mut alice = world.unlogged(1, 1);
    alice.member = crate::Member::create(super::world::tenant(), other, &key, &mut rand::rng()).unwrap();
    alice.key = key;
    world.add(&alice, person(1));
    let created = alice
        .member
        .create_audience(AUDIENCE, &roster(&[1], &[2]), &world.directory);
    created.unwrap();
    let staged = alice
        .member
        .stage_membership(AUDIENCE, &adding(&mut bob), &world.directory, now_s())
        .unwrap();
    let refused = bob.member.join(
        staged.welcome.as_ref().unwrap(),
        &staged.ratchet_tree,
        &world.directory,
    );
    assert_eq!(refused.unwrap_err(), JoinError::Refused(CommitRefused::Context));
}

/// K8
#[test]
fn gateway_may_propose_a_removal_and_nothing_else() {
    let mut world = World::new();
    let (mut alice, bob) = world.alice_and_bob();
    let mut second = world.device(3, 2);
    let package = second.member.key_packages(1, now_s()).unwrap().remove(0);
    for proposal in [
        world.external_add(&package),
        world.external_roster(&roster(&[2], &[])),
    ] {
        let refused = alice.member.process(AUDIENCE, &proposal, &world.directory);
        assert_eq!(
            refused.unwrap_err(),
            ProcessError::Refused(CommitRefused::Proposal)
        );
    }
    let state = alice.member.audience_state(AUDIENCE).unwrap();
    assert_eq!(state.pending_removals, []);
    let remove = world.external_remove(1, 1);
    let stored = world.process(&mut alice, &remove);
    assert_eq!(stored, Processed::ProposalStored { removes: bob.id() });
}

#[test]
fn removal_signed_by_another_key_is_not_stored() {
    let mut world = World::new();
    let (mut alice, _bob) = world.alice_and_bob();
    let mut remove = world.external_remove(1, 1);
    let last = remove.len() - 1;
    remove[last] ^= 1;
    let refused = alice.member.process(AUDIENCE, &remove, &world.directory);
    assert_eq!(refused.unwrap_err(), ProcessError::Unusable);
}

#[test]
fn device_whose_removal_is_pending_cannot_commit() {
    let mut world = World::new();
    let (_alice, mut bob) = world.alice_and_bob();
    world.process(&mut bob, &world.external_remove(1, 1));
    let refused = bob.member.stage_self_update(AUDIENCE, &world.directory);
    assert_eq!(refused.unwrap_err(), StageError::BeingRemoved);
}

#[test]
fn message_of_another_epoch_or_audience_or_of_rubbish_is_named() {
    let mut world = World::new();
    let (mut alice, mut bob) = world.alice_and_bob();
    let staged = alice
        .member
        .stage_self_update(AUDIENCE, &world.directory)
        .unwrap();
    alice.member.merge_staged(AUDIENCE).unwrap();
    world.process(&mut bob, &staged.commit);
    let again = bob.member.process(AUDIENCE, &staged.commit, &world.directory);
    assert_eq!(
        again.unwrap_err(),
        ProcessError::WrongEpoch { found: 1, current: 2 }
    );
    let rubbish = bob.member.process(AUDIENCE, b"rubbish", &world.directory);
    assert_eq!(rubbish.unwrap_err(), ProcessError::Unusable);
}

/// M1
#[test]
fn commits_travel_in_the_clear_for_the_gateway_to_follow() {
    let mut world = World::new();
    let (mut alice, _bob) = world.alice_and_bob();
    let staged = alice
        .member
        .stage_self_update(AUDIENCE, &world.directory)
        .unwrap();
    let wire_format = openmls::prelude::WireFormat::PublicMessage;
    assert_eq!(staged.commit[2..4], wire_format.tls_serialize_detached().unwrap());
}
