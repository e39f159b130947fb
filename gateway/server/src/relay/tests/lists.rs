//! Device lists: versions, and the way of their stories through held, recorded, delivered (K12, K15, K17).

use policies::device_list::DeviceList;

use super::*;
use crate::store::Store;
use crate::store::device_lists::StoredList;
use crate::store::inbox::InboxEntry;

const LIST: AudienceId = AudienceId::from_bytes([6; 16]);
pub(crate) const BOB: DeviceId = DeviceId::from_bytes([3; 16]);
const BOBS_PERSON: PersonId = PersonId::from_bytes([4; 16]);

/// A version of the list by some device of some person.
fn version(number: u64, definer: DeviceId, person: PersonId) -> StoredList {
    let list = DeviceList::new(LIST, number, definer, [device(), BOB].into()).unwrap();
    StoredList {
        signed: list.finish(&[0; 64]),
        list,
        person,
        class: AudienceClass::Internal,
    }
}

impl World {
    /// With Bob's device, and version 1 of a list of both.
    pub(crate) async fn with_list() -> Self {
        let world = Self::new().await;
        admit(&world.gateway, BOB, BOBS_PERSON).await;
        world.define(version(1, device(), person())).await.unwrap();
        world
    }

    async fn define(&self, list: StoredList) -> Result<(), ErrorCode> {
        let record = self.gateway.entry(Kind::Audience, None, json!({})).unwrap();
        let change = ListChange { list, record };
        let defined = self.gateway.relay.define_list(change).await;
        defined.map_err(|fault| fault.code)
    }

    pub(crate) fn for_list(&self, number: u8, version: u64) -> Submission {
        let mut submission = self.submission(number, version);
        submission.story.audience = LIST;
        submission
    }

    /// What lies in a device's inbox.
    async fn inbox(&self, device: DeviceId) -> Vec<InboxEntry> {
        let entries = self.gateway.store.inbox_behind(device, 0).await.unwrap();
        entries.into_iter().map(|(_, entry)| entry).collect()
    }
}

/// K17: versions rise by one, each by the person who defined the first, of admitted devices alone.
#[tokio::test]
async fn versions_of_a_list_rise_by_one_in_one_persons_hand() {
    let world = World::with_list().await;
    assert_eq!(world.define(version(1, device(), person())).await, Ok(()));
    for (version, code) in [
        (version(1, BOB, BOBS_PERSON), ErrorCode::ListRefused),
        (version(2, BOB, BOBS_PERSON), ErrorCode::ListRefused),
        (version(3, device(), person()), ErrorCode::ListMoved),
        (version(u64::MAX, device(), person()), ErrorCode::ListMoved),
    ] {
        assert_eq!(world.define(version).await, Err(code));
    }
    assert_eq!(world.define(version(2, BOB, person())).await, Ok(()));
    assert_eq!(
        world.define(version(1, device(), person())).await,
        Err(ErrorCode::ListMoved)
    );
    let list = world.gateway.store.device_list(LIST).await.unwrap().unwrap();
    assert_eq!((list.list.version(), list.list.definer()), (2, BOB));
}

/// K17, K8: a list holds logged, unrevoked devices, and never takes a group's id.
#[tokio::test]
async fn list_of_a_stranger_or_under_a_groups_id_is_refused() {
    let world = World::new().await;
    assert_eq!(
        world.define(version(1, device(), person())).await,
        Err(ErrorCode::ListRefused)
    );
    let list = DeviceList::new(group(), 1, device(), [device()].into()).unwrap();
    let taken = StoredList {
        signed: list.finish(&[0; 64]),
        list,
        person: person(),
        class: AudienceClass::Internal,
    };
    assert_eq!(world.define(taken).await, Err(ErrorCode::GroupExists));
}

/// K15, K17: a list's story lies in its readers' inboxes, once, and not in its author's.
#[tokio::test]
async fn list_story_is_delivered_through_inboxes() {
    let world = World::with_list().await;
    let submission = world.for_list(1, 1);
    let cti = submission.story.cti;
    let signed = world.gateway.relay.submit(submission).await.unwrap();
    let key = world.gateway.keys.acceptance.verifying_key().to_bytes();
    let acceptance = Acceptance::verify(&signed, &Ed25519PublicKey::from_bytes(&key).unwrap()).unwrap();
    assert_eq!((acceptance.group, acceptance.sequence), (LIST, 1));
    assert_eq!(world.inbox(BOB).await, [InboxEntry::Story(cti)]);
    assert!(world.inbox(device()).await.is_empty());
    world.gateway.relay.submit(world.for_list(1, 1)).await.unwrap();
    assert_eq!(world.inbox(BOB).await.len(), 1);
}

/// K17: a story is for the version in force, by a device on the list, and no device of it may have been revoked.
#[tokio::test]
async fn list_story_of_another_version_or_for_a_revoked_device_is_refused() {
    let world = World::with_list().await;
    let refused = async |submission| {
        let submitted = world.gateway.relay.submit(submission).await;
        submitted.unwrap_err().code
    };
    assert_eq!(refused(world.for_list(1, 2)).await, ErrorCode::ListMoved);
    let carol = DeviceId::from_bytes([9; 16]);
    admit(&world.gateway, carol, PersonId::from_bytes([9; 16])).await;
    let mut strangers = world.for_list(2, 1);
    strangers.story.device = carol;
    assert_eq!(refused(strangers).await, ErrorCode::NotAMember);
    world.gateway.revoke_device(BOB).await.unwrap();
    assert_eq!(refused(world.for_list(3, 1)).await, ErrorCode::ListMoved);
    for number in 1..=3 {
        assert_eq!(world.state(number).await, None);
    }
}

/// K12: after a crash a recorded story of a list is delivered to the version that it was sealed for, whatever is in
/// force by then; one that was not recorded is dropped.
#[tokio::test]
async fn held_list_stories_are_settled_at_start() {
    let world = World::with_list().await;
    let (recorded, lost) = (world.for_list(1, 1), world.for_list(2, 1));
    world.hold(&recorded).await;
    world.hold(&lost).await;
    let ledger = &world.gateway.ledger;
    ledger.append(vec![recorded.record.clone()]).await.unwrap();
    world.define(version(2, device(), person())).await.unwrap();
    let world = world.restart().await;
    assert_eq!(world.state(1).await, Some(StoryState::Deliverable));
    assert_eq!(world.state(2).await, None);
    assert_eq!(world.inbox(BOB).await, [InboxEntry::Story(recorded.story.cti)]);
    let kept = world.gateway.store.device_list_version(LIST, 1).await.unwrap();
    assert!(kept.is_some(), "the story's list is gone");
}

/// D5, K15: a list's story that is taken back leaves the inboxes, and its readers are told.
#[tokio::test]
async fn list_story_that_is_taken_back_leaves_the_inboxes() {
    let world = World::with_list().await;
    let submission = world.for_list(1, 1);
    let cti = submission.story.cti;
    world.gateway.relay.submit(submission).await.unwrap();
    let record = world
        .gateway
        .entry(Kind::StoryRevoke, Some(person()), json!({}))
        .unwrap();
    let takeback = Takeback {
        cti,
        device: device(),
        record,
    };
    world.gateway.relay.take_back(takeback).await.unwrap();
    let told = serde_json::to_vec(&gateway_api::v1::sync::InboxBody::Revoked { cti }).unwrap();
    assert_eq!(world.inbox(BOB).await, [InboxEntry::Body(told)]);
    assert!(world.inbox(device()).await.is_empty());
    assert!(world.gateway.store.story_ciphertext(cti).await.unwrap().is_none());
}

/// D6, K17: a backup holds lists and none of their stories; what a story leaves there can be forgotten like any other.
#[tokio::test]
async fn backup_holds_lists_without_their_stories() {
    let world = World::with_list().await;
    let submission = world.for_list(1, 1);
    let cti = submission.story.cti;
    world.gateway.relay.submit(submission).await.unwrap();
    let path = world._folder.path().join("copy.db");
    world.gateway.store.copy_without_stories(&path).await.unwrap();
    let copy = Store::open(&path).await.unwrap();
    assert!(copy.device_list(LIST).await.unwrap().is_some());
    assert!(copy.inbox_behind(BOB, 0).await.unwrap().is_empty());
    copy.forget_stories(u64::MAX).await.unwrap();
    assert!(copy.story(cti).await.unwrap().is_none());
}
