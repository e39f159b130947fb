//! The life of an audience against a model of it: a set of devices, changed at random.

use std::collections::BTreeSet;

use policies::directory::DirectoryEntry;
use policies::terms::DeviceId;
use proptest::prelude::*;

use super::world::{AUDIENCE, Device, World, now_s, roster};
use crate::{MembershipChange, Processed, StagedCommit};

const DEVICES: usize = 4;

#[derive(Debug, Clone)]
enum Step {
    Add { by: usize, who: usize },
    Remove { who: usize },
    Update { by: usize },
    OffBoard { who: usize },
    Restart { who: usize },
    Story { by: usize },
    Race { first: usize, second: usize },
    Lose { who: usize },
}

/// The owner's device 0 never leaves, so that somebody may always commit.
struct Audience {
    world: World,
    devices: Vec<Device>,
    inside: BTreeSet<usize>,
    epoch: u64,
    /// What the gateway keeps of the last commit: the GroupInfo and the tree.
    public: (Vec<u8>, Vec<u8>),
}

impl Audience {
    fn new() -> Self {
        let mut world = World::new();
        let mut devices: Vec<Device> = (1..=4).map(|number| world.device(number, number)).collect();
        let roster = roster(&[1], &[2, 3, 4]);
        let created = devices[0]
            .member
            .create_audience(AUDIENCE, &roster, &world.directory)
            .unwrap();
        Self {
            world,
            devices,
            inside: [0].into(),
            epoch: 0,
            public: (created.group_info, created.ratchet_tree),
        }
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Add { by, who } if self.inside.contains(&by) && !self.inside.contains(&who) => {
                self.add(by, who)
            }
            Step::Remove { who } if who != 0 && self.inside.contains(&who) => {
                let remove = vec![self.devices[who].id()];
                self.commit(
                    0,
                    &MembershipChange {
                        remove,
                        ..MembershipChange::default()
                    },
                );
                self.inside.remove(&who);
            }
            Step::Update { by } if self.inside.contains(&by) => {
                self.commit(by, &MembershipChange::default());
            }
            Step::OffBoard { who } if who != 0 && self.inside.contains(&who) => self.off_board(who),
            Step::Restart { who } => {
                self.devices[who].persist();
                self.devices[who].restart();
            }
            Step::Story { by } if self.inside.contains(&by) => self.story(by),
            Step::Race { first, second }
                if first != second && self.inside.contains(&first) && self.inside.contains(&second) =>
            {
                self.race(first, second);
            }
            Step::Lose { who } if self.inside.contains(&who) => self.lose(who),
            Step::Add { .. }
            | Step::Remove { .. }
            | Step::Update { .. }
            | Step::OffBoard { .. }
            | Step::Story { .. }
            | Step::Race { .. }
            | Step::Lose { .. } => {}
        }
    }

    /// M3: whoever is inside reads it, nobody else does.
    fn story(&mut self, by: usize) {
        let message = self.devices[by]
            .member
            .encrypt(AUDIENCE, Vec::new(), b"a story")
            .unwrap();
        for index in (0..DEVICES).filter(|index| *index != by) {
            let read = self.devices[index].member.decrypt(AUDIENCE, &message);
            assert_eq!(read.is_ok(), self.inside.contains(&index), "device {index}");
        }
    }

    /// M2: two commits for one epoch; the gateway takes the first, and whoever made the other discards it.
    fn race(&mut self, first: usize, second: usize) {
        let directory = &self.world.directory;
        let loser = &mut self.devices[second].member;
        loser.stage_self_update(AUDIENCE, directory).unwrap();
        loser.discard_staged(AUDIENCE).unwrap();
        self.commit(first, &MembershipChange::default());
    }

    /// M4, K4: a device loses its state and comes back by an external commit under a logged entry.
    fn lose(&mut self, who: usize) {
        let gateway = self.world.gateway_key();
        self.devices[who].lose_state(gateway);
        let (device, entry) = (self.devices[who].id(), self.world.entries);
        self.world.log(&DirectoryEntry::DeviceRejoin {
            device,
            at_s: now_s(),
        });
        let (info, tree) = &self.public;
        let rejoined = self.devices[who]
            .member
            .rejoin(AUDIENCE, info, tree, &self.world.directory, entry)
            .unwrap();
        self.epoch += 1;
        let expected = Processed::Rejoined {
            epoch: rejoined.epoch,
            device,
        };
        for index in self.inside.clone().into_iter().filter(|index| *index != who) {
            let processed = self.world.process(&mut self.devices[index], &rejoined.commit);
            assert_eq!(processed, expected);
        }
        self.public = (rejoined.group_info, rejoined.ratchet_tree);
    }

    fn add(&mut self, by: usize, who: usize) {
        let add = self.devices[who].member.key_packages(1, now_s()).unwrap();
        let staged = self.commit(
            by,
            &MembershipChange {
                add,
                ..MembershipChange::default()
            },
        );
        let (welcome, tree) = (staged.welcome.unwrap(), staged.ratchet_tree);
        self.devices[who]
            .member
            .join(&welcome, &tree, &self.world.directory)
            .unwrap();
        self.inside.insert(who);
    }

    fn off_board(&mut self, who: usize) {
        let leaf = self.leaf_of(who);
        let remove = self.world.external_remove(self.epoch, leaf);
        for index in self.inside.clone() {
            self.world.process(&mut self.devices[index], &remove);
        }
        self.commit(0, &MembershipChange::default());
        self.inside.remove(&who);
    }

    /// Leaves are filled from the left; the gateway reads the index in its own tree.
    fn leaf_of(&self, who: usize) -> u32 {
        let group = self.devices[0].member.group(AUDIENCE).unwrap();
        let device = self.devices[who].id();
        let found = group
            .members()
            .find(|member| crate::identity::named_device(&member.credential) == Ok(device));
        found.unwrap().index.u32()
    }

    fn commit(&mut self, by: usize, change: &MembershipChange) -> StagedCommit {
        let member = &mut self.devices[by].member;
        let staged = member
            .stage_membership(AUDIENCE, change, &self.world.directory, now_s())
            .unwrap();
        member.merge_staged(AUDIENCE).unwrap();
        for index in self.inside.clone().into_iter().filter(|index| *index != by) {
            let processed = self.world.process(&mut self.devices[index], &staged.commit);
            assert!(matches!(
                processed,
                Processed::CommitApplied { .. } | Processed::Removed
            ));
        }
        self.epoch += 1;
        self.public = (staged.group_info.clone(), staged.ratchet_tree.clone());
        staged
    }

    fn check(&self) {
        let expected: BTreeSet<DeviceId> = self
            .inside
            .iter()
            .map(|index| self.devices[*index].id())
            .collect();
        let first = self.devices[0].member.audience_state(AUDIENCE).unwrap();
        assert_eq!(first.members.iter().copied().collect::<BTreeSet<_>>(), expected);
        assert_eq!((first.epoch, first.pending_removals.len()), (self.epoch, 0));
        for (index, device) in self.devices.iter().enumerate() {
            let state = device.member.audience_state(AUDIENCE);
            assert_eq!(
                state.ok().as_ref(),
                self.inside.contains(&index).then_some(&first)
            );
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let any = 0..DEVICES;
    prop_oneof![
        3 => (any.clone(), any.clone()).prop_map(|(by, who)| Step::Add { by, who }),
        1 => any.clone().prop_map(|who| Step::Remove { who }),
        1 => any.clone().prop_map(|by| Step::Update { by }),
        1 => any.clone().prop_map(|who| Step::OffBoard { who }),
        1 => any.clone().prop_map(|who| Step::Restart { who }),
        2 => any.clone().prop_map(|by| Step::Story { by }),
        1 => (any.clone(), any.clone()).prop_map(|(first, second)| Step::Race { first, second }),
        1 => any.prop_map(|who| Step::Lose { who }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_device_agrees_with_the_model_after_any_changes(steps in prop::collection::vec(step(), 1..20)) {
        let mut audience = Audience::new();
        for step in &steps {
            audience.apply(step);
            audience.check();
        }
    }
}
