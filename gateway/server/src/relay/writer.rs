//! The writer task: batches of stories, single changes of groups and lists, takebacks, in the order of their arrival.

use std::collections::BTreeSet;
use std::sync::Arc;

use gateway_api::bytes::Bytes;
use gateway_api::error::ErrorCode;
use gateway_api::receipt::Acceptance;
use gateway_api::v1::sync::InboxBody;
use policies::terms::{AudienceId, DeviceId};

use super::lists::{self, Definition};
use super::{Answer, GroupChange, Job, ListChange, Queue, Submission, Takeback};
use crate::clock::Clock;
use crate::config::keys::Keys;
use crate::domain::fault::Fault;
use crate::domain::health::Health;
use crate::relay::wake::Wake;
use crate::seam::{Point, Seams};
use crate::store::audiences::{self, Audience, AudienceKind, LogBody};
use crate::store::blobs::{self, Objects};
use crate::store::logs::{DirectoryLog, Ledger};
use crate::store::stories::{self, Story, StoryState};
use crate::store::{Store, Write, crash, device_lists, inbox, rejoin};

/// What the writer works with.
pub(crate) struct Writer {
    pub(crate) store: Store,
    pub(crate) objects: Objects,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) directory: Arc<DirectoryLog>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) wake: Arc<Wake>,
    pub(crate) health: Arc<Health>,
    pub(crate) seams: Arc<Seams>,
    /// Stories of one group commit at most.
    pub(crate) batch_max: usize,
}

struct Pending {
    submission: Box<Submission>,
    answer: Answer<Vec<u8>>,
}

/// What moves a group on.
struct Step {
    from_epoch: u64,
    item: Option<LogBody>,
    rejoined: Option<DeviceId>,
}

/// How a story enters the batch.
enum Entry {
    Held,
    /// Accepted before: the original receipt.
    Known(Vec<u8>),
}

impl Writer {
    /// Runs until the queue is closed and empty.
    pub(crate) async fn run(self, Queue(mut queue): Queue) {
        let mut jobs = Vec::new();
        while queue.recv_many(&mut jobs, self.batch_max).await > 0 {
            let mut batch = Vec::new();
            for job in jobs.drain(..) {
                match job {
                    Job::Story(submission, answer) => batch.push(Pending { submission, answer }),
                    Job::Change(change, answer) => {
                        self.stories(std::mem::take(&mut batch)).await;
                        let changed = self.guarded(self.change(*change)).await;
                        drop(answer.send(changed));
                    }
                    Job::List(change, answer) => {
                        self.stories(std::mem::take(&mut batch)).await;
                        let defined = self.guarded(self.define_list(*change)).await;
                        drop(answer.send(defined));
                    }
                    Job::Takeback(takeback, answer) => {
                        self.stories(std::mem::take(&mut batch)).await;
                        let taken = self.guarded(self.take_back(takeback)).await;
                        drop(answer.send(taken));
                    }
                }
            }
            self.stories(batch).await;
        }
    }

    /// After a failed write nothing more is written until a restart has looked at what is there (L5).
    async fn guarded<T>(&self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        self.health.check_writable()?;
        work.await
    }

    async fn stories(&self, batch: Vec<Pending>) {
        if batch.is_empty() {
            return;
        }
        if let Err(fault) = self.health.check_writable() {
            return answer_all(batch, &fault);
        }
        let held = match self.hold(batch).await {
            Ok(held) if held.is_empty() => return,
            Ok(held) => held,
            Err((batch, fault)) => return answer_all(batch, &fault),
        };
        self.seams.reach(Point::Held).await;
        let records = held
            .iter()
            .map(|pending| pending.submission.record.clone())
            .collect();
        if let Err(error) = self.ledger.append(records).await {
            let fault = self.health.stop("the ledger cannot be written", &error);
            return answer_all(held, &fault);
        }
        self.seams.reach(Point::Recorded).await;
        match self.release(&held).await {
            Ok((acceptances, devices)) => {
                self.seams.reach(Point::Released).await;
                for (pending, acceptance) in held.into_iter().zip(acceptances) {
                    drop(pending.answer.send(Ok(acceptance)));
                }
                self.wake.devices(&devices);
            }
            Err(error) => {
                let fault = self.health.stop("the database cannot be written", &error.into());
                answer_all(held, &fault);
            }
        }
    }

    /// First transaction: rows that are held. Those that fail a check are answered here and now.
    async fn hold(&self, batch: Vec<Pending>) -> Result<Vec<Pending>, (Vec<Pending>, Fault)> {
        let mut write = match self.store.write().await {
            Ok(write) => write,
            Err(error) => return Err((batch, error.into())),
        };
        let mut held = Vec::with_capacity(batch.len());
        for pending in batch {
            match self.enter(&mut write, &pending.submission).await {
                Ok(Entry::Held) => held.push(pending),
                Ok(Entry::Known(acceptance)) => drop(pending.answer.send(Ok(acceptance))),
                Err(fault) => drop(pending.answer.send(Err(fault))),
            }
        }
        let marked = crash::mark_held(&mut write, self.ledger.size()).await;
        let committed = match marked {
            Ok(()) => write.commit().await,
            Err(error) => Err(error),
        };
        match committed {
            Ok(()) => Ok(held),
            Err(error) => Err((held, error.into())),
        }
    }

    /// Checks again what may have changed since the handler looked, then holds the row.
    async fn enter(&self, write: &mut Write, submission: &Submission) -> Result<Entry, Fault> {
        let story = &submission.story;
        if let Some(known) = stories::story(write, story.cti).await? {
            return known_story(&known, story);
        }
        let audience = audiences::audience(write, story.audience)
            .await?
            .ok_or_else(Fault::not_found)?;
        if self
            .directory
            .device(story.device)
            .is_none_or(|device| device.revoked)
        {
            return Err(Fault::new(
                ErrorCode::DeviceRevoked,
                "this device has been revoked",
            ));
        }
        match audience.kind {
            AudienceKind::Group => check_group(write, story, &audience).await?,
            AudienceKind::DeviceList => lists::check(write, &self.directory, story, &audience).await?,
        }
        for (digest, _) in &submission.blobs {
            let free = blobs::blob(write, *digest)
                .await?
                .is_some_and(|blob| blob.cti.is_none());
            if !free {
                return Err(Fault::new(
                    ErrorCode::BlobMissing,
                    "a blob is not here, or not free",
                ));
            }
        }
        if let Some(mark) = submission.mark
            && !rejoin::raise_state_mark(write, story.device, mark).await?
        {
            return Err(crate::domain::rejoin::behind());
        }
        stories::hold(write, story, &submission.stored).await?;
        for (digest, wrapped_key) in &submission.blobs {
            blobs::assign(write, *digest, story.cti, story.expires_s, wrapped_key).await?;
        }
        Ok(Entry::Held)
    }

    /// Second transaction: places in the logs, receipts.
    async fn release(&self, held: &[Pending]) -> sqlx::Result<(Vec<Vec<u8>>, BTreeSet<DeviceId>)> {
        let mut write = self.store.write().await?;
        let mut acceptances = Vec::with_capacity(held.len());
        let mut audiences = BTreeSet::new();
        for pending in held {
            let story = &pending.submission.story;
            acceptances.push(deliver(&mut write, &self.keys, story).await?);
            audiences.insert((story.audience, story.epoch));
        }
        let mut devices = BTreeSet::new();
        for (audience, epoch) in audiences {
            devices.extend(readers(&mut write, audience, epoch).await?);
        }
        crash::mark_done(&mut write, self.ledger.size()).await?;
        write.commit().await?;
        Ok((acceptances, devices))
    }

    async fn change(&self, change: GroupChange) -> Result<u64, Fault> {
        let GroupChange {
            audience,
            from_epoch,
            state,
            item,
            welcome,
            group_info,
            rejoined,
            record,
        } = change;
        let now_s = self.clock.now_s();
        let mut write = self.store.write().await?;
        let mut devices: BTreeSet<DeviceId> = audiences::members(&mut write, audience)
            .await?
            .into_iter()
            .collect();
        let sequence = match from_epoch {
            None => {
                if !audiences::insert(&mut write, audience, &state).await? {
                    return Err(Fault::new(ErrorCode::GroupExists, "draw another id"));
                }
                0
            }
            Some(from_epoch) => {
                let step = Step {
                    from_epoch,
                    item,
                    rejoined,
                };
                self.advance(&mut write, audience, &state, step, now_s).await?
            }
        };
        if let Some(group_info) = group_info {
            rejoin::set_group_info(&mut write, audience, state.epoch, &group_info).await?;
        }
        if let Some(welcome) = welcome {
            let body = InboxBody::Welcome {
                group: audience,
                welcome: Bytes(welcome.welcome),
                ratchet_tree: Bytes(welcome.ratchet_tree),
                by: welcome.by,
                sequence,
            };
            let body = serde_json::to_vec(&body).map_err(anyhow::Error::from)?;
            inbox::put_shared(&mut write, &welcome.joiners, &body, now_s).await?;
            devices.extend(welcome.joiners);
        }
        self.record_then_commit(record, write).await?;
        self.wake.devices(&devices);
        Ok(sequence)
    }

    async fn advance(
        &self,
        write: &mut Write,
        audience: AudienceId,
        state: &audiences::AudienceState,
        step: Step,
        now_s: u64,
    ) -> Result<u64, Fault> {
        let sequence = audiences::next_sequence(write, audience).await?;
        if let Some(device) = step.rejoined {
            audiences::end_stay(write, audience, device, sequence).await?;
        }
        if !audiences::advance(write, audience, step.from_epoch, state, sequence).await? {
            return Err(Fault::new(ErrorCode::EpochMoved, "another commit was first"));
        }
        if let Some(item) = step.item {
            audiences::append_log(write, audience, sequence, &item, now_s).await?;
        }
        Ok(sequence)
    }

    async fn define_list(&self, change: ListChange) -> Result<(), Fault> {
        let mut write = self.store.write().await?;
        if lists::define(&mut write, &self.directory, &change.list).await? == Definition::Known {
            return Ok(());
        }
        self.record_then_commit(change.record, write).await
    }

    async fn take_back(&self, takeback: Takeback) -> Result<u64, Fault> {
        let now_s = self.clock.now_s();
        let mut write = self.store.write().await?;
        let story = stories::story(&mut write, takeback.cti)
            .await?
            .filter(|story| story.device == takeback.device);
        let story = story.ok_or_else(Fault::not_found)?;
        match story.state {
            StoryState::Deliverable => {}
            StoryState::Revoked => return Ok(now_s),
            StoryState::Held | StoryState::Expired => return Err(Fault::not_found()),
        }
        let gone = self.store.blobs_of(story.cti).await?;
        stories::shred(&mut write, story.cti, StoryState::Revoked).await?;
        for blob in &gone {
            blobs::remove(&mut write, blob.digest).await?;
        }
        let devices = readers(&mut write, story.audience, story.epoch).await?;
        let (kind, sequence) = audiences::next_place(&mut write, story.audience).await?;
        match kind {
            AudienceKind::Group => {
                let item = LogBody::Revoked(story.cti);
                audiences::append_log(&mut write, story.audience, sequence, &item, now_s).await?;
            }
            AudienceKind::DeviceList => lists::tell_of_takeback(&mut write, &story, &devices, now_s).await?,
        }
        self.record_then_commit(takeback.record, write).await?;
        for blob in &gone {
            let removed = self.objects.remove(&blob.object).await;
            removed.map_err(|error| self.health.stop("an object cannot be removed", &error))?;
        }
        self.store.truncate_wal().await?;
        self.wake.devices(&devices);
        self.wake.purged().notify_waiters();
        Ok(now_s)
    }

    /// No effect without a durable record (L4).
    async fn record_then_commit(
        &self,
        record: crate::domain::record::Record,
        mut write: Write,
    ) -> Result<(), Fault> {
        if let Err(error) = self.ledger.append(vec![record]).await {
            return Err(self.health.stop("the ledger cannot be written", &error));
        }
        self.seams.reach(Point::ChangeRecorded).await;
        let marked = crash::mark_done(&mut write, self.ledger.size()).await;
        let committed = match marked {
            Ok(()) => write.commit().await,
            Err(error) => Err(error),
        };
        committed.map_err(|error| self.health.stop("the database cannot be written", &error.into()))?;
        self.seams.reach(Point::Changed).await;
        Ok(())
    }
}

/// Gives a held story its place and receipt; recovery does the same (K12).
pub(super) async fn deliver(write: &mut Write, keys: &Keys, story: &Story) -> sqlx::Result<Vec<u8>> {
    let (kind, sequence) = audiences::next_place(write, story.audience).await?;
    let acceptance = Acceptance {
        cti: story.cti,
        envelope: story.envelope_digest,
        clearance: story.clearance_digest,
        group: story.audience,
        sequence,
        at_s: story.at_s,
        expires_s: story.expires_s,
        entry: story.entry,
    }
    .sign(&keys.acceptance);
    stories::release(write, story.cti, sequence, &acceptance).await?;
    match kind {
        AudienceKind::Group => {
            let item = LogBody::Story(story.cti);
            audiences::append_log(write, story.audience, sequence, &item, story.at_s).await?;
        }
        AudienceKind::DeviceList => lists::deliver(write, story).await?,
    }
    Ok(acceptance)
}

/// Whom a story is for: the devices of the list's version, or the group's members.
async fn readers(write: &mut Write, audience: AudienceId, epoch: u64) -> sqlx::Result<Vec<DeviceId>> {
    match device_lists::version_of(write, audience, epoch).await? {
        Some(stored) => Ok(stored.list.devices().iter().copied().collect()),
        None => audiences::members(write, audience).await,
    }
}

/// The group is as the story was sealed for, and its author is in it.
async fn check_group(write: &mut Write, story: &Story, audience: &Audience) -> Result<(), Fault> {
    if audience.epoch != story.epoch {
        return Err(Fault::new(
            ErrorCode::EpochMoved,
            format!("the group is in epoch {}", audience.epoch),
        ));
    }
    if audience.removal_pending {
        return Err(Fault::new(
            ErrorCode::RemovalPending,
            "a device of this group has been revoked",
        ));
    }
    if !audiences::is_member(write, story.audience, story.device).await? {
        return Err(Fault::new(
            ErrorCode::NotAMember,
            "the device is not in this audience",
        ));
    }
    Ok(())
}

/// The same story twice in one batch, or twice at the door at once (K13).
fn known_story(known: &Story, story: &Story) -> Result<Entry, Fault> {
    let same = known.device == story.device
        && known.envelope_digest == story.envelope_digest
        && known.clearance_digest == story.clearance_digest;
    match (&known.acceptance, same) {
        (Some(acceptance), true) => Ok(Entry::Known(acceptance.clone())),
        (None, true) => Err(Fault::new(ErrorCode::Busy, "this story is being recorded")),
        (_, false) => Err(Fault::new(
            ErrorCode::ReplayRefused,
            "this id was used before, for something else",
        )),
    }
}

fn answer_all(batch: Vec<Pending>, fault: &Fault) {
    for pending in batch {
        drop(
            pending
                .answer
                .send(Err(Fault::new(fault.code, fault.detail.clone()))),
        );
    }
}
