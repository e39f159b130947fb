//! The offline verifier (L8): reads everything, hashes everything again, and names the first entry that is wrong.
//!
//! Entries are hashed in order and compared, as they come, with the stored tile of leaf hashes; tiles that fill up with
//! the level above; the last root with the signed checkpoint. Where two files disagree, whichever the levels above
//! vouch for is right, and the other one is named.

use std::collections::BTreeMap;
use std::fmt;

use crate::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::frontier::{FullTile, TileEdge, partial_width, tile_root};
use crate::hash::{Hash, leaf_hash};
use crate::limits::{TILE_LEVELS, TILE_WIDTH};
use crate::note::CheckpointKey;
use crate::tile::{TilePath, decode_hashes, split_entry};

/// The file that holds the signed checkpoint.
pub const CHECKPOINT_PATH: &str = "checkpoint";

const WIDTH: u64 = TILE_WIDTH as u64;

/// A log in which everything holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedLog {
    /// Its checkpoint.
    pub checkpoint: Checkpoint,
}

/// The first thing that is wrong. `Display` is a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct FirstFault {
    /// The first entry that is wrong or cannot be vouched for; none if it is the checkpoint that fails.
    pub entry: Option<u64>,
    /// The last entry that this fault concerns; the first one, unless whole tiles are concerned.
    pub last: Option<u64>,
    /// The file that is wrong, as a path below the log's folder.
    pub file: String,
    /// In what way.
    pub kind: FaultKind,
}

/// In what way a log is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A file is missing or cannot be read.
    Unreadable(String),
    /// The checkpoint does not verify.
    Checkpoint(String),
    /// An entry is not the one that was logged.
    EntryChanged,
    /// An entry bundle ends too early.
    EntryMissing,
    /// Bytes behind the last entry or hash of a file.
    TrailingBytes,
    /// A stored hash is not that of what stands below it.
    HashChanged,
    /// Entries were changed together with their hashes.
    Rewritten,
    /// Entries and hashes agree with each other and not with the signed root.
    OtherRoot,
}

impl fmt::Display for FirstFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.entry, self.last) {
            (Some(first), Some(last)) if first != last => write!(f, "entries {first} to {last}: ")?,
            (Some(first), _) => write!(f, "entry {first}: ")?,
            (None, _) => {}
        }
        let file = &self.file;
        match &self.kind {
            FaultKind::Unreadable(error) => write!(f, "`{file}` cannot be read: {error}"),
            FaultKind::Checkpoint(error) => write!(f, "`{file}` does not verify: {error}"),
            FaultKind::EntryChanged => write!(f, "`{file}` does not hold the entry that was logged"),
            FaultKind::EntryMissing => write!(f, "`{file}` ends before this entry does"),
            FaultKind::TrailingBytes => write!(f, "`{file}` goes on where it should end"),
            FaultKind::HashChanged => write!(f, "`{file}` does not hold the hash of what was logged"),
            FaultKind::Rewritten => {
                write!(
                    f,
                    "changed together with their hashes in `{file}`; the hashes above do not vouch for them"
                )
            }
            FaultKind::OtherRoot => {
                write!(
                    f,
                    "what was logged and its hashes agree, but not with the root signed in `{file}`; one of the two was replaced"
                )
            }
        }
    }
}

/// Verifies a published log. `read` is given a path below the log's folder.
///
/// # Errors
/// The first fault.
pub fn verify_log<E: fmt::Display>(
    read: impl FnMut(&str) -> Result<Vec<u8>, E>,
    key: &CheckpointKey,
) -> Result<VerifiedLog, FirstFault> {
    verify_log_entries(read, key, |_, _| {})
}

/// The same, and hands over each entry with its index once its hash was found right. That the log as a whole holds is
/// known only when this returns.
///
/// # Errors
/// The first fault.
pub fn verify_log_entries<E: fmt::Display>(
    mut read: impl FnMut(&str) -> Result<Vec<u8>, E>,
    key: &CheckpointKey,
    mut on_entry: impl FnMut(u64, &[u8]),
) -> Result<VerifiedLog, FirstFault> {
    let checkpoint = open_checkpoint(&mut read, key)?;
    let mut verifier = Verifier {
        size: checkpoint.size,
        edge: TileEdge::new(),
        edge_vouched: false,
        tiles_by_level: BTreeMap::new(),
        read: |path: &str| read(path).map_err(|error| error.to_string()),
    };
    verifier.edge_vouched = verifier.stored_edge_root() == Some(checkpoint.root);
    for index in 0..checkpoint.size.div_ceil(WIDTH) {
        verifier.check_bundle(index, &mut on_entry)?;
    }
    if verifier.edge.root() != checkpoint.root {
        let (entry, last) = (Some(0), checkpoint.size.checked_sub(1));
        return Err(FirstFault {
            entry,
            last,
            file: CHECKPOINT_PATH.to_owned(),
            kind: FaultKind::OtherRoot,
        });
    }
    Ok(VerifiedLog { checkpoint })
}

fn open_checkpoint<E: fmt::Display>(
    read: &mut impl FnMut(&str) -> Result<Vec<u8>, E>,
    key: &CheckpointKey,
) -> Result<Checkpoint, FirstFault> {
    let fault = |kind| FirstFault {
        entry: None,
        last: None,
        file: CHECKPOINT_PATH.to_owned(),
        kind,
    };
    let bytes = read(CHECKPOINT_PATH).map_err(|error| fault(FaultKind::Unreadable(error.to_string())))?;
    let note =
        String::from_utf8(bytes).map_err(|_| fault(FaultKind::Checkpoint("it is not text".to_owned())))?;
    let signed = SignedCheckpoint::open(&note, key)
        .map_err(|error| fault(FaultKind::Checkpoint(error.to_string())))?;
    Ok(signed.checkpoint().clone())
}

/// A place in the tiles: which hash of which tile.
#[derive(Clone, Copy)]
struct Place {
    level: u8,
    tile: u64,
    position: u64,
}

struct Verifier<R> {
    size: u64,
    read: R,
    edge: TileEdge,
    // Whether the stored unfinished tiles lead to the signed root.
    edge_vouched: bool,
    // The tile read last on each level, by its index: entries come in order, so one is enough.
    tiles_by_level: BTreeMap<u8, (u64, Vec<u8>)>,
}

impl<R: FnMut(&str) -> Result<Vec<u8>, String>> Verifier<R> {
    fn check_bundle(&mut self, index: u64, on_entry: &mut impl FnMut(u64, &[u8])) -> Result<(), FirstFault> {
        let first = Place {
            level: 0,
            tile: index,
            position: 0,
        };
        let Some(path) = TilePath::entries(index, self.size) else {
            return Ok(());
        };
        let file = path.to_string();
        let bytes =
            (self.read)(&file).map_err(|error| fault(first, file.clone(), FaultKind::Unreadable(error)))?;
        let mut rest = bytes.as_slice();
        for position in 0..u64::from(path.width()) {
            let place = Place { position, ..first };
            let Some((entry, behind)) = split_entry(rest) else {
                return Err(fault(place, file, FaultKind::EntryMissing));
            };
            let leaf = leaf_hash(entry);
            self.compare(place, &leaf)?;
            on_entry(index * WIDTH + position, entry);
            for FullTile {
                level, index, root, ..
            } in self.edge.append(leaf)
            {
                self.compare(
                    Place {
                        level: level + 1,
                        tile: index / WIDTH,
                        position: index % WIDTH,
                    },
                    &root,
                )?;
            }
            rest = behind;
        }
        if rest.is_empty() {
            return Ok(());
        }
        let last = Place {
            position: u64::from(path.width()) - 1,
            ..first
        };
        Err(fault(last, file, FaultKind::TrailingBytes))
    }

    /// Compares a computed hash with the stored one, and looks behind the last one of a tile.
    fn compare(&mut self, place: Place, computed: &Hash) -> Result<(), FirstFault> {
        let Some(path) = TilePath::hashes(place.level, place.tile, self.size) else {
            return Ok(());
        };
        let bytes = self
            .tile(place.level, place.tile)
            .map_err(|error| fault(place, path.to_string(), FaultKind::Unreadable(error)))?;
        if hash_at(bytes, place.position).as_ref() != Some(computed) {
            return Err(self.blame(place, path));
        }
        let is_last = place.position + 1 == u64::from(path.width());
        if is_last && bytes.len() != usize::from(path.width()) * Hash::LEN {
            return Err(fault(place, path.to_string(), FaultKind::TrailingBytes));
        }
        Ok(())
    }

    /// Which of two files that disagree is wrong.
    fn blame(&mut self, place: Place, path: TilePath) -> FirstFault {
        if !self.vouched(place.level, place.tile, path) {
            return fault(place, path.to_string(), FaultKind::HashChanged);
        }
        match place.level.checked_sub(1) {
            None => {
                let bundle = TilePath::Entries {
                    index: place.tile,
                    width: path.width(),
                };
                fault(place, bundle.to_string(), FaultKind::EntryChanged)
            }
            Some(level) => {
                let below = TilePath::hashes(level, place.tile * WIDTH + place.position, self.size);
                fault(place, below.unwrap_or(path).to_string(), FaultKind::Rewritten)
            }
        }
    }

    /// Whether the levels above vouch for a stored tile.
    fn vouched(&mut self, level: u8, tile: u64, path: TilePath) -> bool {
        if path.is_partial() {
            return self.edge_vouched;
        }
        let root = self
            .tile(level, tile)
            .ok()
            .and_then(decode_hashes)
            .map(|hashes| tile_root(&hashes));
        let above = self
            .tile(level + 1, tile / WIDTH)
            .ok()
            .and_then(|bytes| hash_at(bytes, tile % WIDTH));
        root.is_some() && root == above
    }

    /// The root to which the stored unfinished tiles lead.
    fn stored_edge_root(&mut self) -> Option<Hash> {
        let size = self.size;
        let levels = (0..TILE_LEVELS).map(|level| {
            let tile = size.checked_shr(8 * (u32::from(level) + 1)).unwrap_or(0);
            match partial_width(level, size) {
                0 => Some(Vec::new()),
                _ => self.tile(level, tile).ok().and_then(decode_hashes),
            }
        });
        let levels = levels.collect::<Option<Vec<_>>>()?;
        TileEdge::from_levels(size, levels).ok().map(|edge| edge.root())
    }

    fn tile(&mut self, level: u8, index: u64) -> Result<&[u8], String> {
        let known = self
            .tiles_by_level
            .get(&level)
            .is_some_and(|(tile, _)| *tile == index);
        if !known {
            let path = TilePath::hashes(level, index, self.size).ok_or("there is no such tile")?;
            let bytes = (self.read)(&path.to_string())?;
            self.tiles_by_level.insert(level, (index, bytes));
        }
        self.tiles_by_level
            .get(&level)
            .map(|(_, bytes)| bytes.as_slice())
            .ok_or_else(|| "there is no such tile".to_owned())
    }
}

fn hash_at(tile: &[u8], position: u64) -> Option<Hash> {
    let start = usize::try_from(position).ok()?.checked_mul(Hash::LEN)?;
    Hash::from_slice(tile.get(start..start + Hash::LEN)?)
}

/// A fault of the entries that stand below a place.
fn fault(place: Place, file: String, kind: FaultKind) -> FirstFault {
    let below = 8 * u32::from(place.level);
    let first = (place.tile * WIDTH + place.position) << below;
    FirstFault {
        entry: Some(first),
        last: Some(first + ((1 << below) - 1)),
        file,
        kind,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::test_log::TestLog;

    fn verify(log: &TestLog) -> Result<VerifiedLog, FirstFault> {
        verify_log(|path| log.read(path), &log.key())
    }

    #[test]
    fn whole_logs_verify_at_every_size() {
        for size in [0, 1, 2, 255, 256, 257, 511, 512, 65_536, 65_793] {
            assert_eq!(verify(&TestLog::of(size)).unwrap().checkpoint.size, size);
        }
    }

    #[test]
    fn every_entry_is_handed_over_in_order() {
        let (log, mut next) = (TestLog::of(300), 0);
        verify_log_entries(
            |path| log.read(path),
            &log.key(),
            |index, entry| {
                assert_eq!((index, entry.to_vec()), (next, TestLog::entry(index)));
                next += 1;
            },
        )
        .unwrap();
        assert_eq!(next, 300);
    }

    /// L8
    #[test]
    fn changed_entry_is_named_with_its_bundle() {
        for (size, index) in [(20, 17), (256, 17), (300, 17), (300, 299), (700, 511)] {
            let mut log = TestLog::of(size);
            let file = log.bundle_of(index);
            log.flip_entry(index);
            let fault = verify(&log).unwrap_err();
            assert_eq!(
                (fault.entry, &fault.file, &fault.kind),
                (Some(index), &file, &FaultKind::EntryChanged)
            );
            assert_eq!(
                fault.to_string(),
                format!("entry {index}: `{file}` does not hold the entry that was logged")
            );
        }
    }

    #[test]
    fn changed_hash_is_named_with_its_tile() {
        let mut log = TestLog::of(70_000);
        log.flip("tile/1/000", 32 * 5 + 1);
        let fault = verify(&log).unwrap_err();
        insta::assert_snapshot!(fault.to_string(), @"entries 1280 to 1535: `tile/1/000` does not hold the hash of what was logged");
    }

    #[test]
    fn entry_changed_with_its_hash_is_noticed() {
        let mut log = TestLog::of(600);
        log.flip_entry(300);
        log.rehash_tile(1);
        let fault = verify(&log).unwrap_err();
        insta::assert_snapshot!(fault.to_string(), @"entries 256 to 511: changed together with their hashes in `tile/0/001`; the hashes above do not vouch for them");
    }

    #[test]
    fn log_rewritten_whole_under_an_old_checkpoint_is_noticed() {
        let honest = TestLog::of(10);
        let mut rewritten = TestLog::with(10, |index| vec![u8::try_from(index).unwrap()]);
        rewritten.put(CHECKPOINT_PATH, honest.checkpoint().into_bytes());
        let fault = verify(&rewritten).unwrap_err();
        insta::assert_snapshot!(fault.to_string(), @"entries 0 to 9: what was logged and its hashes agree, but not with the root signed in `checkpoint`; one of the two was replaced");
    }

    #[test]
    fn missing_file_is_named() {
        let mut log = TestLog::of(300);
        log.remove("tile/entries/001.p/44");
        let fault = verify(&log).unwrap_err();
        assert_eq!(
            (fault.entry, fault.file.as_str()),
            (Some(256), "tile/entries/001.p/44")
        );
    }

    #[test]
    fn checkpoint_of_another_key_is_refused() {
        let log = TestLog::of(3);
        let other = crate::CheckpointSigner::new("acme/ledger", &[8; 32]).unwrap();
        let fault = verify_log(|path| log.read(path), other.key()).unwrap_err();
        assert_eq!((fault.entry, fault.file.as_str()), (None, CHECKPOINT_PATH));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// L8: any flipped bit, in any file, is found, and it is that file which is named.
        #[test]
        fn flipped_bit_is_named(size in 1_u64..800, file in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let mut log = TestLog::of(size);
            let file = log.files().get(file.index(log.files().len())).unwrap().clone();
            let length = log.read(&file).unwrap().len();
            let at = at.index(length);
            log.flip_bit(&file, at, bit);
            let fault = verify(&log).unwrap_err();
            prop_assert_eq!(&fault.file, &file);
            if let Some(entry) = log.entry_at(&file, at) {
                prop_assert_eq!(fault.entry, Some(entry));
            }
        }

        /// L8: a cut file is found.
        #[test]
        fn cut_file_is_named(size in 1_u64..600, file in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>()) {
            let mut log = TestLog::of(size);
            let file = log.files().get(file.index(log.files().len())).unwrap().clone();
            let mut bytes = log.read(&file).unwrap();
            bytes.truncate(cut.index(bytes.len()));
            log.put(&file, bytes);
            prop_assert_eq!(verify(&log).unwrap_err().file, file);
        }
    }
}
