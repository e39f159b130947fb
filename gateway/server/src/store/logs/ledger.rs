//! The ledger: records in, durable when the call returns; payloads under their subject's key (K27, L1).

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use ed25519_dalek::SigningKey;
use gateway_ledger::{CheckpointSigner, Entry, Frontier, Header, InclusionProof, SignedCheckpoint};
use policies::terms::{EntryId, PersonId, TenantId};
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::config::layout::Layout;
use crate::domain::record::{Kind, Record};
#[cfg(test)]
use crate::store::ledger::BreakAt;
use crate::store::ledger::subject_keys::{
    DekId, FileSubjectKeys, Payload, RetentionClass, Subject, SubjectKeys as _, open_entry, seal_entry,
};
use crate::store::ledger::{LedgerFiles, Queued};

/// Entries read at once: bounds memory to 64 MiB of the largest ones.
const READ_ENTRIES: u64 = 1_024;
/// This gateway node (K27: never a person or a device).
const WRITER: &str = "gateway-1";

/// The log of what happened.
pub(crate) struct Ledger {
    inner: Arc<Inner>,
    vkey: String,
}

struct Inner {
    files: LedgerFiles,
    signer: CheckpointSigner,
    keys: FileSubjectKeys,
    tenant: TenantId,
    clock: Arc<Clock>,
    /// The next `writer_seq`; the log's size until something has been appended.
    next: Mutex<Option<u64>>,
}

/// An entry as an auditor reads it.
pub(crate) struct ReadEntry {
    pub(crate) index: u64,
    pub(crate) writer_id: String,
    pub(crate) writer_seq: u64,
    pub(crate) at_s: u64,
    pub(crate) kind: String,
    pub(crate) policy_version: u64,
    pub(crate) entry: EntryId,
    /// Whose key seals the payload; none for the gateway's own acts, and when the key has been shredded.
    pub(crate) subject: Option<PersonId>,
    /// None when the subject's key has been shredded.
    pub(crate) payload: Option<Value>,
}

impl Ledger {
    pub(crate) fn open(
        layout: &Layout,
        tenant: &TenantId,
        key: &SigningKey,
        clock: Arc<Clock>,
    ) -> anyhow::Result<Self> {
        let signer = CheckpointSigner::new(&format!("{}/ledger", tenant.as_str()), &key.to_bytes())
            .context("the ledger's key cannot be used")?;
        let vkey = signer.key().to_string();
        let (files, recovery) =
            LedgerFiles::open(&layout.ledger(), signer.clone()).context("cannot open the ledger")?;
        if recovery.truncated_bytes > 0 {
            tracing::info!(
                bytes = recovery.truncated_bytes,
                "an unfinished batch was cut off the ledger"
            );
        }
        let keys = FileSubjectKeys::open(&layout.subject_keys()).context("cannot open the subjects' keys")?;
        let inner = Inner {
            files,
            signer,
            keys,
            tenant: tenant.clone(),
            clock,
            next: Mutex::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
            vkey,
        })
    }

    /// Appends records; durable when this returns.
    pub(crate) async fn append(&self, records: Vec<Record>) -> anyhow::Result<()> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || inner.append(&records)).await?
    }

    pub(crate) async fn publish(&self) -> anyhow::Result<()> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || inner.files.publish())
            .await?
            .context("cannot publish the ledger")
    }

    pub(crate) fn size(&self) -> u64 {
        self.inner.files.size()
    }

    /// The verifier key that auditors hold.
    pub(crate) fn vkey(&self) -> &str {
        &self.vkey
    }

    /// Some entries from `first` on, before `end`; none when there are none.
    pub(crate) async fn entries(&self, first: u64, end: u64) -> anyhow::Result<Vec<ReadEntry>> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || inner.read(first, end)).await?
    }

    /// Which of these entries exist from `first` on.
    pub(crate) async fn find_entries(
        &self,
        first: u64,
        wanted: Vec<EntryId>,
    ) -> anyhow::Result<BTreeSet<EntryId>> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || inner.find(first, &wanted)).await?
    }

    /// Where the ledger stands: its size and root.
    pub(crate) fn edge(&self) -> Frontier {
        self.inner.files.edge()
    }

    /// Names of the keys under which entries about a person are sealed.
    pub(crate) fn keys_of(&self, person: PersonId) -> Vec<DekId> {
        self.inner.keys.of_subject(Subject::person(*person.as_bytes()))
    }

    /// Destroys payload keys: how many there were. The caller has recorded it.
    pub(crate) async fn shred(&self, keys: Vec<DekId>) -> anyhow::Result<u64> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || {
            let mut shredded = 0_u64;
            for id in &keys {
                shredded = shredded.saturating_add(u64::from(inner.keys.shred(id)?));
            }
            Ok(shredded)
        })
        .await?
    }

    /// Blocks: the keys that were destroyed, as far as their store knows.
    pub(crate) fn destroyed_keys(&self) -> anyhow::Result<BTreeSet<DekId>> {
        self.inner
            .keys
            .destroyed()
            .context("cannot list the subjects' keys")
    }

    /// Blocks: those of the first `size` entries that are of a kind; no other payload is opened.
    pub(crate) fn entries_of(&self, kind: Kind, size: u64) -> anyhow::Result<Vec<ReadEntry>> {
        let (mut found, mut next) = (Vec::new(), 0_u64);
        while next < size {
            let end = size.min(next.saturating_add(READ_ENTRIES));
            let entries = self.inner.files.entries(next..end);
            for (bytes, index) in entries.context("cannot read the ledger")?.iter().zip(next..) {
                let entry = Entry::decode(bytes).context("an entry cannot be read")?;
                if entry.header.kind == kind.as_str() {
                    found.push(self.inner.open(index, bytes)?);
                }
            }
            next = end;
        }
        Ok(found)
    }

    /// Blocks: copies the ledger's files into a new folder; how many entries it had.
    pub(crate) fn copy_to(&self, folder: &Path) -> anyhow::Result<u64> {
        let edge = self
            .inner
            .files
            .copy_to(folder)
            .context("cannot copy the ledger")?;
        Ok(edge.size())
    }

    /// Blocks: the exact bytes of an entry.
    pub(crate) fn exact(&self, index: u64) -> anyhow::Result<Vec<u8>> {
        let entries = self.inner.files.entries(index..index.saturating_add(1));
        let entry = entries.context("cannot read the ledger")?.into_iter().next();
        entry.with_context(|| format!("the ledger has no entry {index}"))
    }

    /// The signed checkpoint over everything in the ledger.
    pub(crate) async fn checkpoint(&self) -> anyhow::Result<SignedCheckpoint> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || inner.files.signed_checkpoint())
            .await?
            .context("cannot read the ledger")
    }

    /// Blocks: the signed checkpoint of an edge that the ledger had, and the inclusion proofs of entries in it.
    pub(crate) fn prove(
        &self,
        edge: &Frontier,
        indices: &[u64],
    ) -> anyhow::Result<(SignedCheckpoint, Vec<InclusionProof>)> {
        self.inner
            .files
            .prove(edge, indices)
            .context("cannot prove from the ledger")
    }

    /// States something about the ledger under its key.
    pub(crate) fn state(&self, kind: &str, line: &str) -> anyhow::Result<String> {
        Ok(self.inner.signer.state(kind, line)?)
    }
}

#[cfg(test)]
impl Ledger {
    /// What fails from here on is the disk.
    pub(crate) fn break_disk(&self, break_at: BreakAt) {
        self.inner.files.break_disk(break_at);
    }

    /// From here on numbers are missing, as if entries had been left out.
    pub(crate) fn skip_numbers(&self, count: u64) {
        let mut next = self.inner.next.lock().unwrap();
        *next = Some(next.unwrap_or_else(|| self.size()) + count);
    }
}

/// No byte of the records was written, and nothing is wrong with the log: they are too large, or their key could
/// not be had.
#[derive(Debug, thiserror::Error)]
#[error("the entries were not written")]
pub(crate) struct NotWritten;

impl Inner {
    fn seal(&self, record: &Record, writer_seq: u64, at_s: u64) -> anyhow::Result<Vec<u8>> {
        let header = Header {
            tenant: self.tenant.as_str().to_owned(),
            at_s,
            writer_id: WRITER.to_owned(),
            writer_seq,
            kind: record.kind.as_str().to_owned(),
            policy_version: record.policy_version,
            dek_id: [0; 16],
            entry_id: *record.entry.as_bytes(),
        };
        let subject = record
            .subject
            .map_or(Subject::GATEWAY, |person| Subject::person(*person.as_bytes()));
        let payload = serde_json::to_vec(&record.payload)?;
        seal_entry(&self.keys, header, subject, retention(record.kind), &payload)
            .context("cannot seal a ledger entry")
    }

    fn open(&self, index: u64, bytes: &[u8]) -> anyhow::Result<ReadEntry> {
        let (header, payload) = open_entry(&self.keys, bytes)
            .with_context(|| format!("entry {index} of the ledger cannot be read"))?;
        let key = self.keys.existing(&header.dek_id)?;
        let subject = key.and_then(|key| key.subject().person_id());
        let payload = match payload {
            Payload::Clear(payload) => Some(serde_json::from_slice(&payload)?),
            Payload::Shredded => None,
        };
        Ok(ReadEntry {
            index,
            writer_id: header.writer_id,
            writer_seq: header.writer_seq,
            at_s: header.at_s,
            kind: header.kind,
            policy_version: header.policy_version,
            entry: EntryId::from_bytes(header.entry_id),
            subject: subject.map(PersonId::from_bytes),
            payload,
        })
    }

    fn append(&self, records: &[Record]) -> anyhow::Result<()> {
        let queued = self.enqueue(records).context(NotWritten)?;
        self.files
            .committed(queued)
            .context("cannot append to the ledger")?;
        Ok(())
    }

    /// Numbers, seals and queues records. The lock ends with the queueing, so that numbers and places agree (L6) and
    /// concurrent appends still share one sync.
    fn enqueue(&self, records: &[Record]) -> anyhow::Result<Queued> {
        let at_s = self.clock.now_s();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let first = next.unwrap_or_else(|| self.files.size());
        let entries = records
            .iter()
            .zip(first..)
            .map(|(record, writer_seq)| self.seal(record, writer_seq, at_s))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let end = first.saturating_add(u64::try_from(entries.len())?);
        let queued = self
            .files
            .enqueue(entries)
            .context("cannot append to the ledger")?;
        *next = Some(end);
        Ok(queued)
    }

    fn read(&self, first: u64, end: u64) -> anyhow::Result<Vec<ReadEntry>> {
        let end = end.min(self.files.size()).min(first.saturating_add(READ_ENTRIES));
        if first >= end {
            return Ok(Vec::new());
        }
        let entries = self.files.entries(first..end).context("cannot read the ledger")?;
        entries
            .iter()
            .zip(first..)
            .map(|(bytes, index)| self.open(index, bytes))
            .collect()
    }

    fn find(&self, first: u64, wanted: &[EntryId]) -> anyhow::Result<BTreeSet<EntryId>> {
        let mut found = BTreeSet::new();
        let (mut next, size) = (first, self.files.size());
        while next < size && found.len() < wanted.len() {
            let end = size.min(next.saturating_add(READ_ENTRIES));
            for bytes in self.files.entries(next..end).context("cannot read the ledger")? {
                let entry = Entry::decode(&bytes).context("an entry cannot be read")?;
                let id = EntryId::from_bytes(entry.header.entry_id);
                if wanted.contains(&id) {
                    found.insert(id);
                }
            }
            next = end;
        }
        Ok(found)
    }
}

/// How long entries of a kind are kept.
fn retention(kind: Kind) -> RetentionClass {
    match kind {
        Kind::Relay
        | Kind::Refusal
        | Kind::ReplayRefused
        | Kind::StoryRevoke
        | Kind::Event
        | Kind::FalsePositive
        | Kind::EventGap
        | Kind::Purge
        | Kind::DeletionReceipt
        | Kind::DeletionReconciliation => RetentionClass::Sharing,
        Kind::Person
        | Kind::Group
        | Kind::Token
        | Kind::Enroll
        | Kind::Unenroll
        | Kind::EnrollDecision
        | Kind::Renew
        | Kind::DeviceQuarantine
        | Kind::DeviceRelease
        | Kind::DeviceRevoke
        | Kind::DeviceRejoin
        | Kind::Audience
        | Kind::NoEffect
        | Kind::Bundle
        | Kind::PolicyRejected
        | Kind::Clock
        | Kind::Space
        | Kind::LogRead
        | Kind::LogExport
        | Kind::LogOpen
        | Kind::Backup
        | Kind::Restore
        | Kind::Shred => RetentionClass::Administration,
    }
}

impl ReadEntry {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "index": self.index, "at_s": self.at_s, "kind": self.kind, "policy_version": self.policy_version,
            "entry": self.entry, "payload": self.payload, "shredded": self.payload.is_none(),
        })
    }
}
