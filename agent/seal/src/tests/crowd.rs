//! Where audiences end (M11). What the commits of large ones cost (M9), `benches/warm_up.rs` measures and holds.

use policies::directory::DirectoryEntry;
use policies::terms::{AudienceClass, DeviceId};

use super::world::{AUDIENCE, World, now_s, person, roster, tenant};
use crate::limits::AUDIENCE_DEVICES_MAX;
use crate::{CommitRefused, DeviceSigner as _, FileDeviceKey, Member, MembershipChange, StageError};

/// A logged device of person 1.
fn device(world: &mut World, number: usize) -> Member {
    let id = DeviceId::from_bytes((number as u128).to_be_bytes());
    let key = FileDeviceKey::generate(id, &mut rand::rng()).unwrap();
    world.log(&DirectoryEntry::DeviceAdd {
        device: id,
        person: person(1),
        key: key.public_key().to_sec1(),
        class: AudienceClass::Internal,
        at_s: now_s(),
    });
    Member::create(tenant(), world.gateway_key(), &key, &mut rand::rng()).unwrap()
}

fn founder(world: &mut World) -> Member {
    let mut founder = device(world, 0);
    founder
        .create_audience(AUDIENCE, &roster(&[1], &[]), &world.directory)
        .unwrap();
    founder
}

fn adding(packages: Vec<Vec<u8>>) -> MembershipChange {
    MembershipChange {
        add: packages,
        ..MembershipChange::default()
    }
}

/// M11: the largest audience is made, and one device more is refused with what to do.
#[test]
fn audience_takes_2000_devices_and_no_more() {
    assert_eq!(AUDIENCE_DEVICES_MAX, 2_000);
    let mut world = World::new();
    let mut founder = founder(&mut world);
    let mut packages = Vec::new();
    for number in 1..=AUDIENCE_DEVICES_MAX {
        let mut member = device(&mut world, number);
        packages.append(&mut member.key_packages(1, now_s()).unwrap());
    }
    let last = packages.pop().unwrap();
    founder
        .stage_membership(AUDIENCE, &adding(packages), &world.directory, now_s())
        .unwrap();
    founder.merge_staged(AUDIENCE).unwrap();
    let refused = founder
        .stage_membership(AUDIENCE, &adding(vec![last]), &world.directory, now_s())
        .unwrap_err();
    let max = AUDIENCE_DEVICES_MAX;
    assert_eq!(refused, StageError::Refused(CommitRefused::TooLarge { max }));
    insta::assert_snapshot!(refused.to_string(), @r"
    an audience holds at most 2000 devices
    help: split it
    ");
}
