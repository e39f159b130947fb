//! The writer task: batches of stories, single changes of groups and lists, takebacks, in the order of their arrival.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use gateway_api::bytes::Bytes;
use gateway_api::error::ErrorCode;
use gateway_api::receipt::Acceptance;
use gateway_api::v1::sync::InboxBody;
use policies::terms::{AudienceId, DeviceId};
use telemetry::{Field, SpanName, Tracing};

use super::checks::{Entry, Seen};
use super::lists::{self, Definition};
use super::{Answer, GroupChange, Job, ListChange, Queue, Submission, Takeback, Traced};
use crate::clock::Clock;
use crate::config::keys::Keys;
use crate::domain::fault::Fault;
use crate::domain::health::Health;
use crate::metrics::Metrics;
use crate::relay::wake::Wake;
use crate::seam::{Point, Seams};
use crate::store::audiences::{self, AudienceKind, LogBody};
use crate::store::blobs::{self, Objects};
use crate::store::logs::{DirectoryLog, Ledger};
use crate::store::stories::{self, Placed, Story, StoryState};
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
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tracing: Tracing,
    /// Stories of one group commit at most.
    pub(crate) batch_max: usize,
}

struct Pending {
    submission: Box<Submission>,
    answer: Answer<Vec<u8>>,
}

/// When the steps of a commit were over.
struct Stamps {
    begun_at: SystemTime,
    appending_at: SystemTime,
    appended_at: SystemTime,
    released_at: SystemTime,
    woken_at: SystemTime,
}

/// What moves a group on.
struct Step {
    from_epoch: u64,
    item: Option<LogBody>,
    rejoined: Option<DeviceId>,
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
        let (begun, begun_at) = (Instant::now(), SystemTime::now());
        let mut held = match self.hold(batch).await {
            Ok(held) if held.is_empty() => return,
            Ok(held) => held,
            Err((batch, fault)) => return answer_all(batch, &fault),
        };
        self.seams.reach(Point::Held).await;
        let records = held
            .iter()
            .map(|pending| pending.submission.record.clone())
            .collect();
        let (appending, appending_at) = (Instant::now(), SystemTime::now());
        if let Err(error) = self.ledger.append(records).await {
            let fault = self.health.stop("the ledger cannot be written", &error);
            return answer_all(held, &fault);
        }
        self.metrics.append(appending.elapsed());
        let appended_at = SystemTime::now();
        self.seams.reach(Point::Recorded).await;
        match self.release(&held).await {
            Ok((acceptances, devices)) => {
                self.seams.reach(Point::Released).await;
                self.metrics.commit(held.len(), begun.elapsed());
                self.metrics.accept(held.len());
                let stories = held.len();
                let traced = held
                    .iter_mut()
                    .filter_map(|pending| pending.submission.traced.take());
                let traced: Vec<Traced> = traced.collect();
                let released_at = SystemTime::now();
                for (pending, acceptance) in held.into_iter().zip(acceptances) {
                    drop(pending.answer.send(Ok(acceptance)));
                }
                self.wake.devices(&devices);
                let stamps = Stamps {
                    begun_at,
                    appending_at,
                    appended_at,
                    released_at,
                    woken_at: SystemTime::now(),
                };
                self.tell(&traced, &stamps, stories, devices.len());
            }
            Err(error) => {
                let fault = self.health.stop("the database cannot be written", &error.into());
                answer_all(held, &fault);
            }
        }
    }

    /// The spans of each story whose trace is exported: all of a batch share its commit.
    fn tell(&self, traced: &[Traced], stamps: &Stamps, stories: usize, devices: usize) {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        for Traced { place, queued } in traced {
            let over = |below, name, from, to, field: Option<Field>| {
                self.tracing.over(below, name, (from, to), field)
            };
            over(place, SpanName::Queue, *queued, stamps.begun_at, None);
            let stories = Some(Field::Stories(count(stories)));
            let commit = over(
                place,
                SpanName::Commit,
                stamps.begun_at,
                stamps.released_at,
                stories,
            );
            let (appending, appended) = (stamps.appending_at, stamps.appended_at);
            over(&commit, SpanName::LedgerAppend, appending, appended, None);
            let devices = Some(Field::Devices(count(devices)));
            over(
                place,
                SpanName::Wake,
                stamps.released_at,
                stamps.woken_at,
                devices,
            );
        }
    }

    /// First transaction: rows that are held. Those that fail a check are answered here and now.
    async fn hold(&self, batch: Vec<Pending>) -> Result<Vec<Pending>, (Vec<Pending>, Fault)> {
        let (mut write, mut seen) = match self.look(&batch).await {
            Ok(looked) => looked,
            Err(error) => return Err((batch, error.into())),
        };
        let mut held = Vec::with_capacity(batch.len());
        for pending in batch {
            match seen.enter(&mut write, &self.directory, &pending.submission).await {
                Ok(Entry::Held) => held.push(pending),
                Ok(Entry::Known(acceptance)) => drop(pending.answer.send(Ok(acceptance))),
                Err(fault) => drop(pending.answer.send(Err(fault))),
            }
        }
        match self.write_held(write, &held, &seen).await {
            Ok(()) => Ok(held),
            Err(error) => Err((held, error.into())),
        }
    }

    /// Begins the transaction, with what its stories are checked against.
    async fn look(&self, batch: &[Pending]) -> sqlx::Result<(Write, Seen)> {
        let mut write = self.store.write().await?;
        let seen = Seen::load(&mut write, batch.iter().map(|pending| &*pending.submission)).await?;
        Ok((write, seen))
    }

    async fn write_held(&self, mut write: Write, held: &[Pending], seen: &Seen) -> sqlx::Result<()> {
        let rows: Vec<_> = held
            .iter()
            .map(|pending| (&pending.submission.story, &pending.submission.stored))
            .collect();
        stories::hold(&mut write, &rows).await?;
        for pending in held {
            let story = &pending.submission.story;
            for (digest, wrapped_key) in &pending.submission.blobs {
                blobs::assign(&mut write, *digest, story.cti, story.expires_s, wrapped_key).await?;
            }
        }
        rejoin::set_state_marks(&mut write, &seen.risen_marks()).await?;
        crash::mark_held(&mut write, self.ledger.size()).await?;
        write.commit().await
    }

    /// Second transaction: places in the logs, receipts.
    async fn release(&self, held: &[Pending]) -> sqlx::Result<(Vec<Vec<u8>>, BTreeSet<DeviceId>)> {
        let mut write = self.store.write().await?;
        let stories: Vec<&Story> = held.iter().map(|pending| &pending.submission.story).collect();
        let delivered = deliver(&mut write, &self.keys, &stories).await?;
        let members = audiences::stays_in(&mut write, &delivered.groups, None).await?;
        let mut devices: BTreeSet<DeviceId> = members.into_iter().map(|(_, device)| device).collect();
        for (list, version) in delivered.lists {
            devices.extend(readers(&mut write, list, version).await?);
        }
        crash::mark_done(&mut write, self.ledger.size()).await?;
        write.commit().await?;
        Ok((delivered.acceptances, devices))
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

/// What became of held stories.
#[derive(Default)]
pub(super) struct Delivered {
    /// In the order of the stories.
    pub(super) acceptances: Vec<Vec<u8>>,
    pub(super) groups: BTreeSet<AudienceId>,
    /// With their versions.
    pub(super) lists: BTreeSet<(AudienceId, u64)>,
}

/// Gives held stories their places and receipts, in this order; recovery does the same (K12).
pub(super) async fn deliver(write: &mut Write, keys: &Keys, held: &[&Story]) -> sqlx::Result<Delivered> {
    let placed = place(write, keys, held).await?;
    stories::release(write, &placed).await?;
    let mut delivered = Delivered::default();
    let mut in_groups = Vec::with_capacity(placed.len());
    for placed in &placed {
        match placed.kind {
            AudienceKind::Group => {
                delivered.groups.insert(placed.story.audience);
                in_groups.push(placed);
            }
            AudienceKind::DeviceList => {
                delivered
                    .lists
                    .insert((placed.story.audience, placed.story.epoch));
                lists::deliver(write, placed.story).await?;
            }
        }
    }
    audiences::append_stories(write, &in_groups).await?;
    delivered.acceptances = placed.into_iter().map(|placed| placed.acceptance).collect();
    Ok(delivered)
}

/// Draws each audience's numbers at once, and signs the receipts.
async fn place<'a>(write: &mut Write, keys: &Keys, held: &[&'a Story]) -> sqlx::Result<Vec<Placed<'a>>> {
    let mut counts = BTreeMap::<AudienceId, u64>::new();
    for story in held {
        let count = counts.entry(story.audience).or_default();
        *count = count.saturating_add(1);
    }
    let mut places = BTreeMap::new();
    for (audience, count) in counts {
        let (kind, first) = audiences::next_places(write, audience, count).await?;
        places.insert(audience, (kind, first..));
    }
    held.iter()
        .map(|story| {
            let place = places.get_mut(&story.audience);
            let (kind, sequence) = place
                .and_then(|(kind, numbers)| Some((*kind, numbers.next()?)))
                .ok_or(sqlx::Error::RowNotFound)?;
            Ok(Placed {
                story,
                kind,
                sequence,
                acceptance: accept(keys, story, sequence),
            })
        })
        .collect()
}

fn accept(keys: &Keys, story: &Story, sequence: u64) -> Vec<u8> {
    Acceptance {
        cti: story.cti,
        envelope: story.envelope_digest,
        clearance: story.clearance_digest,
        group: story.audience,
        sequence,
        at_s: story.at_s,
        expires_s: story.expires_s,
        entry: story.entry,
    }
    .sign(&keys.acceptance)
}

/// Whom a story is for: the devices of the list's version, or the group's members.
async fn readers(write: &mut Write, audience: AudienceId, epoch: u64) -> sqlx::Result<Vec<DeviceId>> {
    match device_lists::version_of(write, audience, epoch).await? {
        Some(stored) => Ok(stored.list.devices().iter().copied().collect()),
        None => audiences::members(write, audience).await,
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
