//! The life of an audience against a model of it: a set of devices, changed at random.

use std::collections::BTreeSet;

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
}

/// The owner's device 0 never leaves, so that somebody may always commit.
struct Audience {
    world: World,
    devices: Vec<Device>,
    inside: BTreeSet<usize>,
    epoch: u64,
}

impl Audience {
    fn new() -> Self {
        let mut world = World::new();
        let mut devices: Vec<Device> = (1..=4).map(|number| world.device(number, number)).collect();
        let roster = roster(&[1], &[2, 3, 4]);
        devices[0]
            .member
            .create_audience(AUDIENCE, &roster, &world.directory)
            .unwrap();
        Self {
            world,
            devices,
            inside: [0].into(),
            epoch: 0,
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
            Step::Add { .. } | Step::Remove { .. } | Step::Update { .. } | Step::OffBoard { .. } => {}
        }
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
        1 => any.prop_map(|who| Step::Restart { who }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_device_agrees_with_the_model_after_any_changes(steps in prop::collection::vec(step(), 1..16)) {
        let mut audience = Audience::new();
        for step in &steps {
            audience.apply(step);
            audience.check();
        }
    }
}
