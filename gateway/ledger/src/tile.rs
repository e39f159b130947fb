//! C2SP tlog-tiles: where hashes and entries of a log lie, and in what form. Height 8, lengths of 16 bits.
//!
//! A log of size 0 has no tiles.

use std::fmt;
use std::str::FromStr;

use crate::frontier::tile_root;
use crate::hash::Hash;
use crate::limits::{ENTRY_BYTES_MAX, TILE_PATH_BYTES_MAX, TILE_WIDTH};

/// Digits of an index come in groups of three.
const GROUP: u64 = 1_000;

/// Which file of a published log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TilePath {
    /// A tile of hashes, `tile/<level>/<index>[.p/<width>]`.
    Hashes {
        /// 0 for leaf hashes.
        level: u8,
        /// Place in the level.
        index: u64,
        /// Hashes in it, 1 to 256.
        width: u16,
    },
    /// A bundle of entries, `tile/entries/<index>[.p/<width>]`.
    Entries {
        /// Place among the bundles.
        index: u64,
        /// Entries in it, 1 to 256.
        width: u16,
    },
}

/// A path that is none of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the path of a tile or an entry bundle (C2SP tlog-tiles)")]
pub struct InvalidTilePath;

impl TilePath {
    /// The tile of hashes at this place in a log of `size` entries, if the log reaches so far.
    #[must_use]
    pub fn hashes(level: u8, index: u64, size: u64) -> Option<Self> {
        Some(Self::Hashes {
            level,
            index,
            width: width(level, index, size)?,
        })
    }

    /// The entry bundle at this place in a log of `size` entries, if the log reaches so far.
    #[must_use]
    pub fn entries(index: u64, size: u64) -> Option<Self> {
        Some(Self::Entries {
            index,
            width: width(0, index, size)?,
        })
    }

    /// Hashes or entries in it.
    #[must_use]
    pub fn width(&self) -> u16 {
        match self {
            Self::Hashes { width, .. } | Self::Entries { width, .. } => *width,
        }
    }

    /// Whether it can still grow.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        usize::from(self.width()) < TILE_WIDTH
    }

    /// The same place with another width.
    #[must_use]
    pub fn with_width(self, width: u16) -> Self {
        match self {
            Self::Hashes { level, index, .. } => Self::Hashes { level, index, width },
            Self::Entries { index, .. } => Self::Entries { index, width },
        }
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (index, width) = match self {
            Self::Hashes { level, index, width } => {
                write!(f, "tile/{level}/")?;
                (*index, *width)
            }
            Self::Entries { index, width } => {
                f.write_str("tile/entries/")?;
                (*index, *width)
            }
        };
        let groups = index.checked_ilog(GROUP).unwrap_or(0);
        for group in (1..=groups).rev() {
            write!(f, "x{:03}/", index / GROUP.pow(group) % GROUP)?;
        }
        write!(f, "{:03}", index % GROUP)?;
        if usize::from(width) < TILE_WIDTH {
            write!(f, ".p/{width}")
        } else {
            Ok(())
        }
    }
}

impl FromStr for TilePath {
    type Err = InvalidTilePath;

    /// Reads the canonical form only: what is read prints as it was.
    fn from_str(text: &str) -> Result<Self, InvalidTilePath> {
        if text.len() > TILE_PATH_BYTES_MAX {
            return Err(InvalidTilePath);
        }
        parse(text)
            .filter(|path| path.to_string() == text)
            .ok_or(InvalidTilePath)
    }
}

fn parse(text: &str) -> Option<TilePath> {
    let (kind, place) = text.strip_prefix("tile/")?.split_once('/')?;
    let (index, width) = match place.split_once(".p/") {
        Some((index, width)) => (
            index,
            width.parse().ok().filter(|width| (1..256).contains(width))?,
        ),
        None => (place, 256_u16),
    };
    let index = index.split('/').try_fold(0_u64, |index, group| {
        let group: u64 = group.strip_prefix('x').unwrap_or(group).parse().ok()?;
        index.checked_mul(GROUP)?.checked_add(group)
    })?;
    match kind {
        "entries" => Some(TilePath::Entries { index, width }),
        level => {
            let level = level.parse().ok().filter(|level| *level < 64)?;
            Some(TilePath::Hashes { level, index, width })
        }
    }
}

/// Hashes of a tile in a log of `size` entries; none if the log does not reach it.
fn width(level: u8, index: u64, size: u64) -> Option<u16> {
    let hashes = size.checked_shr(8 * u32::from(level)).unwrap_or(0);
    let before = index.checked_mul(TILE_WIDTH as u64)?;
    let width = hashes.checked_sub(before)?.min(TILE_WIDTH as u64);
    u16::try_from(width).ok().filter(|width| *width > 0)
}

/// The bytes of a tile of hashes.
#[must_use]
pub fn encode_hashes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// Reads a tile of hashes; `None` if the bytes do not end with a hash.
#[must_use]
pub fn decode_hashes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<{ Hash::LEN }>();
    rest.is_empty()
        .then(|| hashes.iter().map(|hash| Hash::from_bytes(*hash)).collect())
}

/// An entry that is too long for a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the entry of {bytes} bytes is larger than the {ENTRY_BYTES_MAX} bytes that a log takes")]
pub struct EntryTooLarge {
    /// Its length.
    pub bytes: usize,
}

/// Appends an entry to the bytes of a bundle.
///
/// # Errors
/// If it is larger than a length of 16 bits.
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), EntryTooLarge> {
    let length = u16::try_from(entry.len()).map_err(|_| EntryTooLarge { bytes: entry.len() })?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// Takes one entry off the beginning of a bundle's bytes; `None` if they end before it does.
#[must_use]
pub fn split_entry(bundle: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bundle.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// Reads a whole bundle of `width` entries; `None` if it holds fewer, or anything behind them.
#[must_use]
pub fn decode_bundle(mut bundle: &[u8], width: u16) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::with_capacity(usize::from(width));
    for _ in 0..width {
        let (entry, rest) = split_entry(bundle)?;
        entries.push(entry);
        bundle = rest;
    }
    bundle.is_empty().then_some(entries)
}

/// The root of the perfect subtree `(level, index)`, read from the tiles of a log of `size` entries: what
/// [`crate::InclusionProof::prove`] and [`crate::ConsistencyProof::prove`] ask for. `read` is given a path.
///
/// # Errors
/// What `read` answers; `None` inside if the log does not reach the subtree or the tile is too short.
pub fn node<E>(
    size: u64,
    level: u8,
    index: u64,
    mut read: impl FnMut(&str) -> Result<Vec<u8>, E>,
) -> Result<Option<Hash>, E> {
    let (tile_level, height) = (level / 8, level % 8);
    let Some(first) = index.checked_shl(u32::from(height)) else {
        return Ok(None);
    };
    let Some(path) = TilePath::hashes(tile_level, first / TILE_WIDTH as u64, size) else {
        return Ok(None);
    };
    let bytes = read(&path.to_string())?;
    let hashes = decode_hashes(&bytes).unwrap_or_default();
    let start = usize::try_from(first % TILE_WIDTH as u64).unwrap_or(TILE_WIDTH);
    Ok(hashes.get(start..start + (1 << height)).map(tile_root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let hashes = |level, index, width| TilePath::Hashes { level, index, width }.to_string();
        assert_eq!(hashes(0, 0, 256), "tile/0/000");
        assert_eq!(hashes(3, 1_234_067, 256), "tile/3/x001/x234/067");
        assert_eq!(hashes(3, 1_234_067, 1), "tile/3/x001/x234/067.p/1");
        assert_eq!(
            TilePath::Entries {
                index: 1_000,
                width: 255
            }
            .to_string(),
            "tile/entries/x001/000.p/255"
        );
    }

    #[test]
    fn paths_agree_with_a_stranger() {
        for index in [0, 1, 999, 1_000, 999_999, 1_000_000, 123_456_789_012] {
            for width in [1_u16, 200, 256] {
                let theirs = tlog_tiles::Tile::new(8, 2, index, width.into(), false).path();
                let ours = TilePath::Hashes {
                    level: 2,
                    index,
                    width,
                }
                .to_string();
                assert_eq!(theirs.strip_prefix("tile/8/"), ours.strip_prefix("tile/"));
                assert_eq!(
                    ours.parse(),
                    Ok(TilePath::Hashes {
                        level: 2,
                        index,
                        width
                    })
                );
            }
        }
    }

    #[test]
    fn other_paths_are_refused() {
        for path in [
            "",
            "tile",
            "tile/0",
            "tile/0/0",
            "tile/0/0000",
            "tile/0/x000/000",
            "tile/00/000",
            "tile/64/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/../000",
            "tile/0/000/",
            "tile/data/000",
            "tile/0/+01",
            "tile/entries/001/000",
            "/tile/0/000",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert_eq!(path.parse::<TilePath>(), Err(InvalidTilePath), "{path}");
        }
    }

    #[test]
    fn widths_follow_the_size() {
        assert_eq!(TilePath::entries(0, 0), None);
        assert_eq!(TilePath::entries(0, 256).map(|path| path.width()), Some(256));
        assert_eq!(TilePath::entries(1, 256), None);
        assert_eq!(TilePath::hashes(1, 0, 255), None);
        assert_eq!(TilePath::hashes(1, 0, 70_000).map(|path| path.width()), Some(256));
        assert_eq!(TilePath::hashes(1, 1, 70_000).map(|path| path.width()), Some(17));
    }

    #[test]
    fn bundle_reads_back_and_nothing_may_follow() {
        let mut bundle = Vec::new();
        for entry in [b"".as_slice(), b"one", &[7; ENTRY_BYTES_MAX]] {
            push_entry(&mut bundle, entry).unwrap();
        }
        assert_eq!(decode_bundle(&bundle, 3).unwrap()[1], b"one");
        assert_eq!(decode_bundle(&bundle, 2), None);
        assert_eq!(decode_bundle(&bundle[..bundle.len() - 1], 3), None);
        assert_eq!(
            push_entry(&mut bundle, &[0; 65_536]),
            Err(EntryTooLarge { bytes: 65_536 })
        );
    }
}
