//! The gateway whole: its stores, logs, keys and clocks, opened under the one-writer lock (K34).

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail, ensure};
use arc_swap::ArcSwap;
use gateway_api::error::{ErrorCode, Problem};
use policies::clock::has_jumped;
use policies::directory::{Directory, DirectoryEntry};
use policies::terms::{AudienceId, DeviceId, EntryId, PersonId};
use serde_json::{Value, json};
use telemetry::Exports;

use super::fault::Fault;
use super::health::Health;
use super::locks::Locks;
use super::membership::{Group, Registry};
use super::policy::PolicyInForce;
use super::quarantine::Quarantine;
use super::record::{Kind, Record};
use super::recovery;
use super::restored::Restored;
use super::server_certificate::ServerCertificate;
use super::space::Space;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::keys::Keys;
use crate::config::layout::Layout;
use crate::limits;
use crate::metrics::Metrics;
use crate::relay::door::Door;
use crate::relay::wake::Wake;
use crate::relay::{GroupChange, Queue, Relay, Writer};
use crate::seam::{Point, Seams};
use crate::store::audiences::{Audience, LogBody};
use crate::store::blobs::Objects;
use crate::store::bucket_keys::{BucketKeys, FileBucketKeys};
use crate::store::crash::{self, Intent};
use crate::store::logs::{DirectoryLog, Ledger, NotWritten};
use crate::store::{Store, Write};

/// Everything that handlers and commands work with.
pub(crate) struct Gateway {
    pub(crate) layout: Layout,
    pub(crate) config: Config,
    pub(crate) keys: Arc<Keys>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) store: Store,
    pub(crate) objects: Objects,
    pub(crate) bucket_keys: Arc<dyn BucketKeys>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) directory: Arc<DirectoryLog>,
    pub(crate) policy: ArcSwap<PolicyInForce>,
    pub(crate) relay: Relay,
    pub(crate) door: Door,
    pub(crate) wake: Arc<Wake>,
    pub(crate) health: Arc<Health>,
    pub(crate) quarantine: Quarantine,
    pub(crate) space: Space,
    pub(crate) seams: Arc<Seams>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) exports: Exports,
    /// `https://host:port` that agents are told.
    public_url: Mutex<Option<String>>,
    /// One change of a group at a time.
    group_locks: Locks<AudienceId>,
    /// What TLS connections are shown.
    pub(crate) server_certificate: Arc<ServerCertificate>,
    /// One report of a device at a time.
    pub(crate) reports: Locks<DeviceId>,
    /// One entry of the directory log at a time, with the ledger's entry about it.
    logging: Arc<tokio::sync::Mutex<()>>,
    /// Minute, and enrollments that failed in it.
    failed_enrollments: Mutex<(u64, u32)>,
    /// One publication at a time.
    pub(crate) publishing: tokio::sync::Mutex<()>,
    /// One rejoin at a time: a request that comes twice at once makes one entry.
    pub(crate) rejoining: tokio::sync::Mutex<()>,
    /// One certificate at a time: a request that comes twice at once gets one.
    pub(crate) issuing: tokio::sync::Mutex<()>,
    /// Held until the process ends.
    _lock: File,
}

/// A device that has shown a current certificate, is in the directory log, and is not revoked. Made by the extractor
/// of `http::device` alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) person: PersonId,
}

impl Gateway {
    /// Opens a data folder, settles what a crash left, and starts the writer.
    pub(crate) async fn open(layout: Layout) -> anyhow::Result<(Arc<Self>, tokio::task::JoinHandle<()>)> {
        Self::open_with(layout, Clock::default(), Exports::off()?).await
    }

    /// As [`Self::open`], by this clock.
    #[cfg(test)]
    pub(crate) async fn open_at(
        layout: Layout,
        clock: Clock,
    ) -> anyhow::Result<(Arc<Self>, tokio::task::JoinHandle<()>)> {
        Self::open_with(layout, clock, Exports::off()?).await
    }

    /// As [`Self::open`], by this clock, and what it does is told there.
    pub(crate) async fn open_with(
        layout: Layout,
        clock: Clock,
        exports: Exports,
    ) -> anyhow::Result<(Arc<Self>, tokio::task::JoinHandle<()>)> {
        let config = Config::read(&layout.config())?;
        let lock = lock(&layout)?;
        let keys = Arc::new(Keys::load(&layout)?);
        let clock = Arc::new(clock);
        let store = Store::open(&layout.database()).await?;
        let is_new = store.last_reading().await?.is_none();
        settle_clock(&store, &clock).await?;
        let metrics = Arc::new(Metrics::new(&exports));
        let objects = Objects::open(&layout.blobs(), Arc::clone(&metrics))?;
        let bucket_keys: Arc<dyn BucketKeys> = Arc::new(FileBucketKeys::open(&layout.bucket_keys())?);
        let ledger = Arc::new(Ledger::open(
            &layout,
            &config.tenant,
            &keys.ledger,
            Arc::clone(&clock),
        )?);
        let directory = Arc::new(DirectoryLog::open(&layout, &config.tenant, &keys.directory)?);
        // A gateway that is held writes to no log: what is owed to the ledger waits for the start after that.
        let restored = Restored::read(&layout)?;
        ensure!(
            !is_new || ledger.size() == 0 || restored.is_some(),
            "the database is empty and the ledger is not: put `gateway.db` back as it was, or restore ledger and database \
             from one backup"
        );
        recovery::recover(
            &store,
            &ledger,
            &directory,
            &keys,
            clock.now_s(),
            restored.is_none(),
        )
        .await
        .context("what the last run left cannot be settled")?;
        // A crash may have come between a purge and the end of what it left in the write-ahead log (D2).
        store.truncate_wal().await?;
        let highest = directory.read(Directory::highest_version);
        let policy = PolicyInForce::load(&store, &config, highest, clock.now_s())
            .await
            .unwrap_or_else(|error| {
                tracing::error!(
                    error = format!("{error:#}"),
                    "no bundle is in force: nothing is accepted"
                );
                PolicyInForce::default()
            });
        let quarantine = Quarantine::new(store.quarantined().await?);
        let (relay, queue) = Relay::new();
        let door = Door::open(store.clone());
        let health = Arc::clone(store.health());
        let space = Space::new(layout.root(), layout.ballast());
        let server_certificate = Arc::new(ServerCertificate::new(&layout, &keys.authority, clock.now_s())?);
        let gateway = Arc::new(Self {
            layout,
            config,
            keys,
            clock,
            store,
            objects,
            bucket_keys,
            ledger,
            directory,
            policy: ArcSwap::from_pointee(policy),
            relay,
            door,
            wake: Arc::default(),
            health,
            quarantine,
            space,
            server_certificate,
            seams: Arc::default(),
            metrics,
            exports,
            public_url: Mutex::default(),
            group_locks: Locks::default(),
            reports: Locks::default(),
            logging: Arc::default(),
            failed_enrollments: Mutex::default(),
            publishing: tokio::sync::Mutex::default(),
            rejoining: tokio::sync::Mutex::default(),
            issuing: tokio::sync::Mutex::default(),
            _lock: lock,
        });
        let writer = gateway.start_writer(queue);
        gateway.remove_orphaned_objects().await?;
        match restored {
            Some(restored) => {
                let sentence = restored.sentence(gateway.directory.vkey(), gateway.directory.size())?;
                tracing::error!("{sentence}");
                gateway.health.hold(sentence);
            }
            None => gateway.finish_revocations().await?,
        }
        Ok((gateway, writer))
    }

    /// Ends the writer, the last batch included, and closes the stores with their checkpoints published.
    pub(crate) async fn close(&self, writer: tokio::task::JoinHandle<()>) -> anyhow::Result<()> {
        self.relay.close();
        writer.await.context("the writer did not end well")?;
        self.ledger.publish().await?;
        self.directory.publish().await?;
        self.store.close().await?;
        Ok(())
    }

    fn start_writer(&self, queue: Queue) -> tokio::task::JoinHandle<()> {
        let writer = Writer {
            store: self.store.clone(),
            objects: self.objects.clone(),
            ledger: Arc::clone(&self.ledger),
            directory: Arc::clone(&self.directory),
            keys: Arc::clone(&self.keys),
            clock: Arc::clone(&self.clock),
            wake: Arc::clone(&self.wake),
            health: Arc::clone(&self.health),
            seams: Arc::clone(&self.seams),
            metrics: Arc::clone(&self.metrics),
            tracing: self.exports.tracing().clone(),
            batch_max: self.config.relay.batch_max,
        };
        tokio::spawn(writer.run(queue))
    }

    /// An upload that a crash cut short has an object and no row.
    async fn remove_orphaned_objects(&self) -> anyhow::Result<()> {
        let known: std::collections::BTreeSet<[u8; 16]> =
            self.store.known_objects().await?.into_iter().collect();
        for object in self
            .objects
            .all()
            .await?
            .into_iter()
            .filter(|object| !known.contains(object))
        {
            self.objects.remove(&object).await?;
        }
        Ok(())
    }

    pub(crate) fn public_url(&self) -> String {
        let running = self
            .public_url
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let configured = self.config.listen.public_url.clone();
        configured
            .or(running)
            .unwrap_or_else(|| format!("https://localhost:{}", self.config.listen.device.port()))
    }

    pub(crate) fn set_public_url(&self, url: String) {
        *self.public_url.lock().unwrap_or_else(PoisonError::into_inner) = Some(url);
    }

    /// Whether anything new is taken in: there is room for it, and [`Self::check_trusted`] (L5).
    pub(crate) fn check_open(&self) -> Result<(), Fault> {
        self.health.check_room()?;
        self.check_trusted()
    }

    /// Whether anything is written by the clock: it is settled (K19), and the stores are writable.
    pub(crate) fn check_trusted(&self) -> Result<(), Fault> {
        if self.clock.is_unsettled() {
            return Err(Fault::new(ErrorCode::ClockUnsettled, "the clock has jumped"));
        }
        self.health.check_writable()
    }

    /// Whether the wall clock agrees with the boot clock at this moment, and not only when it was last looked at (K19).
    pub(crate) async fn is_clock_settled(&self) -> anyhow::Result<bool> {
        if self.clock.is_unsettled() {
            return Ok(false);
        }
        let now = self.clock.reading()?;
        let before = self.store.last_reading().await?;
        Ok(before.is_none_or(|before| !has_jumped(&before, &now)))
    }

    /// Whether an enrollment may be tried (E1).
    pub(crate) fn check_enrollment_rate(&self) -> Result<(), Fault> {
        let minute = self.clock.now_s() / 60;
        let failed = *self
            .failed_enrollments
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if failed.0 == minute && failed.1 >= limits::FAILED_ENROLLMENTS_PER_MINUTE {
            return Err(Fault::new(
                ErrorCode::Busy,
                "too many enrollments have failed in this minute",
            ));
        }
        Ok(())
    }

    pub(crate) fn count_failed_enrollment(&self) {
        let minute = self.clock.now_s() / 60;
        let mut failed = self
            .failed_enrollments
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *failed = if failed.0 == minute {
            (minute, failed.1.saturating_add(1))
        } else {
            (minute, 1)
        };
    }

    /// A durable write failed.
    pub(crate) fn storage_fault(&self, error: &anyhow::Error) -> Fault {
        if error.is::<NotWritten>() {
            tracing::error!(
                error = format!("{error:#}"),
                "an entry was refused before it was written"
            );
            return Fault::new(
                ErrorCode::StorageFailed,
                "the record could not be made; nothing was done",
            );
        }
        self.health.stop("a log cannot be written", error)
    }

    pub(crate) fn storage_failed(&self, error: &anyhow::Error) -> Problem {
        let fault = self.storage_fault(error);
        Problem::new(fault.code, fault.detail)
    }

    /// Records an act of the gateway, durably.
    pub(crate) async fn record(
        &self,
        kind: Kind,
        subject: Option<PersonId>,
        payload: Value,
    ) -> Result<(), Fault> {
        self.health.check_writable()?;
        let record = self.entry(kind, subject, payload)?;
        self.ledger
            .append(vec![record])
            .await
            .map_err(|error| self.storage_fault(&error))
    }

    /// Appends to the directory log, and to the ledger what it is about; the index goes into the payload. After a crash
    /// both have it or neither. Goes on to its end when the caller does not wait for it any more.
    pub(crate) async fn log(
        &self,
        entry: DirectoryEntry,
        kind: Kind,
        subject: Option<PersonId>,
        payload: Value,
    ) -> Result<u64, Fault> {
        let logged = self.log_as(entry, &[kind], subject, payload).await?;
        let overtaken = || Fault::new(ErrorCode::Busy, "the directory log has changed meanwhile");
        logged.ok_or_else(overtaken)
    }

    /// The same, with one entry of the ledger for each kind; none if the directory log does not take the entry any more,
    /// since another came before it.
    async fn log_as(
        &self,
        entry: DirectoryEntry,
        kinds: &[Kind],
        subject: Option<PersonId>,
        mut payload: Value,
    ) -> Result<Option<u64>, Fault> {
        self.health.check_writable()?;
        let (store, directory, ledger) = (
            self.store.clone(),
            Arc::clone(&self.directory),
            Arc::clone(&self.ledger),
        );
        let (seams, version) = (Arc::clone(&self.seams), self.policy.load().version());
        let (logging, kinds) = (Arc::clone(&self.logging), kinds.to_vec());
        let work = tokio::spawn(async move {
            let _one_at_a_time = logging.lock().await;
            if !directory.takes(&entry) {
                return Ok(None);
            }
            let index = directory.size();
            if let Some(payload) = payload.as_object_mut() {
                payload.insert("log_index".to_owned(), index.into());
            }
            let records = kinds
                .iter()
                .map(|kind| Record::new(*kind, subject, version, payload.clone()))
                .collect::<anyhow::Result<Vec<_>>>()?;
            let mut write = store.write().await?;
            for record in &records {
                let intent = Intent {
                    record: record.clone(),
                    ledger_from: ledger.size(),
                    directory_index: Some(index),
                };
                crash::intend(&mut write, &intent).await?;
            }
            write.commit().await?;
            seams.reach(Point::Intended).await;
            directory.append(entry).await?;
            seams.reach(Point::Logged).await;
            let entries: Vec<EntryId> = records.iter().map(|record| record.entry).collect();
            ledger.append(records).await?;
            seams.reach(Point::LoggedRecorded).await;
            for entry in entries {
                store.settle_intent(entry).await?;
            }
            anyhow::Ok(Some(index))
        });
        let done = work.await.map_err(anyhow::Error::from)?;
        done.map_err(|error| self.health.stop("a log cannot be written", &error))
    }

    /// Commits a write, and records what it did: after a crash there are both or neither. Goes on to its end when the
    /// caller does not wait for it any more.
    pub(crate) async fn record_with(&self, mut write: Write, records: Vec<Record>) -> Result<(), Fault> {
        self.health.check_writable()?;
        for record in &records {
            crash::intend(&mut write, &self.intent(record)?).await?;
        }
        let (store, ledger) = (self.store.clone(), Arc::clone(&self.ledger));
        let seams = Arc::clone(&self.seams);
        let work = tokio::spawn(async move {
            write.commit().await?;
            seams.reach(Point::Owed).await;
            let entries: Vec<EntryId> = records.iter().map(|record| record.entry).collect();
            ledger.append(records).await?;
            seams.reach(Point::OwedRecorded).await;
            for entry in entries {
                store.settle_intent(entry).await?;
            }
            anyhow::Ok(())
        });
        let done = work.await.map_err(anyhow::Error::from)?;
        done.map_err(|error| self.health.stop("what was done cannot be recorded", &error))
    }

    /// Owes an entry to the ledger from now on, whose doing a start then ends.
    pub(crate) async fn owe(&self, record: &Record) -> Result<(), Fault> {
        let mut write = self.store.write().await?;
        crash::intend(&mut write, &self.intent(record)?).await?;
        Ok(write.commit().await?)
    }

    fn intent(&self, record: &Record) -> Result<Intent, Fault> {
        // What the ledger would refuse must not be owed to it: no start would get past it.
        if serde_json::to_vec(record).map_err(anyhow::Error::from)?.len() > limits::RECORD_BYTES_MAX {
            return Err(Fault::bad_request(
                "this is too much for one entry of the ledger; do it in parts",
            ));
        }
        Ok(Intent {
            record: record.clone(),
            ledger_from: self.ledger.size(),
            directory_index: None,
        })
    }

    pub(crate) fn entry(
        &self,
        kind: Kind,
        subject: Option<PersonId>,
        payload: Value,
    ) -> Result<Record, Fault> {
        Ok(Record::new(kind, subject, self.policy.load().version(), payload)?)
    }

    /// The audience, for a device that is in it.
    pub(crate) async fn audience_of(&self, device: &Device, group: AudienceId) -> Result<Audience, Fault> {
        let audience = self.store.audience(group).await?;
        let member = audience.is_some() && self.store.is_member(group, device.id).await?;
        audience.filter(|_| member).ok_or_else(not_a_member)
    }

    /// The lock that a change of this group takes.
    pub(crate) fn group_lock(&self, group: AudienceId) -> Arc<tokio::sync::Mutex<()>> {
        self.group_locks.of(group)
    }

    /// The directory for checks of leaves.
    pub(crate) fn with_registry<T>(&self, check: impl FnOnce(&Registry<'_>) -> T) -> T {
        self.directory.read(|directory| {
            check(&Registry {
                tenant: &self.config.tenant,
                directory,
            })
        })
    }

    /// Rebuilds what is decided by, after a change of bundles or of the directory's groups.
    pub(crate) async fn reload_policy(&self) -> anyhow::Result<()> {
        let highest = self.directory.read(Directory::highest_version);
        let policy = PolicyInForce::load(&self.store, &self.config, highest, self.clock.now_s()).await?;
        self.policy.store(Arc::new(policy));
        Ok(())
    }

    /// Revokes a device: logged, recorded, its key packages dropped, and a Remove proposed in each of its groups.
    pub(crate) async fn revoke_device(&self, id: DeviceId) -> Result<bool, Fault> {
        self.end_device(id, &[Kind::DeviceRevoke]).await
    }

    /// The same, for a device that leaves by itself (E9): the ledger says that too.
    pub(crate) async fn unenroll_device(&self, device: &Device) -> Result<bool, Fault> {
        self.end_device(device.id, &[Kind::Unenroll, Kind::DeviceRevoke])
            .await
    }

    async fn end_device(&self, id: DeviceId, kinds: &[Kind]) -> Result<bool, Fault> {
        // Not `check_open`: a clock that has jumped must not keep a stolen device in.
        self.health.check_writable()?;
        let Some(device) = self.directory.device(id) else {
            return Err(Fault::not_found());
        };
        let entry = DirectoryEntry::DeviceRevoke {
            device: id,
            at_s: self.clock.now_s(),
        };
        let payload = json!({ "device": id, "person": device.person });
        let logged = self.log_as(entry, kinds, Some(device.person), payload).await?;
        self.shut_out(id).await?;
        self.wake.everyone();
        Ok(logged.is_some())
    }

    /// What follows from a revocation: no key package is handed out, and every audience is asked to remove the
    /// device. Done again, it does what is missing.
    async fn shut_out(&self, device: DeviceId) -> Result<(), Fault> {
        self.store.drop_key_packages(device).await?;
        for group in self.store.audiences_of(device).await? {
            self.propose_removal(group, device).await?;
        }
        Ok(())
    }

    /// Finishes revocations that a crash cut short.
    pub(crate) async fn finish_revocations(&self) -> anyhow::Result<()> {
        let revoked: Vec<DeviceId> = self.directory.read(|directory| {
            let revoked = directory.devices().filter(|logged| logged.revoked);
            revoked.map(|logged| logged.device).collect()
        });
        for device in revoked {
            self.shut_out(device)
                .await
                .context("a revocation could not be finished")?;
        }
        Ok(())
    }

    /// Proposes that the group's members remove a device; nobody posts before one has.
    pub(crate) async fn propose_removal(&self, group: AudienceId, device: DeviceId) -> Result<(), Fault> {
        let lock = self.group_lock(group);
        let _changing = lock.lock().await;
        let Some(state) = self.store.audience_state(group).await? else {
            return Ok(());
        };
        let mut public = Group::load(group, &state)?;
        let Some(message) = public.propose_removal(device, &self.keys.external_sender)? else {
            return Ok(());
        };
        let mut state = self.directory.read(|directory| public.state(directory))?;
        state.removal_pending = true;
        let payload = json!({ "audience": group, "epoch": public.epoch(), "proposed_removal": device });
        let record = self.entry(Kind::Audience, None, payload)?;
        let change = GroupChange {
            audience: group,
            from_epoch: Some(public.epoch()),
            state,
            item: Some(LogBody::Proposal(message)),
            welcome: None,
            group_info: None,
            rejoined: None,
            record,
        };
        self.relay.change(change).await.map(drop)
    }
}

pub(crate) fn not_a_member() -> Fault {
    Fault::new(ErrorCode::NotAMember, "the device is not in this audience")
}

/// One writer to a data folder (K34).
fn lock(layout: &Layout) -> anyhow::Result<File> {
    let path = layout.lock();
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot open `{}`", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "`{}` is in use by another sealgate process",
            layout.root().display()
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock `{}`", path.display()))
        }
    }
}

/// Compares the clocks with those of the last run (K19).
async fn settle_clock(store: &Store, clock: &Clock) -> anyhow::Result<()> {
    let now = clock.reading()?;
    match store.last_reading().await? {
        Some(before) if has_jumped(&before, &now) => {
            tracing::error!(
                "the wall clock has jumped since the last run: nothing is accepted until it is confirmed"
            );
            clock.set_unsettled(true);
        }
        Some(_) | None => store.set_last_reading(&now).await?,
    }
    Ok(())
}
