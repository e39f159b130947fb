//! The one writer of stories and group changes: group commit, and the order that K12 demands.
//!
//! ```text
//! handlers ─ bounded channel (full = 503) ─► writer: tx `held` ─► ledger, durable ─► tx `deliverable` + sequence ─► ack, wake
//! ```
//!
//! Commits, proposals and revocations go through the same writer, after the stories that came before them: so a commit
//! is sequenced only when no row of its epoch is held.

mod checks;
pub(crate) mod door;
pub(crate) mod lists;
pub(crate) mod recovery;
pub(crate) mod wake;
mod writer;

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use gateway_api::error::ErrorCode;
use gateway_api::v1::rejoin::StateMark;
use policies::terms::{AudienceId, Cti, DeviceId, Digest};
use telemetry::Place;
use tokio::sync::{mpsc, oneshot};

pub(crate) use writer::Writer;

use crate::domain::fault::Fault;
use crate::domain::record::Record;
use crate::limits;
use crate::store::audiences::{AudienceState, LogBody};
use crate::store::device_lists::StoredList;
use crate::store::stories::{StoredStory, Story};

/// An admitted story.
pub(crate) struct Submission {
    pub(crate) story: Story,
    pub(crate) stored: StoredStory,
    /// Blobs with their keys, wrapped for the story's bucket.
    pub(crate) blobs: Vec<(Digest, Vec<u8>)>,
    /// How far the sender's MLS state has come (M7).
    pub(crate) mark: Option<StateMark>,
    pub(crate) record: Record,
    /// Set on its way into the queue, if its trace is exported.
    pub(crate) traced: Option<Traced>,
}

/// Where the spans of a story's way through the writer hang.
pub(crate) struct Traced {
    place: Place,
    queued: SystemTime,
}

/// A group's change that has been checked.
pub(crate) struct GroupChange {
    pub(crate) audience: AudienceId,
    /// None for a new group.
    pub(crate) from_epoch: Option<u64>,
    pub(crate) state: AudienceState,
    /// What goes into the log, if anything.
    pub(crate) item: Option<LogBody>,
    pub(crate) welcome: Option<Welcome>,
    /// GroupInfo of the epoch that begins, if one does (K9).
    pub(crate) group_info: Option<Vec<u8>>,
    /// The device whose stay begins anew with this change: it reads nothing of before (M5, K10).
    pub(crate) rejoined: Option<DeviceId>,
    pub(crate) record: Record,
}

/// What joiners get.
pub(crate) struct Welcome {
    pub(crate) joiners: Vec<DeviceId>,
    pub(crate) welcome: Vec<u8>,
    pub(crate) ratchet_tree: Vec<u8>,
    pub(crate) by: DeviceId,
}

/// A version of a device list that has been verified (K17).
pub(crate) struct ListChange {
    pub(crate) list: StoredList,
    pub(crate) record: Record,
}

/// An author takes a story back (D5).
pub(crate) struct Takeback {
    pub(crate) cti: Cti,
    pub(crate) device: DeviceId,
    pub(crate) record: Record,
}

type Answer<T> = oneshot::Sender<Result<T, Fault>>;

/// Work for the writer.
enum Job {
    Story(Box<Submission>, Answer<Vec<u8>>),
    Change(Box<GroupChange>, Answer<u64>),
    List(Box<ListChange>, Answer<()>),
    Takeback(Takeback, Answer<u64>),
}

/// The way in.
pub(crate) struct Relay {
    queue: Mutex<Option<mpsc::Sender<Job>>>,
}

/// The writer's end of the queue.
pub(crate) struct Queue(mpsc::Receiver<Job>);

impl Relay {
    pub(crate) fn new() -> (Self, Queue) {
        let (sender, receiver) = mpsc::channel(limits::RELAY_QUEUE_MAX);
        (
            Self {
                queue: Mutex::new(Some(sender)),
            },
            Queue(receiver),
        )
    }

    /// The signed acceptance, once the story is durable, recorded and deliverable.
    pub(crate) async fn submit(&self, mut submission: Submission) -> Result<Vec<u8>, Fault> {
        submission.traced = Place::current().map(|place| Traced {
            place,
            queued: SystemTime::now(),
        });
        self.ask(|answer| Job::Story(Box::new(submission), answer)).await
    }

    /// The sequence number of the change's log item; the group's last one when it has none.
    pub(crate) async fn change(&self, change: GroupChange) -> Result<u64, Fault> {
        self.ask(|answer| Job::Change(Box::new(change), answer)).await
    }

    /// Puts a list's version in force.
    pub(crate) async fn define_list(&self, change: ListChange) -> Result<(), Fault> {
        self.ask(|answer| Job::List(Box::new(change), answer)).await
    }

    /// When it was taken back, Unix seconds.
    pub(crate) async fn take_back(&self, takeback: Takeback) -> Result<u64, Fault> {
        self.ask(|answer| Job::Takeback(takeback, answer)).await
    }

    /// Stories waiting.
    pub(crate) fn depth(&self) -> usize {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue
            .as_ref()
            .map_or(0, |queue| queue.max_capacity() - queue.capacity())
    }

    /// Whether one more would be turned away.
    pub(crate) fn is_full(&self) -> bool {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.as_ref().is_some_and(|queue| queue.capacity() == 0)
    }

    /// Whether nothing is written any more although nobody closed the queue.
    pub(crate) fn has_lost_its_writer(&self) -> bool {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.as_ref().is_some_and(mpsc::Sender::is_closed)
    }

    /// Takes nothing more; the writer ends after what is queued.
    pub(crate) fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none()
    }

    async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, Fault> {
        let (answer, answered) = oneshot::channel();
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let queue = queue.ok_or_else(|| Fault::new(ErrorCode::Busy, "the gateway is stopping"))?;
        queue
            .try_send(job(answer))
            .map_err(|_| Fault::new(ErrorCode::Busy, "too many stories are waiting"))?;
        drop(queue);
        answered
            .await
            .map_err(|_| Fault::new(ErrorCode::StorageFailed, "the writer has stopped"))?
    }
}

#[cfg(test)]
pub(crate) mod tests;
