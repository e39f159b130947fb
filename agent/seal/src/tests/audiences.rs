//! Membership: who is in, who leaves, what is kept.

use policies::terms::DeviceId;

use super::world::{AUDIENCE, World, now_s, person, roster};
use crate::limits::{KEY_PACKAGE_AGE_S_MAX, KEY_PACKAGES_MAX};
use crate::{CommitRefused, LeafRefused, Member, MemberError, MembershipChange, Processed, StageError};

fn removal(device: DeviceId) -> MembershipChange {
    MembershipChange {
        remove: vec![device],
        ..MembershipChange::default()
    }
}

#[test]
fn both_devices_see_the_same_epoch_tree_and_roster() {
    let mut world = World::new();
    let (alice, bob) = world.alice_and_bob();
    let state = alice.member.audience_state(AUDIENCE).unwrap();
    assert_eq!(state, bob.member.audience_state(AUDIENCE).unwrap());
    assert_eq!(state.epoch, 1);
    assert_eq!(state.members, [alice.id(), bob.id()]);
    assert_eq!(state.roster, roster(&[1], &[2]));
}

#[test]
fn audience_needs_its_maker_as_an_owner() {
    let mut world = World::new();
    let mut alice = world.device(1, 1);
    let refused = alice
        .member
        .create_audience(AUDIENCE, &roster(&[2], &[1]), &world.directory);
    assert_eq!(refused.unwrap_err(), MemberError::NotOwner);
}

/// K8
#[test]
fn members_to_add_are_computed_from_list_and_log() {
    let mut world = World::new();
    let (alice, bob) = world.alice_and_bob();
    let second = world.device(3, 2);
    let _stranger = world.device(4, 9);
    let missing = || alice.member.missing_devices(AUDIENCE, &world.directory).unwrap();
    assert_eq!(missing(), [second.id()]);
    world.revoke(&second);
    world.revoke(&bob);
    let missing = alice.member.missing_devices(AUDIENCE, &world.directory);
    let stale = alice.member.stale_devices(AUDIENCE, &world.directory);
    assert_eq!(missing.unwrap(), []);
    assert_eq!(stale.unwrap(), [bob.id()]);
}

#[test]
fn one_commit_adds_removes_and_changes_the_roster() {
    let mut world = World::new();
    let (mut alice, mut bob) = world.alice_and_bob();
    let mut carol = world.device(3, 3);
    let change = MembershipChange {
        add: carol.member.key_packages(1, now_s()).unwrap(),
        remove: vec![bob.id()],
        roster: Some(roster(&[1], &[3])),
    };
    let staged = alice
        .member
        .stage_membership(AUDIENCE, &change, &world.directory, now_s())
        .unwrap();
    assert_eq!(staged.joiners, [carol.id()]);
    alice.member.merge_staged(AUDIENCE).unwrap();
    assert_eq!(world.process(&mut bob, &staged.commit), Processed::Removed);
    let joined = carol
        .member
        .join(
            staged.welcome.as_ref().unwrap(),
            &staged.ratchet_tree,
            &world.directory,
        )
        .unwrap();
    assert_eq!(joined.members, [alice.id(), carol.id()]);
    assert_eq!(joined.roster, roster(&[1], &[3]));
    assert_eq!(joined.by, alice.id());
}

#[test]
fn removed_device_keeps_no_record_of_the_audience() {
    let mut world = World::new();
    let mut alice = world.device(1, 1);
    let mut bob = world.device(2, 2);
    let create = alice
        .member
        .create_audience(AUDIENCE, &roster(&[1], &[2]), &world.directory);
    create.unwrap();
    bob.persist();
    let before = bob.records();
    world.join(&mut alice, &mut bob, None);
    bob.persist();
    assert!(bob.records() > before);
    let staged = alice
        .member
        .stage_membership(AUDIENCE, &removal(bob.id()), &world.directory, now_s())
        .unwrap();
    world.process(&mut bob, &staged.commit);
    bob.persist();
    assert_eq!(bob.records(), before);
    assert_eq!(
        bob.member.audience_state(AUDIENCE).unwrap_err(),
        MemberError::NoAudience(AUDIENCE)
    );
}

#[test]
fn person_who_leaves_is_off_the_roster_at_once_and_out_after_the_next_commit() {
    let mut world = World::new();
    let (mut alice, mut bob) = world.alice_and_bob();
    let left = bob.member.stage_leave(AUDIENCE, &world.directory).unwrap();
    bob.member.merge_staged(AUDIENCE).unwrap();
    world.process(&mut alice, &left.commit);
    assert_eq!(
        alice.member.audience_state(AUDIENCE).unwrap().roster,
        roster(&[1], &[])
    );
    let proposal = bob.member.propose_leave(AUDIENCE).unwrap();
    let stored = world.process(&mut alice, &proposal);
    assert_eq!(stored, Processed::ProposalStored { removes: bob.id() });
    let taken = alice
        .member
        .stage_self_update(AUDIENCE, &world.directory)
        .unwrap();
    alice.member.merge_staged(AUDIENCE).unwrap();
    assert_eq!(world.process(&mut bob, &taken.commit), Processed::Removed);
    let members = alice.member.audience_state(AUDIENCE).unwrap().members;
    assert_eq!(members, [alice.id()]);
}

#[test]
fn last_owner_cannot_leave() {
    let mut world = World::new();
    let (mut alice, _bob) = world.alice_and_bob();
    let refused = alice.member.stage_leave(AUDIENCE, &world.directory);
    assert_eq!(
        refused.unwrap_err(),
        StageError::Refused(CommitRefused::RosterChange { by: person(1) })
    );
    assert!(!alice.member.audience_state(AUDIENCE).unwrap().staged);
}

/// M2
#[test]
fn loser_of_an_epoch_discards_processes_the_winner_and_commits_again() {
    let mut world = World::new();
    let (mut alice, mut bob) = world.alice_and_bob();
    let winner = alice
        .member
        .stage_self_update(AUDIENCE, &world.directory)
        .unwrap();
    let _loser = bob.member.stage_self_update(AUDIENCE, &world.directory).unwrap();
    bob.member.discard_staged(AUDIENCE).unwrap();
    alice.member.merge_staged(AUDIENCE).unwrap();
    world.process(&mut bob, &winner.commit);
    let again = bob.member.stage_self_update(AUDIENCE, &world.directory).unwrap();
    bob.member.merge_staged(AUDIENCE).unwrap();
    world.process(&mut alice, &again.commit);
    assert_eq!((alice.epoch(), bob.epoch()), (3, 3));
}

#[test]
fn own_commit_that_comes_back_from_the_log_is_merged() {
    let mut world = World::new();
    let (mut alice, _bob) = world.alice_and_bob();
    let staged = alice
        .member
        .stage_self_update(AUDIENCE, &world.directory)
        .unwrap();
    let processed = world.process(&mut alice, &staged.commit);
    assert!(matches!(processed, Processed::CommitApplied { epoch: 2, .. }));
}

#[test]
fn second_commit_waits_for_the_answer_to_the_first() {
    let mut world = World::new();
    let (mut alice, _bob) = world.alice_and_bob();
    let first = alice.member.stage_self_update(AUDIENCE, &world.directory);
    first.unwrap();
    let second = alice.member.stage_self_update(AUDIENCE, &world.directory);
    assert_eq!(second.unwrap_err(), StageError::Unanswered);
}

/// M6
#[test]
fn state_reloaded_from_its_records_continues() {
    let mut world = World::new();
    let (mut alice, mut bob) = world.alice_and_bob();
    let staged = alice
        .member
        .stage_self_update(AUDIENCE, &world.directory)
        .unwrap();
    alice.persist();
    bob.persist();
    alice.restart();
    bob.restart();
    alice.member.merge_staged(AUDIENCE).unwrap();
    world.process(&mut bob, &staged.commit);
    assert_eq!((alice.epoch(), bob.epoch()), (2, 2));
    bob.persist();
    assert!(bob.member.take_changes().is_empty());
}

#[test]
fn damaged_records_are_no_state() {
    let missing = Member::load(std::collections::BTreeMap::new());
    assert_eq!(missing.unwrap_err(), MemberError::State);
}

/// K11
#[test]
fn key_package_older_than_our_limit_is_not_added() {
    let mut world = World::new();
    let (mut alice, _bob) = world.alice_and_bob();
    let mut second = world.device(3, 2);
    let old_s = now_s() - KEY_PACKAGE_AGE_S_MAX - 1;
    let change = MembershipChange {
        add: second.member.key_packages(1, old_s).unwrap(),
        ..MembershipChange::default()
    };
    let refused = alice
        .member
        .stage_membership(AUDIENCE, &change, &world.directory, now_s());
    assert_eq!(
        refused.unwrap_err(),
        StageError::Refused(LeafRefused::Stale(second.id()).into())
    );
    assert!(matches!(
        second.member.key_packages(KEY_PACKAGES_MAX + 1, now_s()),
        Err(MemberError::TooMany { .. })
    ));
}

#[test]
fn last_resort_key_package_serves_more_than_one_audience() {
    let mut world = World::new();
    let mut alice = world.device(1, 1);
    let mut bob = world.device(2, 2);
    let package = bob.member.last_resort_key_package(now_s()).unwrap();
    for number in [0xA0, 0xA1] {
        let audience = policies::terms::AudienceId::from_bytes([number; 16]);
        let created = alice
            .member
            .create_audience(audience, &roster(&[1], &[2]), &world.directory);
        created.unwrap();
        let change = MembershipChange {
            add: vec![package.clone()],
            ..MembershipChange::default()
        };
        let staged = alice
            .member
            .stage_membership(audience, &change, &world.directory, now_s())
            .unwrap();
        let joined = bob.member.join(
            staged.welcome.as_ref().unwrap(),
            &staged.ratchet_tree,
            &world.directory,
        );
        assert_eq!(joined.unwrap().audience, audience);
    }
    assert_eq!(bob.member.audiences().count(), 2);
}

#[test]
fn debug_of_a_member_prints_public_parts_only() {
    let mut world = World::new();
    let (alice, _bob) = world.alice_and_bob();
    insta::assert_snapshot!(
        format!("{:?}", alice.member),
        @"Member { tenant: TenantId(acme), device: DeviceId(01010101010101010101010101010101), audiences: 1, .. }"
    );
}
