//! `sealgate verify PATH` (L8): a log's folder, or a copy of it, without the gateway. Reads and hashes everything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gateway_ledger::commit::{Tail, read_segment};
use gateway_ledger::tile::split_entry;
use gateway_ledger::{
    CHECKPOINT_PATH, Checkpoint, CheckpointKey, Entry, FirstFault, Frontier, Hash, TilePath, WriterCounts,
    leaf_hash, verify_log_entries,
};

use super::{KEY, WIDTH, commits};

const TILES: &str = "tile";
/// How the name of a ledger's key ends: each entry of such a log has a header, in which its writer numbers it (L6).
const LEDGER: &str = "/ledger";

/// A log in which everything holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VerifyReport {
    /// Entries that its checkpoint signs.
    pub(crate) size: u64,
    /// Their root.
    pub(crate) root: Hash,
}

/// The first thing that is wrong, in a sentence that begins with `entry N: ` where an entry can be named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub(crate) struct VerifyFault {
    /// The first entry that is wrong.
    pub(crate) entry: Option<u64>,
    /// What is wrong.
    pub(crate) sentence: String,
}

impl VerifyFault {
    fn of(sentence: impl Into<String>) -> Self {
        Self {
            entry: None,
            sentence: sentence.into(),
        }
    }

    fn entry(entry: u64, sentence: impl AsRef<str>) -> Self {
        Self {
            entry: Some(entry),
            sentence: format!("entry {entry}: {}", sentence.as_ref()),
        }
    }
}

impl From<FirstFault> for VerifyFault {
    fn from(fault: FirstFault) -> Self {
        Self {
            entry: fault.entry,
            sentence: fault.to_string(),
        }
    }
}

/// Verifies a log's folder against a verifier key; without one, against the file `key` in the folder, which proves
/// less: whoever replaced the log may have replaced its key.
///
/// A checkpoint that was pinned elsewhere must be one that this log went through. In a ledger each writer's numbers must
/// follow each other (L6).
pub(crate) fn verify_folder(
    folder: &Path,
    vkey: Option<&str>,
    pinned: Option<&Checkpoint>,
) -> Result<VerifyReport, VerifyFault> {
    let key = match vkey {
        Some(vkey) => vkey.to_owned(),
        None => String::from_utf8(read(folder, KEY)?)
            .map_err(|_| VerifyFault::of(format!("`{KEY}` is not text")))?,
    };
    let key = CheckpointKey::parse(&key).map_err(|error| VerifyFault::of(error.to_string()))?;
    // Read first: a gateway that is running goes on committing and publishing.
    let note = std::fs::read(folder.join(CHECKPOINT_PATH));
    let committed = CommittedHere::read(folder)?;
    let mut comparison = Comparison {
        committed: &committed,
        frontier: Frontier::new(),
        pinned,
        counts: key.name().ends_with(LEDGER).then(WriterCounts::default),
        fault: None,
    };
    let files = |path: &str| match (path, &note) {
        (CHECKPOINT_PATH, Ok(note)) => Ok(note.clone()),
        _ => std::fs::read(folder.join(path)).map_err(|error| error.kind().to_string()),
    };
    let log = verify_log_entries(files, &key, |index, entry| comparison.take(index, entry))?;
    if let Some(fault) = comparison.fault {
        return Err(fault);
    }
    let checkpoint = log.checkpoint;
    if let Some(pinned) = pinned {
        check_pinned_size(&checkpoint, pinned)?;
    }
    committed.check_reaches(checkpoint.size)?;
    check_left_over(folder, checkpoint.size)?;
    Ok(VerifyReport {
        size: checkpoint.size,
        root: checkpoint.root,
    })
}

/// What the commit log of the folder holds. An exported log has none.
#[derive(Default)]
struct CommittedHere {
    start: Option<Frontier>,
    leaves_by_index: BTreeMap<u64, Hash>,
    end: u64,
}

impl CommittedHere {
    fn read(folder: &Path) -> Result<Self, VerifyFault> {
        let mut here = Self::default();
        let commits = folder.join(commits::FOLDER);
        if !commits.is_dir() {
            return Ok(here);
        }
        let segments = commits::segments(&commits).map_err(|error| VerifyFault::of(error.to_string()))?;
        let mut edge: Option<Frontier> = None;
        for first in segments {
            let path = commits::path(&commits, first);
            let name = format!(
                "{}/{}",
                commits::FOLDER,
                path.file_name().unwrap_or_default().display()
            );
            let bytes = read(folder, &name)?;
            let segment = read_segment(&bytes)
                .map_err(|error| VerifyFault::entry(first, format!("`{name}`: {error}")))?;
            if segment.start.size() != first || edge.is_some_and(|edge| edge != segment.start) {
                return Err(VerifyFault::entry(
                    first,
                    format!("`{name}` does not continue the segment before it"),
                ));
            }
            if let Tail::Damaged { entry, offset } = segment.tail {
                let sentence = format!("`{name}` is not as it was committed, from byte {offset}");
                return Err(VerifyFault::entry(entry, sentence));
            }
            here.start.get_or_insert_with(|| segment.start.clone());
            here.leaves_by_index.extend((first..).zip(segment.leaves));
            here.end = segment.committed.size();
            edge = Some(segment.committed);
        }
        Ok(here)
    }

    /// A commit log may not end before what is published.
    fn check_reaches(&self, published: u64) -> Result<(), VerifyFault> {
        if self.start.is_some() && self.end < published {
            return Err(VerifyFault::entry(
                self.end,
                format!("`{}` ends before it", commits::FOLDER),
            ));
        }
        Ok(())
    }
}

/// Holds the published entries against the committed ones, and their writers' numbers against each other.
struct Comparison<'a> {
    committed: &'a CommittedHere,
    frontier: Frontier,
    pinned: Option<&'a Checkpoint>,
    // Of a ledger.
    counts: Option<WriterCounts>,
    fault: Option<VerifyFault>,
}

/// What to do with a log that is not the one that was pinned.
const KEEP_BOTH: &str = "the log was rewritten or replaced, or put back from an old backup. Keep this log and the pin, \
                         both are evidence, and ask the gateway's operator; agents hold checkpoints too";

/// Whether a log of this checkpoint can be one that went through the pinned one, as far as sizes and equal sizes tell.
///
/// # Errors
/// It is smaller, or of the same size and another.
pub(crate) fn check_pinned_size(checkpoint: &Checkpoint, pinned: &Checkpoint) -> Result<(), VerifyFault> {
    if checkpoint.size < pinned.size {
        return Err(VerifyFault::of(format!(
            "it has {} entries and had {} when it was pinned: {KEEP_BOTH}",
            checkpoint.size, pinned.size
        )));
    }
    if checkpoint.size == pinned.size && checkpoint.root != pinned.root {
        return Err(forked(pinned));
    }
    Ok(())
}

fn forked(pinned: &Checkpoint) -> VerifyFault {
    VerifyFault::of(format!(
        "it does not begin with the {} entries that were pinned: {KEEP_BOTH}",
        pinned.size
    ))
}

impl Comparison<'_> {
    fn take(&mut self, index: u64, entry: &[u8]) {
        let leaf = leaf_hash(entry);
        let begins_elsewhere = self
            .committed
            .start
            .as_ref()
            .is_some_and(|start| start.size() == index && *start != self.frontier);
        let is_other = self
            .committed
            .leaves_by_index
            .get(&index)
            .is_some_and(|committed| *committed != leaf);
        if self.fault.is_none() && (begins_elsewhere || is_other) {
            let sentence = format!("`{}` and the published entries do not agree", commits::FOLDER);
            self.fault = Some(VerifyFault::entry(index, sentence));
        }
        self.frontier.append(leaf);
        let reached = self.pinned.filter(|pinned| pinned.size == self.frontier.size());
        if let Some(pinned) = reached.filter(|pinned| pinned.root != self.frontier.root()) {
            self.fault.get_or_insert_with(|| forked(pinned));
        }
        if let Some(Err(sentence)) = self.counts.as_mut().map(|counts| count(counts, index, entry)) {
            self.fault
                .get_or_insert_with(|| VerifyFault::entry(index, sentence));
        }
    }
}

fn count(counts: &mut WriterCounts, index: u64, entry: &[u8]) -> Result<(), String> {
    let Entry { header, .. } = Entry::decode(entry).map_err(|error| error.to_string())?;
    counts
        .take(index, &header.writer_id, header.writer_seq)
        .map_err(|gap| gap.to_string())
}

/// Partial files of earlier checkpoints must be the beginnings of those that followed them.
fn check_left_over(folder: &Path, size: u64) -> Result<(), VerifyFault> {
    let mut left_over = Vec::new();
    list_files(&folder.join(TILES), &mut left_over)
        .map_err(|error| VerifyFault::of(format!("`{TILES}`: {error}")))?;
    let mut paths: Vec<TilePath> = left_over
        .iter()
        .filter_map(|path| path.strip_prefix(folder).ok()?.to_str()?.parse().ok())
        .collect();
    paths.sort_unstable();
    for path in paths {
        let followed_by = match path {
            TilePath::Hashes { level, index, .. } => TilePath::hashes(level, index, size),
            TilePath::Entries { index, .. } => TilePath::entries(index, size),
        };
        // Wider than the checkpoint says: written for one that was never signed.
        if let Some(followed_by) = followed_by.filter(|followed_by| followed_by.width() > path.width()) {
            check_beginning(
                path,
                &read(folder, &path.to_string())?,
                &read(folder, &followed_by.to_string())?,
            )?;
        }
    }
    Ok(())
}

fn check_beginning(path: TilePath, bytes: &[u8], followed_by: &[u8]) -> Result<(), VerifyFault> {
    let (mut here, mut there) = (bytes, followed_by);
    let mut entry = 0;
    for position in 0..u64::from(path.width()) {
        let (one, other);
        (entry, one, other) = match path {
            TilePath::Hashes { level, index, .. } => {
                let first = (index * WIDTH + position) << (8 * u32::from(level));
                (
                    first,
                    here.split_at_checked(Hash::LEN),
                    there.split_at_checked(Hash::LEN),
                )
            }
            TilePath::Entries { index, .. } => {
                (index * WIDTH + position, split_entry(here), split_entry(there))
            }
        };
        match (one, other) {
            (Some((one, here_behind)), Some((other, there_behind))) if one == other => {
                (here, there) = (here_behind, there_behind);
            }
            _ => {
                return Err(VerifyFault::entry(
                    entry,
                    format!("`{path}` does not hold what was logged"),
                ));
            }
        }
    }
    if here.is_empty() {
        Ok(())
    } else {
        Err(VerifyFault::entry(
            entry,
            format!("`{path}` goes on where it should end"),
        ))
    }
}

fn list_files(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list_files(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn read(folder: &Path, path: &str) -> Result<Vec<u8>, VerifyFault> {
    std::fs::read(folder.join(path)).map_err(|error| {
        let hint = if folder.join(CHECKPOINT_PATH).exists() {
            ""
        } else {
            "; is this the folder of a log?"
        };
        VerifyFault::of(format!("`{path}` cannot be read: {}{hint}", error.kind()))
    })
}
