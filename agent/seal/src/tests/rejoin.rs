//! A device that lost its state joins again, under a logged entry, in place of its own leaf, and in no other way
//! (M4, M5, M7, K4, K5, K10).

use openmls::prelude::tls_codec::Deserialize as _;
use openmls::prelude::tls_codec::Serialize as _;
use openmls::prelude::{
    Capabilities, ExtensionType, LeafNodeParameters, MlsGroup, MlsMessageBodyIn, MlsMessageIn,
    OpenMlsProvider as _, RatchetTreeIn,
};
use policies::directory::DirectoryEntry;
use policies::rejoin::RejoinRefused;

use super::world::{AUDIENCE, Device, World, now_s, person, roster, tenant};
use crate::member::ROSTER_EXTENSION;
use crate::{
    CommitRefused, DeviceSigner as _, Member, MembershipChange, ProcessError, Processed, RejoinError,
    Rejoined, StagedCommit,
};

/// What the gateway keeps of the last commit: the GroupInfo and the tree.
type Public = (Vec<u8>, Vec<u8>);

/// Alice (owner), Bob and Dora in epoch 2, and the audience's public state.
struct Stage {
    world: World,
    alice: Device,
    bob: Device,
    dora: Device,
    public: Public,
}

impl Stage {
    fn new() -> Self {
        let mut world = World::new();
        let mut alice = world.device(1, 1);
        let (mut bob, mut dora) = (world.device(2, 2), world.device(3, 3));
        alice
            .member
            .create_audience(AUDIENCE, &roster(&[1], &[2, 3]), &world.directory)
            .unwrap();
        world.join(&mut alice, &mut bob, None);
        let (staged, _) = world.join(&mut alice, &mut dora, None);
        world.process(&mut bob, &staged.commit);
        let public = (staged.group_info, staged.ratchet_tree);
        Self {
            world,
            alice,
            bob,
            dora,
            public,
        }
    }

    /// A `device-rejoin` entry of Bob's device: its index.
    fn log_rejoin(&mut self) -> u64 {
        let device = self.bob.id();
        self.world.log(&DirectoryEntry::DeviceRejoin {
            device,
            at_s: now_s(),
        });
        self.world.entries - 1
    }

    /// Bob's device as after the loss of everything but its device key and its leaf key.
    fn lose_state(&mut self) {
        self.bob.lose_state(self.world.gateway_key());
    }

    fn rejoin(&mut self, entry: u64) -> Result<Rejoined, RejoinError> {
        let (info, tree) = &self.public;
        self.bob
            .member
            .rejoin(AUDIENCE, info, tree, &self.world.directory, entry)
    }

    /// Everybody else merges the commit, which must be Bob's.
    fn everybody_follows(&mut self, rejoined: &Rejoined) {
        let expected = Processed::Rejoined {
            epoch: rejoined.epoch,
            device: self.bob.id(),
        };
        assert_eq!(self.world.process(&mut self.alice, &rejoined.commit), expected);
        assert_eq!(self.world.process(&mut self.dora, &rejoined.commit), expected);
        self.public = (rejoined.group_info.clone(), rejoined.ratchet_tree.clone());
    }

    fn refused_by_alice(&mut self, commit: &[u8]) -> ProcessError {
        let before = self.alice.member.audience_state(AUDIENCE).unwrap();
        let refused = self
            .alice
            .member
            .process(AUDIENCE, commit, &self.world.directory)
            .unwrap_err();
        assert_eq!(self.alice.member.audience_state(AUDIENCE).unwrap(), before);
        refused
    }
}

fn tell(from: &mut Device, text: &[u8]) -> Vec<u8> {
    from.member.encrypt(AUDIENCE, Vec::new(), text).unwrap()
}

fn hears(device: &mut Device, message: &[u8], text: &[u8]) -> bool {
    let decrypted = device.member.decrypt(AUDIENCE, message);
    decrypted.is_ok_and(|decrypted| decrypted.plaintext.as_slice() == text)
}

/// An external commit as a device would make it whose agent does not keep to the rules.
fn hostile_commit(device: &Device, public: &Public, by_own_key: bool) -> Vec<u8> {
    let MlsMessageBodyIn::GroupInfo(info) = MlsMessageIn::tls_deserialize_exact(&public.0).unwrap().extract()
    else {
        panic!("no group info");
    };
    let provider = openmls_rust_crypto::OpenMlsRustCrypto::default();
    let fresh = Member::create(
        tenant(),
        World::new().gateway_key(),
        &device.key,
        &mut rand::rng(),
    )
    .unwrap();
    let identity = if by_own_key {
        &device.member.identity
    } else {
        &fresh.identity
    };
    let extensions = [
        ExtensionType::Unknown(ROSTER_EXTENSION),
        ExtensionType::LastResort,
    ];
    let capabilities = Capabilities::builder().extensions(extensions.to_vec()).build();
    let (_, bundle) = MlsGroup::external_commit_builder()
        .with_ratchet_tree(RatchetTreeIn::tls_deserialize_exact(&public.1).unwrap())
        .skip_lifetime_validation()
        .build_group(&provider, info, identity.credential.clone())
        .unwrap()
        .leaf_node_parameters(
            LeafNodeParameters::builder()
                .with_capabilities(capabilities)
                .build(),
        )
        .load_psks(provider.storage())
        .unwrap()
        .build(provider.rand(), provider.crypto(), &identity.leaf, |_| true)
        .unwrap()
        .finalize(&provider)
        .unwrap();
    bundle.into_commit().tls_serialize_detached().unwrap()
}

/// M4, K4: the state is gone, the leaf key is not: one commit, and everybody is in the same epoch.
#[test]
fn device_that_lost_its_state_replaces_its_leaf_and_reads_on() {
    let mut stage = Stage::new();
    stage.lose_state();
    let entry = stage.log_rejoin();
    let rejoined = stage.rejoin(entry).unwrap();
    stage.everybody_follows(&rejoined);
    assert_eq!(rejoined.roster, roster(&[1], &[2, 3]));
    assert_eq!(
        stage.alice.member.audience_state(AUDIENCE).unwrap().members.len(),
        3
    );
    assert_eq!(
        stage.alice.member.audience_state(AUDIENCE).unwrap().tree_hash,
        stage.bob.member.audience_state(AUDIENCE).unwrap().tree_hash
    );
    let message = tell(&mut stage.alice, b"after");
    assert!(hears(&mut stage.bob, &message, b"after"));
    let answer = tell(&mut stage.bob, b"here again");
    assert!(hears(&mut stage.dora, &answer, b"here again"));
}

/// K10, M5: what was said before the device came back stays closed to it.
#[test]
fn rejoined_device_reads_nothing_of_before() {
    let mut stage = Stage::new();
    let earlier = tell(&mut stage.alice, b"before");
    stage.lose_state();
    let entry = stage.log_rejoin();
    let rejoined = stage.rejoin(entry).unwrap();
    assert!(!hears(&mut stage.bob, &earlier, b"before"));
    assert!(hears(&mut stage.dora, &earlier, b"before"));
    stage.everybody_follows(&rejoined);
}

/// M7: the state that was put back belongs to a leaf that is gone.
#[test]
fn restored_copy_of_the_state_is_removed_by_the_rejoin_and_reads_nothing_after() {
    let mut stage = Stage::new();
    stage.bob.persist();
    let entry = stage.log_rejoin();
    let rejoined = stage.rejoin(entry).unwrap();
    stage.everybody_follows(&rejoined);
    stage.bob.restart(); // what was persisted before the rejoin
    let message = tell(&mut stage.alice, b"after");
    assert!(!hears(&mut stage.bob, &message, b"after"));
    assert_eq!(
        stage.world.process(&mut stage.bob, &rejoined.commit),
        Processed::Removed
    );
    assert_eq!(stage.bob.member.audiences().count(), 0);
}

/// M6: what was persisted is the state of the epoch that the commit begins.
#[test]
fn rejoined_state_survives_a_restart() {
    let mut stage = Stage::new();
    stage.lose_state();
    let entry = stage.log_rejoin();
    let rejoined = stage.rejoin(entry).unwrap();
    stage.bob.persist();
    stage.bob.restart();
    stage.everybody_follows(&rejoined);
    let message = tell(&mut stage.alice, b"after");
    assert!(hears(&mut stage.bob, &message, b"after"));
}

/// M2, M4: another commit won the epoch; the device forgets its own and tries again under the same entry.
#[test]
fn lost_race_is_tried_again_under_the_same_entry() {
    let mut stage = Stage::new();
    stage.lose_state();
    let entry = stage.log_rejoin();
    let lost = stage.rejoin(entry).unwrap();
    let staged: StagedCommit = stage
        .alice
        .member
        .stage_self_update(AUDIENCE, &stage.world.directory)
        .unwrap();
    stage.alice.member.merge_staged(AUDIENCE).unwrap();
    stage.world.process(&mut stage.dora, &staged.commit);
    stage.public = (staged.group_info, staged.ratchet_tree);
    let late = stage
        .alice
        .member
        .process(AUDIENCE, &lost.commit, &stage.world.directory);
    assert!(matches!(late, Err(ProcessError::WrongEpoch { .. })));
    stage.bob.member.abandon(AUDIENCE).unwrap();
    let rejoined = stage.rejoin(entry).unwrap();
    stage.everybody_follows(&rejoined);
}

/// K4: one entry, one external commit per audience; the next needs an entry of its own.
#[test]
fn entry_is_used_once() {
    let mut stage = Stage::new();
    let entry = stage.log_rejoin();
    let rejoined = stage.rejoin(entry).unwrap();
    stage.everybody_follows(&rejoined);
    let used = CommitRefused::Rejoin(RejoinRefused::Used(stage.bob.id()));
    assert_eq!(stage.rejoin(entry).unwrap_err(), RejoinError::Refused(used));
    let later = stage.log_rejoin();
    let rejoined = stage.rejoin(later).unwrap();
    stage.everybody_follows(&rejoined);
}

/// K4: a used entry does not come back by a commit in which the device drops its mark.
#[test]
fn members_refuse_the_commit_of_a_device_that_uses_an_entry_twice() {
    let mut stage = Stage::new();
    let entry = stage.log_rejoin();
    let first = stage.rejoin(entry).unwrap();
    stage.everybody_follows(&first);
    // A second entry that only this device's own agent believes in.
    let honest = stage.world.directory.clone();
    let invented = stage.log_rejoin();
    let second = stage.rejoin(invented).unwrap();
    stage.world.directory = honest;
    assert_eq!(
        stage.refused_by_alice(&second.commit),
        ProcessError::Refused(RejoinRefused::Unlogged(stage.bob.id()).into())
    );
}

/// M4, K8: an external commit without any entry of the log.
#[test]
fn external_commit_without_a_logged_rejoin_is_refused() {
    let mut stage = Stage::new();
    let unlogged = ProcessError::Refused(RejoinRefused::Unlogged(stage.bob.id()).into());
    let commit = hostile_commit(&stage.bob, &stage.public, true);
    assert_eq!(stage.refused_by_alice(&commit), unlogged);
    stage.log_rejoin();
    assert_eq!(stage.refused_by_alice(&commit), unlogged);
}

/// K4: a rejoin always removes the old leaf; a second leaf of the same device is none.
#[test]
fn external_commit_that_keeps_the_old_leaf_is_refused() {
    let mut stage = Stage::new();
    stage.log_rejoin();
    let commit = hostile_commit(&stage.bob, &stage.public, false);
    assert_eq!(
        stage.refused_by_alice(&commit),
        ProcessError::Refused(CommitRefused::Outsider)
    );
}

/// K8: a device that is not in the audience does not come in from outside, logged and listed or not.
#[test]
fn device_that_is_not_in_the_audience_cannot_come_in_by_a_rejoin() {
    let mut stage = Stage::new();
    let mut second = stage.world.device(4, 2);
    let device = second.id();
    stage.world.log(&DirectoryEntry::DeviceRejoin {
        device,
        at_s: now_s(),
    });
    let entry = stage.world.entries - 1;
    let (info, tree) = &stage.public;
    let refused = second
        .member
        .rejoin(AUDIENCE, info, tree, &stage.world.directory, entry);
    assert_eq!(refused.unwrap_err(), RejoinError::NotAMember);
    let commit = hostile_commit(&second, &stage.public, true);
    assert_eq!(
        stage.refused_by_alice(&commit),
        ProcessError::Refused(CommitRefused::Outsider)
    );
}

/// K8: a person who was taken off the roster does not come back by a loss.
#[test]
fn person_who_is_no_longer_listed_cannot_come_back() {
    let mut stage = Stage::new();
    let mut carol = stage.world.device(5, 1);
    let (staged, _) = stage.world.join(&mut stage.alice, &mut carol, None);
    stage.world.process(&mut stage.dora, &staged.commit);
    // Off the list, and not yet out of the tree: the roster changes first here.
    let change = MembershipChange {
        roster: Some(roster(&[1], &[3])),
        ..MembershipChange::default()
    };
    let staged = stage
        .alice
        .member
        .stage_membership(AUDIENCE, &change, &stage.world.directory, now_s())
        .unwrap();
    stage.public = (staged.group_info, staged.ratchet_tree);
    let entry = stage.log_rejoin();
    assert_eq!(stage.rejoin(entry).unwrap_err(), RejoinError::Unlisted);
    assert!(
        stage
            .world
            .directory
            .device(stage.bob.id())
            .is_some_and(|bob| bob.person == person(2))
    );
}

/// M4: without its leaf key a device cannot remove its leaf; it is told, and a member adds it anew.
#[test]
fn device_without_its_leaf_key_is_removed_and_added_by_a_member() {
    let mut stage = Stage::new();
    let entry = stage.log_rejoin();
    let gateway = stage.world.gateway_key();
    stage.bob.member = Member::create(tenant(), gateway, &stage.bob.key, &mut rand::rng()).unwrap();
    stage.bob.member.set_rejoined_by(entry).unwrap();
    assert_eq!(stage.rejoin(entry).unwrap_err(), RejoinError::OtherLeafKey);
    let remove = stage.world.external_remove(2, 1);
    stage.world.process(&mut stage.alice, &remove);
    let change = MembershipChange {
        add: stage.bob.member.key_packages(1, now_s()).unwrap(),
        ..MembershipChange::default()
    };
    let staged = stage
        .alice
        .member
        .stage_membership(AUDIENCE, &change, &stage.world.directory, now_s())
        .unwrap();
    stage.alice.member.merge_staged(AUDIENCE).unwrap();
    let joined = stage.bob.member.join(
        staged.welcome.as_ref().unwrap(),
        &staged.ratchet_tree,
        &stage.world.directory,
    );
    assert!(joined.is_ok());
    // The entry is spent by coming in: the added leaf names it.
    stage.public = (staged.group_info, staged.ratchet_tree);
    let used = CommitRefused::Rejoin(RejoinRefused::Used(stage.bob.id()));
    assert_eq!(stage.rejoin(entry).unwrap_err(), RejoinError::Refused(used));
}

/// M4: what the device had stays as it was when the gateway's public state is not to be believed.
#[test]
fn refused_rejoin_changes_nothing() {
    let mut stage = Stage::new();
    let entry = stage.log_rejoin();
    let mut tree = stage.public.1.clone();
    let middle = tree.len() / 2;
    tree[middle] ^= 1;
    let refused = stage
        .bob
        .member
        .rejoin(AUDIENCE, &stage.public.0, &tree, &stage.world.directory, entry);
    assert!(refused.is_err());
    let message = tell(&mut stage.alice, b"still here");
    assert!(!hears(&mut stage.bob, &message, b"something else"));
    let message = tell(&mut stage.alice, b"still here");
    assert!(hears(&mut stage.bob, &message, b"still here"));
}

/// Off-boarding: the removed device's own state, as it was, opens nothing that is said after the removal.
#[test]
fn removed_devices_own_state_opens_no_later_message() {
    let mut stage = Stage::new();
    let remove = stage.world.external_remove(2, 1);
    for device in [&mut stage.alice, &mut stage.bob, &mut stage.dora] {
        stage.world.process(device, &remove);
    }
    let staged = stage
        .alice
        .member
        .stage_self_update(AUDIENCE, &stage.world.directory)
        .unwrap();
    stage.alice.member.merge_staged(AUDIENCE).unwrap();
    stage.world.process(&mut stage.dora, &staged.commit);
    let later = tell(&mut stage.alice, b"without Bob");
    assert!(!hears(&mut stage.bob, &later, b"without Bob"));
    assert_eq!(
        stage.world.process(&mut stage.bob, &staged.commit),
        Processed::Removed
    );
    assert!(!hears(&mut stage.bob, &later, b"without Bob"));
    assert!(hears(&mut stage.dora, &later, b"without Bob"));
}

#[test]
fn leaf_key_that_was_damaged_is_refused() {
    let world = World::new();
    let bob = world.unlogged(2, 2);
    let made = Member::create_with_leaf_key(tenant(), world.gateway_key(), &bob.key, b"rubbish");
    assert_eq!(made.err(), Some(crate::MemberError::LeafKey));
    assert_eq!(bob.key.device(), bob.id());
}
