//! The files of a log: durable appends, recovery, publication (L5, K2, K34).
//!
//! ```text
//! <folder>/lock                   held while the log is open: one writer
//!          key                    the verifier key, `name+hash+base64`
//!          commits/<first>.log    entries and commit frames, not yet covered by full tiles
//!          tile/..., checkpoint   what is published (C2SP tlog-tiles)
//! ```
//! An append returns when its batch is on disk. Callers that come while a batch is being written share the next one.
//! After a failed write or sync the log takes no more entries, since nobody knows what the disk holds; the next start
//! decides that from the disk.
//!
//! Everything here blocks: call it from a thread that may.

mod commits;
mod copy;
mod disk;
mod published;
pub(crate) mod subject_keys;
mod tiles;
pub(crate) mod verify;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use gateway_ledger::limits::{ENTRY_BYTES_MAX, TILE_WIDTH};
use gateway_ledger::tile::{decode_bundle, decode_hashes};
use gateway_ledger::{
    CheckpointSigner, Frontier, Hash, InclusionProof, SignedCheckpoint, TilePath, leaf_hash,
};

use commits::Commits;
use published::Published;
use tiles::Tiles;

const LOCK: &str = "lock";
const KEY: &str = "key";
const WIDTH: u64 = TILE_WIDTH as u64;

/// Entries kept in memory until they are published: bounds memory when nobody publishes.
const UNPUBLISHED_ENTRIES_MAX: usize = 65_536;
/// Bytes of one batch: bounds memory and the time that callers wait for one sync.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why a log could not be opened, written or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    /// Another process has it open.
    #[error("another process writes the log `{}`; end it, or send the command through its admin socket", .0.display())]
    Locked(PathBuf),
    /// What was committed is not what is on disk.
    #[error("the log `{}` is damaged: {fault}; keep a copy for evidence, run `sealgate verify` on it, and restore the folder from a backup", .folder.display())]
    Damaged {
        /// The log.
        folder: PathBuf,
        /// What is wrong.
        fault: String,
    },
    /// The folder belongs to another log.
    #[error("the log `{}` was written under the key `{found}`; start with that key, or restore the folder from a backup", .folder.display())]
    OtherKey {
        /// The log.
        folder: PathBuf,
        /// The verifier key found there.
        found: String,
    },
    /// An earlier write failed.
    #[error("the log takes no more entries since a write failed ({0}); check the disk and start again")]
    Poisoned(String),
    /// An entry that the log does not take.
    #[error("the entry of {0} bytes is larger than the {ENTRY_BYTES_MAX} bytes that a log takes")]
    EntryTooLarge(usize),
    /// A range that the log does not reach.
    #[error("the log has {size} entries and no entry {index}")]
    NoSuchEntry {
        /// Asked for.
        index: u64,
        /// Entries there are.
        size: u64,
    },
    /// A file could not be read or written.
    #[error("`{}`: {error}", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// What opening a log found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovery {
    /// Bytes of an append that a crash cut off; they were never acknowledged, and are gone.
    pub(crate) truncated_bytes: u64,
}

/// A log on disk, open for writing.
pub(crate) struct LedgerFiles {
    folder: PathBuf,
    waiting: Mutex<VecDeque<Waiting>>,
    commits: Mutex<Commits>,
    committed: RwLock<Committed>,
    published: Mutex<Published>,
    // Held until the log is closed.
    _lock: File,
}

/// Where a caller's indices, or why there are none, are put.
type Outcome = Mutex<Option<Result<Range<u64>, String>>>;

/// A place in line for a commit. Entries in line are committed with the next ones even if nobody waits for them.
#[must_use = "entries count once `LedgerFiles::committed` returns"]
pub(crate) struct Queued(Arc<Outcome>);

/// A batch that waits for its commit.
struct Waiting {
    entries: Vec<(Hash, Vec<u8>)>,
    outcome: Arc<Outcome>,
}

/// What is committed, with the entries that are in no full published bundle.
struct Committed {
    edge: Frontier,
    // INVARIANT: where full published bundles end, and tail_start + tail.len() == edge.size(). Moves only while
    // `LedgerFiles::published` is locked.
    tail_start: u64,
    tail: VecDeque<Arc<[u8]>>,
}

impl LedgerFiles {
    /// Opens the log in a folder, or begins one there. The log's origin is the signer's name.
    ///
    /// An append that a crash cut off is taken away, which [`Recovery`] says. Damage to what was committed is refused.
    pub(crate) fn open(folder: &Path, signer: CheckpointSigner) -> Result<(Self, Recovery), LedgerError> {
        disk::ensure_folder(folder)?;
        let lock = disk::lock(&folder.join(LOCK))?.ok_or_else(|| LedgerError::Locked(folder.to_owned()))?;
        settle_key(folder, &signer.key().to_string())?;
        let (commits, recovered) = Commits::open(folder)?;
        let edge = recovered.edge.clone();
        let (published, tail_start) = Published::open(folder, signer, &recovered)?;
        let skipped = usize::try_from(tail_start.saturating_sub(recovered.start)).unwrap_or(usize::MAX);
        let tail = recovered.entries.into_iter().skip(skipped).collect();
        let recovery = Recovery {
            truncated_bytes: recovered.truncated_bytes,
        };
        let log = Self {
            folder: folder.to_owned(),
            waiting: Mutex::default(),
            commits: Mutex::new(commits),
            committed: RwLock::new(Committed {
                edge,
                tail_start,
                tail,
            }),
            published: Mutex::new(published),
            _lock: lock,
        };
        log.publish()?;
        Ok((log, recovery))
    }

    /// Appends entries, in order and next to each other: their indices, once they are on disk.
    pub(crate) fn append(&self, entries: Vec<Vec<u8>>) -> Result<Range<u64>, LedgerError> {
        self.committed(self.enqueue(entries)?)
    }

    /// Takes a place in line. Entries are committed in the order of these calls, so whoever numbers them needs to hold
    /// a lock of its own over this call only, and many callers can still share one sync.
    pub(crate) fn enqueue(&self, entries: Vec<Vec<u8>>) -> Result<Queued, LedgerError> {
        if let Some(entry) = entries.iter().find(|entry| entry.len() > ENTRY_BYTES_MAX) {
            return Err(LedgerError::EntryTooLarge(entry.len()));
        }
        let hash = |entry: Vec<u8>| (leaf_hash(&entry), entry);
        let entries = entries.into_iter().map(hash).collect();
        let queued = Queued(Arc::default());
        lock(&self.waiting).push_back(Waiting {
            entries,
            outcome: Arc::clone(&queued.0),
        });
        Ok(queued)
    }

    /// Waits until queued entries are on disk: their indices.
    pub(crate) fn committed(&self, queued: Queued) -> Result<Range<u64>, LedgerError> {
        let range = self.await_commit(&queued.0).map_err(LedgerError::Poisoned)?;
        if self.read_committed(|committed| committed.tail.len()) > UNPUBLISHED_ENTRIES_MAX {
            self.publish()?;
        }
        Ok(range)
    }

    /// Makes everything that is committed public: entry bundles, tiles, and a signed checkpoint over them.
    pub(crate) fn publish(&self) -> Result<(), LedgerError> {
        self.publish_with(&mut lock(&self.published))
    }

    /// Where the log stands: its size and root.
    pub(crate) fn edge(&self) -> Frontier {
        self.read_committed(|committed| committed.edge.clone())
    }

    /// The signed checkpoint of an edge that the log had, and the inclusion proofs of entries in it. Publishes, and
    /// keeps other publications waiting meanwhile, so that the tiles stay.
    pub(crate) fn prove(
        &self,
        edge: &Frontier,
        indices: &[u64],
    ) -> Result<(SignedCheckpoint, Vec<InclusionProof>), LedgerError> {
        let mut published = lock(&self.published);
        self.publish_with(&mut published)?;
        let mut tiles = Tiles::new(&self.folder, edge.size(), published.size());
        let proofs = indices
            .iter()
            .map(|index| tiles.prove(*index))
            .collect::<Result<_, _>>()?;
        Ok((published.signer().sign(edge.size(), edge.root()), proofs))
    }

    /// Copies the log into a folder that does not exist, as it stands at one moment: where it stood. Full tiles never
    /// change and are copied first; appends wait only while the rest is.
    pub(crate) fn copy_to(&self, to: &Path) -> Result<Frontier, LedgerError> {
        disk::ensure_folder(to)?;
        copy::full_tiles(&self.folder, to)?;
        let mut published = lock(&self.published);
        self.publish_with(&mut published)?;
        let commits = lock(&self.commits);
        copy::the_rest(&self.folder, to)?;
        Ok(commits.edge().clone())
    }

    /// The published checkpoint over everything that is committed.
    pub(crate) fn signed_checkpoint(&self) -> Result<SignedCheckpoint, LedgerError> {
        let edge = self.edge();
        Ok(self.prove(&edge, &[])?.0)
    }

    fn publish_with(&self, published: &mut Published) -> Result<(), LedgerError> {
        let (edge, tail) = self.read_committed(|committed| {
            (
                committed.edge.clone(),
                committed.tail.iter().cloned().collect::<Vec<_>>(),
            )
        });
        let full_to = published.publish(&self.folder, &edge, &tail)?;
        self.forget_before(full_to);
        lock(&self.commits).drop_covered(full_to)
    }

    /// Committed entries, published or not. The caller bounds the range.
    pub(crate) fn entries(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, LedgerError> {
        let size = self.size();
        if range.end > size {
            return Err(LedgerError::NoSuchEntry {
                index: range.end.saturating_sub(1),
                size,
            });
        }
        let mut entries = Vec::new();
        let mut next = range.start;
        while next < range.end {
            let some = match self.entries_in_memory(next..range.end) {
                Some(entries) => entries,
                None => self.entries_of_bundle(next, range.end)?,
            };
            next = next.saturating_add(some.len() as u64);
            entries.extend(some);
        }
        Ok(entries)
    }

    /// A published file: `checkpoint`, `key`, or a path of C2SP tlog-tiles. `None` for anything else, and for what is
    /// not there.
    pub(crate) fn read_file(&self, path: &str) -> Result<Option<Vec<u8>>, LedgerError> {
        read_published(&self.folder, path)
    }

    /// Committed entries, published or not.
    pub(crate) fn size(&self) -> u64 {
        self.read_committed(|committed| committed.edge.size())
    }

    /// Whoever gets hold of the commit log writes for all who wait, so one sync serves many callers.
    fn await_commit(&self, outcome: &Outcome) -> Result<Range<u64>, String> {
        let mut commits = lock(&self.commits);
        loop {
            if let Some(outcome) = lock(outcome).take() {
                return outcome;
            }
            self.commit_waiting(&mut commits);
        }
    }

    fn commit_waiting(&self, commits: &mut Commits) {
        let batch = take_batch(&mut lock(&self.waiting));
        let entries: Vec<_> = batch
            .iter()
            .flat_map(|waiting| &waiting.entries)
            .map(|(leaf, entry)| (entry.as_slice(), *leaf))
            .collect();
        let before = commits.edge().size();
        let written = commits.append(&entries);
        if written.is_ok() {
            let mut committed = self.committed.write().unwrap_or_else(PoisonError::into_inner);
            committed.edge = commits.edge().clone();
            committed
                .tail
                .extend(entries.into_iter().map(|(entry, _)| Arc::from(entry)));
        }
        let mut next = before;
        for waiting in batch {
            let first = next;
            next = next.saturating_add(waiting.entries.len() as u64);
            *lock(&waiting.outcome) = Some(written.clone().map(|()| first..next));
        }
    }

    fn entries_in_memory(&self, range: Range<u64>) -> Option<Vec<Vec<u8>>> {
        self.read_committed(|committed| {
            let skipped = usize::try_from(range.start.checked_sub(committed.tail_start)?).ok()?;
            let count = usize::try_from(range.end.saturating_sub(range.start)).ok()?;
            Some(
                committed
                    .tail
                    .iter()
                    .skip(skipped)
                    .take(count)
                    .map(|entry| entry.to_vec())
                    .collect(),
            )
        })
    }

    /// The entries from `first` to the end of its bundle, or to `end`.
    fn entries_of_bundle(&self, first: u64, end: u64) -> Result<Vec<Vec<u8>>, LedgerError> {
        let (index, width) = (first / WIDTH, 256);
        let path = TilePath::Entries { index, width };
        let hashes_path = TilePath::Hashes {
            level: 0,
            index,
            width,
        };
        let damaged = |fault| LedgerError::Damaged {
            folder: self.folder.clone(),
            fault,
        };
        let read = |path: &TilePath| {
            let bytes = self.read_file(&path.to_string())?;
            bytes.ok_or_else(|| damaged(format!("`{path}` is missing")))
        };
        let (bytes, hashes) = (read(&path)?, read(&hashes_path)?);
        let entries = decode_bundle(&bytes, width)
            .ok_or_else(|| damaged(format!("`{path}` is not an entry bundle")))?;
        // What is not hashed where it is read could have been changed on the disk.
        if decode_hashes(&hashes) != Some(entries.iter().map(|entry| leaf_hash(entry)).collect()) {
            return Err(damaged(format!("`{path}` and `{hashes_path}` do not agree")));
        }
        let skipped = usize::try_from(first % WIDTH).unwrap_or(0);
        let count = usize::try_from(end.saturating_sub(first)).unwrap_or(usize::MAX);
        Ok(entries
            .into_iter()
            .skip(skipped)
            .take(count)
            .map(<[u8]>::to_vec)
            .collect())
    }

    /// Entries in full published bundles need no memory.
    fn forget_before(&self, index: u64) {
        let mut committed = self.committed.write().unwrap_or_else(PoisonError::into_inner);
        let count = usize::try_from(index.saturating_sub(committed.tail_start))
            .unwrap_or(0)
            .min(committed.tail.len());
        committed.tail.drain(..count);
        committed.tail_start = committed.tail_start.saturating_add(count as u64);
    }

    fn read_committed<T>(&self, read: impl FnOnce(&Committed) -> T) -> T {
        read(&self.committed.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The first batches in line, up to the size of a commit; at least one.
fn take_batch(waiting: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    let (mut batch, mut bytes) = (Vec::new(), 0_usize);
    while let Some(next) = waiting.pop_front() {
        bytes = next
            .entries
            .iter()
            .map(|(_, entry)| entry.len())
            .fold(bytes, usize::saturating_add);
        batch.push(next);
        if bytes >= BATCH_BYTES_MAX {
            break;
        }
    }
    batch
}

/// Writes the verifier key of a log that begins, or checks that the log is of this key.
fn settle_key(folder: &Path, vkey: &str) -> Result<(), LedgerError> {
    let path = folder.join(KEY);
    match disk::read_if_exists(&path)? {
        None => disk::write_atomically(&path, format!("{vkey}\n").as_bytes()),
        Some(found) if found.trim_ascii() == vkey.as_bytes() => Ok(()),
        Some(found) => {
            let found = String::from_utf8_lossy(found.trim_ascii()).into_owned();
            Err(LedgerError::OtherKey {
                folder: folder.to_owned(),
                found,
            })
        }
    }
}

fn read_published(folder: &Path, path: &str) -> Result<Option<Vec<u8>>, LedgerError> {
    let known = path == gateway_ledger::CHECKPOINT_PATH || path == KEY || path.parse::<TilePath>().is_ok();
    if known {
        disk::read_if_exists(&folder.join(path))
    } else {
        Ok(None)
    }
}

/// A panic while a lock was held ends the process' request, not the log: every change under these locks is whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(crate) use commits::tests::BreakAt;

#[cfg(test)]
impl LedgerFiles {
    /// What fails from here on is the disk.
    pub(crate) fn break_disk(&self, at: BreakAt) {
        lock(&self.commits).break_disk(at);
    }
}

#[cfg(test)]
mod tests;
