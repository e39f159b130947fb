//! The commit log on disk: segments, one sync per batch, recovery to the last whole commit (L5).

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gateway_ledger::commit::{Segment, Tail, put_commit, put_entry, read_segment, start_frame};
use gateway_ledger::{CHECKPOINT_PATH, Frontier, Hash};

use super::{LedgerError, disk};

pub(super) const FOLDER: &str = "commits";
const SUFFIX: &str = ".log";
/// A segment ends here: small enough to be read at once at a start, large enough that few are made.
const SEGMENT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Where batches are written: a file, or a test's failing one.
trait Sink: Send {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns when everything written is on disk (`fdatasync`; `F_FULLFSYNC` on macOS).
    fn sync(&mut self) -> io::Result<()>;
}

impl Sink for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// The commit log, open for appending.
pub(super) struct Commits {
    folder: PathBuf,
    // First entries of the segments, ascending; the last one is written to.
    segments: VecDeque<u64>,
    sink: Box<dyn Sink>,
    bytes: u64,
    edge: Frontier,
    poisoned: Option<String>,
}

/// What the commit log held when it was opened.
pub(super) struct Recovered {
    /// Index of the first entry here; those before are in full tiles.
    pub(super) start: u64,
    /// The log's edge after the last whole commit.
    pub(super) edge: Frontier,
    /// The entries from `start`.
    pub(super) entries: Vec<Arc<[u8]>>,
    /// Their leaf hashes.
    pub(super) leaves: Vec<Hash>,
    /// Bytes of an append that was cut off, taken away.
    pub(super) truncated_bytes: u64,
}

impl Commits {
    /// Opens the commit log below a log's folder, or begins one.
    pub(super) fn open(log: &Path) -> Result<(Self, Recovered), LedgerError> {
        let folder = log.join(FOLDER);
        disk::ensure_folder(&folder)?;
        let mut segments = segments(&folder)?;
        if segments.is_empty() {
            if log.join(CHECKPOINT_PATH).exists() {
                return Err(damaged(log, format!("`{FOLDER}` has no segment")));
            }
            begin_segment(&folder, &Frontier::new())?;
            segments.push_back(0);
        }
        let recovered = recover(log, &folder, &segments)?;
        let active = segments.back().copied().unwrap_or(0);
        let (sink, bytes) = open_segment(&folder, active)?;
        let edge = recovered.edge.clone();
        Ok((
            Self {
                folder,
                segments,
                sink,
                bytes,
                edge,
                poisoned: None,
            },
            recovered,
        ))
    }

    /// The log's edge after the last commit.
    pub(super) fn edge(&self) -> &Frontier {
        &self.edge
    }

    /// Commits entries with their leaf hashes: on disk when this returns. After a failure nothing is taken any more.
    pub(super) fn append(&mut self, entries: &[(&[u8], Hash)]) -> Result<(), String> {
        if let Some(reason) = &self.poisoned {
            return Err(reason.clone());
        }
        if entries.is_empty() {
            return Ok(());
        }
        self.write(entries)
            .map_err(|error| self.poisoned.insert(error.to_string()).clone())
    }

    /// Removes segments whose entries all stand in full tiles before `index`.
    pub(super) fn drop_covered(&mut self, index: u64) -> Result<(), LedgerError> {
        while let (Some(first), Some(next)) = (self.segments.front(), self.segments.get(1)) {
            if *next > index {
                break;
            }
            disk::remove(&path(&self.folder, *first))?;
            self.segments.pop_front();
        }
        Ok(())
    }

    fn write(&mut self, entries: &[(&[u8], Hash)]) -> Result<(), LedgerError> {
        if self.bytes > SEGMENT_BYTES_MAX {
            self.rotate()?;
        }
        let (mut edge, mut bytes) = (self.edge.clone(), Vec::new());
        for (entry, leaf) in entries {
            put_entry(&mut bytes, entry, leaf);
            edge.append(*leaf);
        }
        put_commit(&mut bytes, &edge);
        self.sink
            .write(&bytes)
            .and_then(|()| self.sink.sync())
            .map_err(disk::io_error(&self.folder))?;
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        self.edge = edge;
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), LedgerError> {
        begin_segment(&self.folder, &self.edge)?;
        let first = self.edge.size();
        (self.sink, self.bytes) = open_segment(&self.folder, first)?;
        self.segments.push_back(first);
        Ok(())
    }
}

/// First entries of the segments in a folder, ascending.
pub(super) fn segments(folder: &Path) -> Result<VecDeque<u64>, LedgerError> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(disk::io_error(folder))? {
        let name = entry.map_err(disk::io_error(folder))?.file_name();
        segments.extend(
            name.to_str()
                .and_then(|name| name.strip_suffix(SUFFIX))
                .and_then(|first| first.parse::<u64>().ok()),
        );
    }
    segments.sort_unstable();
    Ok(segments.into())
}

/// A segment's file.
pub(super) fn path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}{SUFFIX}"))
}

/// A segment comes into being whole, with its start frame.
fn begin_segment(folder: &Path, edge: &Frontier) -> Result<(), LedgerError> {
    disk::write_atomically(&path(folder, edge.size()), &start_frame(edge))
}

fn open_segment(folder: &Path, first: u64) -> Result<(Box<dyn Sink>, u64), LedgerError> {
    let path = path(folder, first);
    let file = OpenOptions::new()
        .append(true)
        .open(&path)
        .map_err(disk::io_error(&path))?;
    let bytes = file.metadata().map_err(disk::io_error(&path))?.len();
    Ok((Box::new(file), bytes))
}

fn recover(log: &Path, folder: &Path, segments: &VecDeque<u64>) -> Result<Recovered, LedgerError> {
    let start = segments.front().copied().unwrap_or(0);
    let mut recovered = Recovered {
        start,
        edge: Frontier::new(),
        entries: Vec::new(),
        leaves: Vec::new(),
        truncated_bytes: 0,
    };
    for (number, first) in segments.iter().enumerate() {
        let path = path(folder, *first);
        let bytes = std::fs::read(&path).map_err(disk::io_error(&path))?;
        let name = format!("{FOLDER}/{first:020}{SUFFIX}");
        let segment = read_segment(&bytes).map_err(|error| damaged(log, format!("`{name}`: {error}")))?;
        let continues = number == 0 || segment.start == recovered.edge;
        if segment.start.size() != *first || !continues {
            return Err(damaged(
                log,
                format!("`{name}` does not continue the segment before it"),
            ));
        }
        let is_last = number + 1 == segments.len();
        recovered.truncated_bytes = settle_tail(log, &path, &name, &segment, is_last)?;
        recovered.entries.extend(
            segment
                .entries
                .iter()
                .filter_map(|place| bytes.get(place.clone()).map(Arc::from)),
        );
        recovered.leaves.extend(&segment.leaves);
        recovered.edge = segment.committed;
    }
    Ok(recovered)
}

/// Takes away what a crash left behind the last commit of the last segment; anything else that does not fit is damage.
fn settle_tail(
    log: &Path,
    path: &Path,
    name: &str,
    segment: &Segment,
    is_last: bool,
) -> Result<u64, LedgerError> {
    match segment.tail {
        Tail::Clean => Ok(0),
        Tail::Unfinished { bytes } if is_last => {
            truncate(path, segment.whole_bytes as u64).map_err(disk::io_error(path))?;
            Ok(bytes as u64)
        }
        Tail::Unfinished { .. } => Err(damaged(
            log,
            format!(
                "entry {}: `{name}` ends before its last commit",
                segment.committed.size()
            ),
        )),
        Tail::Damaged { entry, offset } => Err(damaged(
            log,
            format!("entry {entry}: `{name}` is not as it was committed, from byte {offset}"),
        )),
    }
}

fn truncate(path: &Path, bytes: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(bytes)?;
    file.sync_all()
}

pub(super) fn damaged(log: &Path, fault: String) -> LedgerError {
    LedgerError::Damaged {
        folder: log.to_owned(),
        fault,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Where a disk lets a commit down.
    #[derive(Clone, Copy, Debug)]
    pub(crate) enum BreakAt {
        /// It takes half of the bytes, then is full.
        Write,
        /// It takes them and cannot say that it has them.
        Sync,
    }

    struct BrokenDisk(Box<dyn Sink>, BreakAt);

    impl Sink for BrokenDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
            match self.1 {
                BreakAt::Write => {
                    self.0.write(&bytes[..bytes.len() / 2])?;
                    Err(io::ErrorKind::StorageFull.into())
                }
                BreakAt::Sync => self.0.write(bytes),
            }
        }

        fn sync(&mut self) -> io::Result<()> {
            Err(io::Error::other("input/output error"))
        }
    }

    struct NoDisk;

    impl Sink for NoDisk {
        fn write(&mut self, _: &[u8]) -> io::Result<()> {
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Commits {
        /// Everything from here on fails.
        pub(in super::super) fn break_disk(&mut self, at: BreakAt) {
            let disk = std::mem::replace(&mut self.sink, Box::new(NoDisk));
            self.sink = Box::new(BrokenDisk(disk, at));
        }

        /// The next append begins a segment.
        pub(in super::super) fn fill_segment(&mut self) {
            self.bytes = SEGMENT_BYTES_MAX + 1;
        }
    }
}
