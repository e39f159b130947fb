//! The order of K12, on a real data folder.

mod batch;
pub(crate) mod lists;

use std::path::Path;
use std::sync::Arc;

use gateway_api::receipt::Acceptance;
use policies::directory::DirectoryEntry;
use policies::keys::Ed25519PublicKey;
use policies::terms::{AudienceClass, EntryId, PersonId, TenantId};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::cli::init;
use crate::clock::Clock;
use crate::config::layout::Layout;
use crate::domain::gateway::Gateway;
use crate::domain::record::Kind;
use crate::store::objects::{ObjectKey, Part};
use crate::store::stories::{self, StoryState};

const GROUP: [u8; 16] = [5; 16];
pub(crate) const START_S: u64 = 1_800_000_000;

/// A gateway with one logged device in one audience.
pub(crate) struct World {
    _folder: TempDir,
    pub(crate) layout: Layout,
    pub(crate) gateway: Arc<Gateway>,
    writer: JoinHandle<()>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let layout = init::make(folder.path(), &TenantId::parse("acme").unwrap(), 1).unwrap();
        let (gateway, writer) = Gateway::open_at(layout.clone(), Clock::manual(START_S))
            .await
            .unwrap();
        admit(&gateway, device(), person()).await;
        let world = Self {
            _folder: folder,
            layout,
            gateway,
            writer,
        };
        let founding = world.change(None, 0, None);
        world.gateway.relay.change(founding).await.unwrap();
        world
    }

    /// A change of the group: its founding, or a step to this epoch.
    pub(crate) fn change(&self, from_epoch: Option<u64>, epoch: u64, item: Option<LogBody>) -> GroupChange {
        GroupChange {
            audience: group(),
            from_epoch,
            state: AudienceState {
                epoch,
                tree_hash: vec![1],
                class: AudienceClass::Internal,
                removal_pending: false,
                state: vec![1],
                members: vec![(0, device())],
            },
            item,
            welcome: None,
            group_info: None,
            rejoined: None,
            record: self.gateway.entry(Kind::Audience, None, json!({})).unwrap(),
        }
    }

    /// The writer ends although nobody asked it to.
    pub(crate) async fn end_writer(&self) {
        self.writer.abort();
        while !self.gateway.relay.has_lost_its_writer() {
            tokio::task::yield_now().await;
        }
    }

    /// Starts on what a folder holds.
    pub(crate) async fn open(folder: TempDir, now_s: u64) -> anyhow::Result<Self> {
        let layout = Layout::new(folder.path().join("gateway"));
        let clock = Clock::manual(now_s);
        let (gateway, writer) = Gateway::open_at(layout.clone(), clock).await?;
        Ok(Self {
            _folder: folder,
            layout,
            gateway,
            writer,
        })
    }

    /// Ends the process as a crash does, and starts it again on what the disk holds.
    pub(crate) async fn crash(self) -> Self {
        self.writer.abort();
        let folder = tempfile::tempdir().unwrap();
        copy_folder(self.layout.root(), &folder.path().join("gateway"));
        Self::open(folder, self.gateway.clock.now_s()).await.unwrap()
    }

    /// Ends the process and starts it again on the same folder.
    pub(crate) async fn restart(self) -> Self {
        self.gateway.close(self.writer).await.unwrap();
        let clock = Clock::manual(self.gateway.clock.now_s());
        drop(self.gateway);
        let (gateway, writer) = Gateway::open_at(self.layout.clone(), clock).await.unwrap();
        Self {
            _folder: self._folder,
            layout: self.layout,
            gateway,
            writer,
        }
    }

    pub(crate) fn submission(&self, number: u8, epoch: u64) -> Submission {
        let now_s = self.gateway.clock.now_s();
        let (cti, expires_s) = (Cti::from_bytes([number; 16]), now_s + 60);
        let record = self
            .gateway
            .entry(
                Kind::Relay,
                Some(person()),
                json!({ "cti": cti, "expires_s": expires_s }),
            )
            .unwrap();
        let bucket = self.gateway.bucket_keys.key(expires_s).unwrap();
        let key = ObjectKey::generate().unwrap();
        let stored = StoredStory {
            wrapped_key: key.wrap(&bucket, cti.as_bytes()).unwrap(),
            envelope: key.seal(Part::Envelope, b"envelope").unwrap(),
            clearance: key.seal(Part::Clearance, b"clearance").unwrap(),
        };
        let story = Story {
            cti,
            device: device(),
            audience: group(),
            epoch,
            state: StoryState::Held,
            envelope_digest: Digest::of(b"envelope"),
            clearance_digest: Digest::of(b"clearance"),
            entry: record.entry,
            at_s: now_s,
            expires_s,
            forget_s: expires_s + 60,
            acceptance: None,
            envelope_bytes: 8,
        };
        Submission {
            story,
            stored,
            blobs: Vec::new(),
            mark: None,
            record,
            traced: None,
        }
    }

    /// What a crash after the first transaction leaves.
    async fn hold(&self, submission: &Submission) {
        let mut write = self.gateway.store.write().await.unwrap();
        stories::hold(&mut write, &[(&submission.story, &submission.stored)])
            .await
            .unwrap();
        write.commit().await.unwrap();
    }

    pub(crate) async fn state(&self, number: u8) -> Option<StoryState> {
        self.gateway
            .store
            .story(Cti::from_bytes([number; 16]))
            .await
            .unwrap()
            .map(|story| story.state)
    }

    pub(crate) async fn recorded(&self, entry: EntryId) -> bool {
        self.gateway
            .ledger
            .find_entries(0, vec![entry])
            .await
            .unwrap()
            .contains(&entry)
    }
}

/// Logs a device.
async fn admit(gateway: &Gateway, device: DeviceId, person: PersonId) {
    let key = p256::ecdsa::SigningKey::from_slice(&[1; 32]).unwrap();
    let key = key
        .verifying_key()
        .to_sec1_point(true)
        .as_bytes()
        .try_into()
        .unwrap();
    let entry = DirectoryEntry::DeviceAdd {
        device,
        person,
        key,
        class: AudienceClass::Internal,
        at_s: 1,
    };
    gateway.directory.append(entry).await.unwrap();
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

pub(crate) fn device() -> DeviceId {
    DeviceId::from_bytes([1; 16])
}

pub(crate) fn person() -> PersonId {
    PersonId::from_bytes([2; 16])
}

pub(crate) fn group() -> AudienceId {
    AudienceId::from_bytes(GROUP)
}

/// K12, K14: acknowledged means recorded, sequenced and signed.
#[tokio::test]
async fn accepted_story_is_recorded_and_sequenced() {
    let world = World::new().await;
    let submission = world.submission(1, 0);
    let (cti, entry) = (submission.story.cti, submission.record.entry);
    let signed = world.gateway.relay.submit(submission).await.unwrap();
    let key = world.gateway.keys.acceptance.verifying_key().to_bytes();
    let acceptance = Acceptance::verify(&signed, &Ed25519PublicKey::from_bytes(&key).unwrap()).unwrap();
    assert_eq!(
        (acceptance.cti, acceptance.sequence, acceptance.entry),
        (cti, 1, entry)
    );
    assert!(world.recorded(entry).await);
    assert_eq!(
        world
            .gateway
            .store
            .log_behind(group(), device(), 0)
            .await
            .unwrap()
            .len(),
        1
    );
}

/// K13: the same again gets the original receipt; something else under the same id is refused.
#[tokio::test]
async fn spent_id_is_idempotent_and_never_reused() {
    let world = World::new().await;
    let first = world.gateway.relay.submit(world.submission(1, 0)).await.unwrap();
    assert_eq!(
        world.gateway.relay.submit(world.submission(1, 0)).await.unwrap(),
        first
    );
    let mut other = world.submission(1, 0);
    other.story.envelope_digest = Digest::of(b"another envelope");
    assert_eq!(
        world.gateway.relay.submit(other).await.unwrap_err().code,
        ErrorCode::ReplayRefused
    );
}

/// M3: a story of another epoch is not taken, and leaves nothing behind.
#[tokio::test]
async fn story_of_another_epoch_leaves_nothing() {
    let world = World::new().await;
    let submission = world.submission(1, 7);
    let entry = submission.record.entry;
    assert_eq!(
        world.gateway.relay.submit(submission).await.unwrap_err().code,
        ErrorCode::EpochMoved
    );
    assert_eq!(world.state(1).await, None);
    assert!(!world.recorded(entry).await);
}

/// K12: after a crash a held row with an entry is finished, one without is dropped.
#[tokio::test]
async fn held_rows_are_settled_at_start() {
    let world = World::new().await;
    let (recorded, lost) = (world.submission(1, 0), world.submission(2, 0));
    world.hold(&recorded).await;
    world.hold(&lost).await;
    world
        .gateway
        .ledger
        .append(vec![recorded.record.clone()])
        .await
        .unwrap();
    let world = world.restart().await;
    assert_eq!(world.state(1).await, Some(StoryState::Deliverable));
    assert_eq!(world.state(2).await, None);
    let retried = world.gateway.relay.submit(world.submission(2, 0)).await;
    assert!(retried.is_ok());
}

/// D5, K18: a story that its author took back has no ciphertext, no key and no place in the log.
#[tokio::test]
async fn taken_back_story_is_gone() {
    let world = World::new().await;
    let submission = world.submission(1, 0);
    let cti = submission.story.cti;
    world.gateway.relay.submit(submission).await.unwrap();
    let record = world
        .gateway
        .entry(Kind::StoryRevoke, Some(person()), json!({}))
        .unwrap();
    world
        .gateway
        .relay
        .take_back(Takeback {
            cti,
            device: device(),
            record,
        })
        .await
        .unwrap();
    assert_eq!(world.state(1).await, Some(StoryState::Revoked));
    assert!(world.gateway.store.story_ciphertext(cti).await.unwrap().is_none());
    let items = world
        .gateway
        .store
        .log_behind(group(), device(), 0)
        .await
        .unwrap();
    assert!(matches!(items.as_slice(), [item] if matches!(item.body, LogBody::Revoked(gone) if gone == cti)));
}

#[tokio::test]
async fn second_gateway_on_a_folder_is_refused() {
    let world = World::new().await;
    let second = Gateway::open(world.layout.clone()).await;
    assert!(second.is_err_and(|error| error.to_string().contains("in use")));
}
