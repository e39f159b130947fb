//! When a file has come to rest (O3): its size, times and inode unchanged for the quiet time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What must not change while a file rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub inode: u64,
    pub size_bytes: u64,
    pub modified_ns: i128,
    pub changed_ns: i128,
}

/// Files that were seen, with the time since which their shape is the same. Times are measured
/// from any fixed start; the caller brings the clock.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    seen: BTreeMap<PathBuf, (Shape, Duration)>,
}

impl Rest {
    /// Records what a scan found; true when the file has rested long enough.
    pub(crate) fn observe(&mut self, path: &Path, shape: Shape, now: Duration, quiet: Duration) -> bool {
        match self.seen.get(path) {
            Some((known, since)) if *known == shape => now.saturating_sub(*since) >= quiet,
            _ => {
                self.seen.insert(path.to_owned(), (shape, now));
                quiet.is_zero()
            }
        }
    }

    /// Forgets files that a scan did not find any more.
    pub(crate) fn keep_only(&mut self, present: &BTreeSet<PathBuf>) {
        self.seen.retain(|path, _| present.contains(path));
    }

    /// Whether some file still has to come to rest.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.seen.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_secs(1);

    fn shape(size_bytes: u64) -> Shape {
        Shape {
            inode: 1,
            size_bytes,
            modified_ns: 0,
            changed_ns: 0,
        }
    }

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// O3
    #[test]
    fn a_file_is_taken_only_after_it_rested() {
        let mut rest = Rest::default();
        let path = Path::new("a");
        assert!(!rest.observe(path, shape(1), at(0), QUIET));
        assert!(!rest.observe(path, shape(1), at(900), QUIET));
        assert!(rest.observe(path, shape(1), at(1_000), QUIET));
    }

    /// O3
    #[test]
    fn a_file_that_grows_starts_over() {
        let mut rest = Rest::default();
        let path = Path::new("a");
        assert!(!rest.observe(path, shape(1), at(0), QUIET));
        assert!(!rest.observe(path, shape(2), at(1_000), QUIET));
        assert!(!rest.observe(path, shape(2), at(1_500), QUIET));
        assert!(rest.observe(path, shape(2), at(2_000), QUIET));
    }

    #[test]
    fn a_file_that_went_away_is_forgotten() {
        let mut rest = Rest::default();
        rest.observe(Path::new("a"), shape(1), at(0), QUIET);
        rest.keep_only(&BTreeSet::new());
        assert!(!rest.is_waiting());
    }
}
