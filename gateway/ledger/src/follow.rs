//! Following a log (K4): from one checkpoint to a later one, taking its entries, never back and never to a fork.

use std::fmt;

use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::frontier::Frontier;
use crate::hash::leaf_hash;
use crate::limits::TILE_WIDTH;
use crate::note::CheckpointKey;
use crate::tile::{TilePath, decode_bundle};

/// Follows one log: remembers its edge and demands that each further checkpoint continues it.
#[derive(Clone, Debug)]
pub struct LogVerifier {
    key: CheckpointKey,
    frontier: Frontier,
}

/// What a log gained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advance {
    /// Index of the first entry.
    pub from: u64,
    /// The entries.
    pub entries: Vec<Vec<u8>>,
}

/// Why a checkpoint was not followed. The verifier stays where it was.
#[derive(Debug, thiserror::Error)]
pub enum AdvanceFault<E: fmt::Display> {
    /// The checkpoint itself.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The log is smaller than it was.
    #[error(
        "the log has {now} entries and had {before}; entries were taken away, keep both checkpoints as evidence"
    )]
    Smaller {
        /// Entries known.
        before: u64,
        /// Entries of the checkpoint.
        now: u64,
    },
    /// The entries do not continue what is known to what was signed.
    #[error(
        "the log of {size} entries does not continue the one known here; keep both checkpoints as evidence of a fork"
    )]
    Forked {
        /// Size of the checkpoint.
        size: u64,
    },
    /// An entry bundle that is not one.
    #[error("`{0}` is not an entry bundle of its width")]
    Bundle(String),
    /// A file that could not be read.
    #[error("`{path}` cannot be read: {error}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        error: E,
    },
}

impl LogVerifier {
    /// Begins before the first entry.
    #[must_use]
    pub fn new(key: CheckpointKey) -> Self {
        Self::resume(key, Frontier::new())
    }

    /// Goes on where an earlier verifier stood.
    #[must_use]
    pub fn resume(key: CheckpointKey, frontier: Frontier) -> Self {
        Self { key, frontier }
    }

    /// Where it stands: persist [`Frontier::to_bytes`].
    #[must_use]
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// The log's key.
    #[must_use]
    pub fn key(&self) -> &CheckpointKey {
        &self.key
    }

    /// Goes to a checkpoint. `read` is given paths of entry bundles (C2SP tlog-tiles). The entries returned are
    /// exactly those that lead from the known edge to the signed root, so consistency needs no other proof.
    ///
    /// # Errors
    /// If the checkpoint is not signed, smaller, or forked, or a bundle cannot be read. Nothing changes then.
    pub fn advance<E: fmt::Display>(
        &mut self,
        note: &str,
        mut read: impl FnMut(&str) -> Result<Vec<u8>, E>,
    ) -> Result<Advance, AdvanceFault<E>> {
        let signed = SignedCheckpoint::open(note, &self.key)?;
        let (from, size) = (self.frontier.size(), signed.checkpoint().size);
        if size < from {
            return Err(AdvanceFault::Smaller {
                before: from,
                now: size,
            });
        }
        let (mut frontier, mut entries) = (self.frontier.clone(), Vec::new());
        while frontier.size() < size {
            for entry in next_entries(frontier.size(), size, &mut read)? {
                frontier.append(leaf_hash(&entry));
                entries.push(entry);
            }
        }
        if frontier.root() != signed.checkpoint().root {
            return Err(AdvanceFault::Forked { size });
        }
        self.frontier = frontier;
        Ok(Advance { from, entries })
    }
}

/// The entries from `at` to the end of its bundle.
fn next_entries<E: fmt::Display>(
    at: u64,
    size: u64,
    read: &mut impl FnMut(&str) -> Result<Vec<u8>, E>,
) -> Result<Vec<Vec<u8>>, AdvanceFault<E>> {
    let width = TILE_WIDTH as u64;
    let Some(path) = TilePath::entries(at / width, size) else {
        return Err(AdvanceFault::Forked { size });
    };
    let name = path.to_string();
    let bytes = read(&name).map_err(|error| AdvanceFault::Read {
        path: name.clone(),
        error,
    })?;
    let entries = decode_bundle(&bytes, path.width()).ok_or(AdvanceFault::Bundle(name))?;
    let known = usize::try_from(at % width).unwrap_or(0);
    Ok(entries.into_iter().skip(known).map(<[u8]>::to_vec).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_log::TestLog;

    #[test]
    fn log_is_followed_from_size_to_size() {
        let log = TestLog::of(700);
        let mut verifier = LogVerifier::new(log.key());
        for size in [0, 1, 1, 255, 256, 257, 700] {
            let from = verifier.frontier().size();
            let published = TestLog::of(size);
            let advance = verifier
                .advance(&published.checkpoint(), |path| published.read(path))
                .unwrap();
            assert_eq!((advance.from, advance.entries.len() as u64), (from, size - from));
            verifier = LogVerifier::resume(
                log.key(),
                Frontier::from_bytes(&verifier.frontier().to_bytes()).unwrap(),
            );
        }
    }

    /// K4, L3
    #[test]
    fn smaller_and_forked_logs_are_refused() {
        let log = TestLog::of(300);
        let mut verifier = LogVerifier::new(log.key());
        verifier
            .advance(&log.checkpoint(), |path| log.read(path))
            .unwrap();
        let before = verifier.frontier().clone();

        let smaller = TestLog::of(299);
        let fault = verifier
            .advance(&smaller.checkpoint(), |path| smaller.read(path))
            .unwrap_err();
        assert!(matches!(
            fault,
            AdvanceFault::Smaller {
                before: 300,
                now: 299
            }
        ));

        for size in [300, 301] {
            let forked = TestLog::with(size, |index| {
                if index == 5 {
                    b"other".to_vec()
                } else {
                    TestLog::entry(index)
                }
            });
            let fault = verifier
                .advance(&forked.checkpoint(), |path| forked.read(path))
                .unwrap_err();
            assert!(matches!(fault, AdvanceFault::Forked { .. }));
        }
        assert_eq!(*verifier.frontier(), before);
    }
}
