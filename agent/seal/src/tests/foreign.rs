//! What an app sealed: cleared for a list, handed on, or refused (A12, K17).

use std::collections::BTreeSet;

use policies::device_list::DeviceList;
use policies::directory::{Directory, DirectoryEntry};
use policies::plan::Plan;
use policies::terms::{AudienceId, DeviceId, Digest};

use super::policy;
use super::world::{Device, World, clearing, now_s};
use crate::{
    AcceptanceFacts, AssertError, Asserted, ClearError, CompliancePublicKey, Delivery, DeviceSigner as _,
    FileDeviceKey, ForeignStory, OpenError, Protocol, clear_asserted, open_foreign,
};

const LIST: AudienceId = AudienceId::from_bytes([0xF0; 16]);
const SEALED: &[u8] = b"what a ratchet made of it";

/// Alice and Bob, and a list of both that Alice defined.
struct Stage {
    directory: Directory,
    plan: Plan,
    compliance: CompliancePublicKey,
    alice: Device,
    bob: Device,
    list: DeviceList,
}

/// A delivery that owns its bytes.
struct Sent {
    list: Vec<u8>,
    envelope: Vec<u8>,
    clearance: Vec<u8>,
    acceptance: AcceptanceFacts,
}

impl Stage {
    fn new() -> Self {
        let mut world = World::new();
        let plan = world.policy();
        let (alice, bob) = world.alice_and_bob();
        let list = list(1, alice.id(), [alice.id(), bob.id()]);
        Self {
            directory: world.directory,
            plan,
            compliance: CompliancePublicKey::from_bytes(&[9; 32]).unwrap(),
            alice,
            bob,
            list,
        }
    }

    fn asserted(&self, audience: AudienceId, envelope: &[u8], ttl_s: u32) -> Result<Asserted, AssertError> {
        let permit = policy::permit(&self.plan, audience, "see you at eight", &[]);
        let (list, protocol) = (self.list.clone(), Protocol::parse("olm/2").unwrap());
        Asserted::new(permit, list, envelope.to_vec(), protocol, ttl_s, &mut rand::rng())
    }

    fn sent(&self) -> Sent {
        let asserted = self.asserted(LIST, SEALED, 3_600).unwrap();
        let clearing = clearing(&self.compliance);
        let cleared = clear_asserted(asserted, &self.alice.key, clearing, &mut rand::rng()).unwrap();
        assert_eq!(cleared.envelope(), SEALED);
        Sent {
            list: signed(&self.list, &self.alice.key),
            envelope: cleared.envelope().to_vec(),
            clearance: cleared.clearance().to_vec(),
            acceptance: AcceptanceFacts {
                cti: cleared.cti(),
                env: Digest::of(cleared.envelope()),
                clearance: Digest::of(cleared.clearance()),
                group: LIST,
                at_s: now_s(),
                expires_s: now_s() + 3_600,
            },
        }
    }

    fn open(&self, sent: &Sent) -> Result<ForeignStory, OpenError> {
        self.open_as(sent, self.bob.id())
    }

    fn open_as(&self, sent: &Sent, me: DeviceId) -> Result<ForeignStory, OpenError> {
        let delivery = Delivery {
            envelope: &sent.envelope,
            clearance: &sent.clearance,
            acceptance: &sent.acceptance,
        };
        open_foreign(&delivery, &sent.list, me, &self.directory, now_s())
    }

    fn refused(&self, change: impl FnOnce(&mut Sent)) -> OpenError {
        let mut sent = self.sent();
        change(&mut sent);
        self.open(&sent).unwrap_err()
    }
}

fn list(version: u64, definer: DeviceId, devices: impl Into<BTreeSet<DeviceId>>) -> DeviceList {
    DeviceList::new(LIST, version, definer, devices.into()).unwrap()
}

fn signed(list: &DeviceList, key: &FileDeviceKey) -> Vec<u8> {
    list.finish(&key.sign(&list.message()).unwrap())
}

/// A12: the bytes are the app's, untouched; who sent them, for which app and list, is what the device signed.
#[test]
fn what_an_app_sealed_arrives_with_its_clearance() {
    let stage = Stage::new();
    let story = stage.open(&stage.sent()).unwrap();
    assert_eq!((story.author(), story.protocol()), (stage.alice.id(), "olm/2"));
    assert_eq!(story.list(), &stage.list);
}

/// K1, K17: a permit is for the list that it was decided for, and bytes and lifetime have bounds.
#[test]
fn permit_of_another_audience_clears_nothing() {
    let stage = Stage::new();
    let refused = |audience, envelope: &[u8], ttl_s| stage.asserted(audience, envelope, ttl_s).unwrap_err();
    let other = AudienceId::from_bytes([1; 16]);
    assert_eq!(refused(other, SEALED, 3_600), AssertError::OtherAudience);
    assert_eq!(refused(LIST, b"", 3_600), AssertError::Size);
    assert_eq!(refused(LIST, &[0; 256 * 1024 + 1], 3_600), AssertError::Size);
    assert_eq!(refused(LIST, SEALED, 86_401), AssertError::Lifetime);
    for name in ["", "Olm", "olm 2", "olm\r\n", &"x".repeat(33)] {
        assert_eq!(Protocol::parse(name), Err(AssertError::Protocol), "{name}");
    }
}

/// K17: only a device on the list clears for it.
#[test]
fn device_that_is_not_on_the_list_clears_nothing() {
    let stage = Stage::new();
    let asserted = stage.asserted(LIST, SEALED, 3_600).unwrap();
    let stranger = FileDeviceKey::from_scalar(DeviceId::from_bytes([0xEE; 16]), &[7; 32]).unwrap();
    let cleared = clear_asserted(asserted, &stranger, clearing(&stage.compliance), &mut rand::rng());
    assert_eq!(cleared.unwrap_err(), ClearError::OtherDevice);
}

/// K14, K17: changed bytes, another list, an acceptance of something else: none is handed on.
#[test]
fn delivery_that_does_not_fit_together_is_refused() {
    let stage = Stage::new();
    let (alice, bob) = (stage.alice.id(), stage.bob.id());
    let other_list = |list: DeviceList, key: &FileDeviceKey| {
        let bytes = signed(&list, key);
        stage.refused(|sent| sent.list = bytes)
    };
    assert_eq!(stage.refused(|sent| sent.envelope[0] ^= 1), OpenError::OtherStory);
    assert_eq!(
        stage.refused(|sent| sent.acceptance.group = AudienceId::from_bytes([1; 16])),
        OpenError::OtherAudience
    );
    assert_eq!(
        other_list(list(2, alice, [alice, bob]), &stage.alice.key),
        OpenError::OtherAudience
    );
    assert_eq!(
        other_list(list(1, bob, [alice, bob]), &stage.bob.key),
        OpenError::OtherAudience
    );
    assert!(matches!(
        other_list(stage.list.clone(), &stage.bob.key),
        OpenError::List(_)
    ));
    assert_eq!(
        stage.refused(|sent| sent.acceptance.expires_s = now_s()),
        OpenError::Expired
    );
    assert_eq!(
        stage.refused(|sent| sent.acceptance.at_s += 301),
        OpenError::Untimely
    );
}

/// K17: a device that is not on the list is handed nothing, and a revoked device's story is handed to nobody.
#[test]
fn story_of_a_revoked_device_or_for_others_is_refused() {
    let mut stage = Stage::new();
    let sent = stage.sent();
    let stranger = DeviceId::from_bytes([0xEE; 16]);
    assert_eq!(
        stage.open_as(&sent, stranger).unwrap_err(),
        OpenError::OtherAudience
    );
    let revoke = DirectoryEntry::DeviceRevoke {
        device: stage.alice.id(),
        at_s: now_s(),
    };
    let size = stage.directory.size();
    stage.directory.apply(size, &revoke).unwrap();
    assert_eq!(stage.open(&sent).unwrap_err(), OpenError::RevokedSender);
}
