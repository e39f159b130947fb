//! External commits against the keyless view (M4, K4, K5, K9).

use policies::rejoin::{EXTENSION_TYPE, encode};

use super::*;

/// Alice's group with Bob in it, followed by the gateway; Bob's old state is of no interest.
struct Stage {
    world: World,
    alice: Member,
    bob: Member,
    theirs: MlsGroup,
    ours: Group,
}

/// What an external commit brings.
struct External {
    commit: Vec<u8>,
    group_info: Vec<u8>,
}

impl Stage {
    fn new() -> Self {
        let world = World::new();
        let (alice, bob) = (world.member(1), world.member(2));
        let mut theirs = world.found(&alice, &[1, 2]);
        let mut ours = world.follow(&theirs, &alice).unwrap();
        let commit = alice.add(&mut theirs, &[bob.key_package()]);
        ours.commit(&commit, device(1), &world.registry()).unwrap();
        Self {
            world,
            alice,
            bob,
            theirs,
            ours,
        }
    }

    fn log_rejoin(&mut self, number: u8) -> u64 {
        let index = self.world.directory.size();
        self.world.log(DirectoryEntry::DeviceRejoin {
            device: device(number),
            at_s: 2,
        });
        index
    }

    /// The external commit of `member`, whose leaf names `entry`.
    fn external(&self, member: &Member, entry: Option<u64>) -> External {
        let info = self
            .theirs
            .export_group_info(self.alice.provider.crypto(), &self.alice.signer, false)
            .unwrap()
            .tls_serialize_detached()
            .unwrap();
        let message = MlsMessageIn::tls_deserialize_exact(&info).unwrap();
        let MlsMessageBodyIn::GroupInfo(info) = message.extract() else {
            panic!("no group info")
        };
        let mark = |entry| Extension::Unknown(EXTENSION_TYPE, UnknownExtension(encode(entry).to_vec()));
        let leaf = LeafNodeParameters::builder()
            .with_capabilities(rejoin_capabilities())
            .with_extensions(Extensions::from_vec(entry.map(mark).into_iter().collect()).unwrap())
            .build();
        let fresh = OpenMlsRustCrypto::default();
        let (_, bundle) = MlsGroup::external_commit_builder()
            .with_ratchet_tree(self.theirs.export_ratchet_tree().into())
            .build_group(&fresh, info, member.credential.clone())
            .unwrap()
            .leaf_node_parameters(leaf)
            .load_psks(fresh.storage())
            .unwrap()
            .create_group_info(true)
            .build(fresh.rand(), fresh.crypto(), &member.signer, |_| true)
            .unwrap()
            .finalize(&fresh)
            .unwrap();
        let (commit, _, info) = bundle.into_messages();
        External {
            commit: commit.tls_serialize_detached().unwrap(),
            group_info: info.unwrap().tls_serialize_detached().unwrap(),
        }
    }

    fn rejoin(&mut self, external: &External, by: u8) -> Result<(), Fault> {
        self.ours
            .rejoin(&external.commit, device(by), &self.world.registry())
    }

    /// Alice merges it, so that the next commit starts from the same epoch.
    fn process(&mut self, external: &External) -> bool {
        let message = MlsMessageIn::tls_deserialize_exact(&external.commit)
            .unwrap()
            .try_into_protocol_message()
            .unwrap();
        let processed = self
            .theirs
            .process_message(&self.alice.provider, message)
            .unwrap();
        let ProcessedMessageContent::StagedCommitMessage(staged) = processed.into_content() else {
            return false;
        };
        self.theirs
            .merge_staged_commit(&self.alice.provider, *staged)
            .is_ok()
    }
}

fn rejoin_capabilities() -> Capabilities {
    Capabilities::builder()
        .extensions(vec![
            ExtensionType::Unknown(ROSTER_EXTENSION),
            ExtensionType::Unknown(EXTENSION_TYPE),
        ])
        .build()
}

/// M4, K9: the gateway follows, and what is uploaded is the next epoch's.
#[test]
fn device_with_a_logged_rejoin_replaces_its_leaf() {
    let mut stage = Stage::new();
    let entry = stage.log_rejoin(2);
    let external = stage.external(&stage.bob, Some(entry));
    assert_eq!(
        code(stage.ours.check_group_info(&external.group_info)),
        ErrorCode::BadRequest
    );
    stage.rejoin(&external, 2).unwrap();
    stage.ours.check_group_info(&external.group_info).unwrap();
    let state = stage.ours.state(&stage.world.directory).unwrap();
    assert_eq!(state.members, [(0, device(1)), (1, device(2))]);
    assert_eq!(state.epoch, Group::epoch_after(&external.commit).unwrap());
}

/// K4: one entry, one external commit.
#[test]
fn rejoin_under_a_used_or_missing_entry_is_refused() {
    let mut stage = Stage::new();
    let entry = stage.log_rejoin(2);
    let unmarked = stage.external(&stage.bob, None);
    assert_eq!(code(stage.rejoin(&unmarked, 2)), ErrorCode::RejoinRefused);
    let invented = stage.external(&stage.bob, Some(entry + 1));
    assert_eq!(code(stage.rejoin(&invented, 2)), ErrorCode::RejoinRefused);
    let first = stage.external(&stage.bob, Some(entry));
    stage.rejoin(&first, 2).unwrap();
    assert!(stage.process(&first));
    let again = stage.external(&stage.bob, Some(entry));
    assert_eq!(code(stage.rejoin(&again, 2)), ErrorCode::RejoinRefused);
}

/// K4: the entry of another device admits nobody, and nobody sends another's commit.
#[test]
fn rejoin_in_anothers_name_is_refused() {
    let mut stage = Stage::new();
    let entry = stage.log_rejoin(1);
    let bobs = stage.external(&stage.bob, Some(entry));
    assert_eq!(code(stage.rejoin(&bobs, 2)), ErrorCode::RejoinRefused);
    let entry = stage.log_rejoin(2);
    let bobs = stage.external(&stage.bob, Some(entry));
    assert_eq!(code(stage.rejoin(&bobs, 1)), ErrorCode::RejoinRefused);
}

/// K4, K8: a rejoin removes the old leaf, and one who has none stays out.
#[test]
fn external_commit_that_replaces_no_leaf_of_its_own_is_refused() {
    let mut stage = Stage::new();
    let entry = stage.log_rejoin(2);
    let other_key = stage.world.member(2);
    let second_leaf = stage.external(&other_key, Some(entry));
    assert_eq!(code(stage.rejoin(&second_leaf, 2)), ErrorCode::RejoinRefused);
    let entry = stage.log_rejoin(3);
    let outsider = stage.external(&stage.world.member(3), Some(entry));
    assert_eq!(code(stage.rejoin(&outsider, 3)), ErrorCode::NotAMember);
}

/// E6: a revoked device does not come back.
#[test]
fn revoked_device_does_not_rejoin() {
    let mut stage = Stage::new();
    let entry = stage.log_rejoin(2);
    let external = stage.external(&stage.bob, Some(entry));
    stage.world.log(DirectoryEntry::DeviceRevoke {
        device: device(2),
        at_s: 3,
    });
    assert_eq!(code(stage.rejoin(&external, 2)), ErrorCode::LeafInvalid);
}

/// M4: the ordinary route takes no external commit, the route of rejoins no other.
#[test]
fn each_route_takes_its_own_kind_of_commit() {
    let mut stage = Stage::new();
    let entry = stage.log_rejoin(2);
    let external = stage.external(&stage.bob, Some(entry));
    let refused = stage
        .ours
        .commit(&external.commit, device(2), &stage.world.registry());
    assert_eq!(code(refused), ErrorCode::LeafInvalid);
    let update = stage
        .theirs
        .self_update(
            &stage.alice.provider,
            &stage.alice.signer,
            LeafNodeParameters::default(),
        )
        .unwrap();
    let ordinary = External {
        commit: update.into_commit().tls_serialize_detached().unwrap(),
        group_info: Vec::new(),
    };
    assert_eq!(code(stage.rejoin(&ordinary, 1)), ErrorCode::BadRequest);
}
