//! The right edge of a tree: enough to append and to know the root, in two forms.

use crate::hash::{Hash, empty_root, join_peaks, node_hash};
use crate::limits::{LOG_SIZE_MAX, TILE_WIDTH};

/// A compact range from the first entry: the roots of the perfect trees that make up the log, at most 63 hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    // INVARIANT: one hash per set bit of `size`, highest bit first.
    peaks: Vec<Hash>,
}

/// Bytes that are not a frontier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are not the edge of a log; read the log again from its first entry")]
pub struct InvalidFrontier;

impl Frontier {
    /// The edge of a log without entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends an entry by its leaf hash.
    pub fn append(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.peaks.push(hash);
        self.size = self.size.saturating_add(1);
    }

    /// The root of the log; [`empty_root`] without entries.
    #[must_use]
    pub fn root(&self) -> Hash {
        join_peaks(self.peaks.iter()).unwrap_or_else(empty_root)
    }

    /// Entries so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Size (8 bytes, big-endian), then the hashes, left to right.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.size.to_be_bytes().to_vec();
        bytes.extend(self.peaks.iter().flat_map(|peak| peak.as_bytes()));
        bytes
    }

    /// Reads [`Frontier::to_bytes`].
    ///
    /// # Errors
    /// If the number of hashes is not that of the size.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidFrontier> {
        let (size, rest) = bytes.split_first_chunk::<8>().ok_or(InvalidFrontier)?;
        let size = u64::from_be_bytes(*size);
        let (hashes, remainder) = rest.as_chunks::<{ Hash::LEN }>();
        let fits = remainder.is_empty() && hashes.len() == size.count_ones() as usize && size <= LOG_SIZE_MAX;
        if !fits {
            return Err(InvalidFrontier);
        }
        Ok(Self {
            size,
            peaks: hashes.iter().map(|bytes| Hash::from_bytes(*bytes)).collect(),
        })
    }
}

/// The unfinished tile of every level: what a publisher writes as partial tiles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TileEdge {
    size: u64,
    // INVARIANT: level L holds (size >> 8 L) & 255 hashes.
    levels: Vec<Vec<Hash>>,
}

/// A tile that became full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullTile {
    /// Level: 0 holds leaf hashes, each further one the roots of 256 tiles below.
    pub level: u8,
    /// Place in the level.
    pub index: u64,
    /// Its 256 hashes.
    pub hashes: Vec<Hash>,
    /// Their root, which stands in the level above.
    pub root: Hash,
}

impl TileEdge {
    /// The edge of a log without entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the unfinished tiles of a log of `size` entries, level by level.
    ///
    /// # Errors
    /// If a level does not hold as many hashes as the size demands. That the hashes are right is for the caller
    /// to check: [`TileEdge::root`] against a checkpoint.
    pub fn from_levels(size: u64, levels: Vec<Vec<Hash>>) -> Result<Self, InvalidFrontier> {
        let edge = Self { size, levels };
        let right = (0..8_u8).all(|level| edge.partial(level).len() == partial_width(level, size))
            && edge.levels.len() <= 8
            && size <= LOG_SIZE_MAX;
        if right { Ok(edge) } else { Err(InvalidFrontier) }
    }

    /// Appends an entry by its leaf hash: the tiles that this fills, lowest first.
    pub fn append(&mut self, leaf: Hash) -> Vec<FullTile> {
        let mut filled = Vec::new();
        let mut hash = leaf;
        self.size = self.size.saturating_add(1);
        for level in 0_u8.. {
            let tile = self.level(level);
            tile.push(hash);
            if tile.len() < TILE_WIDTH {
                break;
            }
            let hashes = std::mem::take(tile);
            hash = tile_root(&hashes);
            let index = (self.size >> (8 * (u32::from(level) + 1))).saturating_sub(1);
            filled.push(FullTile {
                level,
                index,
                hashes,
                root: hash,
            });
        }
        filled
    }

    /// The hashes of the unfinished tile of a level; none if there is no such tile.
    #[must_use]
    pub fn partial(&self, level: u8) -> &[Hash] {
        self.levels.get(usize::from(level)).map_or(&[], Vec::as_slice)
    }

    /// Entries so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root of the log; [`empty_root`] without entries.
    #[must_use]
    pub fn root(&self) -> Hash {
        let peaks: Vec<Hash> = self
            .levels
            .iter()
            .rev()
            .flat_map(|tile| tile_peaks(tile))
            .collect();
        join_peaks(peaks.iter()).unwrap_or_else(empty_root)
    }

    fn level(&mut self, level: u8) -> &mut Vec<Hash> {
        let level = usize::from(level);
        if self.levels.len() <= level {
            self.levels.resize_with(level + 1, Vec::new);
        }
        // INVARIANT: resized above, so the last resort never applies.
        #[expect(clippy::indexing_slicing, reason = "INVARIANT: the line above made the level")]
        &mut self.levels[level]
    }
}

/// Hashes of the unfinished tile of a level in a log of `size` entries.
pub(crate) fn partial_width(level: u8, size: u64) -> usize {
    let hashes = size.checked_shr(8 * u32::from(level)).unwrap_or(0);
    usize::try_from(hashes % TILE_WIDTH as u64).unwrap_or(0)
}

/// The root of a full tile's hashes.
pub(crate) fn tile_root(hashes: &[Hash]) -> Hash {
    join_peaks(tile_peaks(hashes).iter()).unwrap_or_else(empty_root)
}

/// The roots of the perfect trees over a tile's hashes, largest first.
fn tile_peaks(hashes: &[Hash]) -> Vec<Hash> {
    let mut range = Frontier::new();
    for hash in hashes {
        range.append(*hash);
    }
    range.peaks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hash::leaf_hash;

    /// Leaves and roots of certificate-transparency's reference tree (`merkle_tree_test.cc`, `testonly`).
    pub(crate) const LEAVES: [&str; 8] = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    #[test]
    fn published_roots_are_met_at_every_size() {
        let (mut frontier, mut edge) = (Frontier::new(), TileEdge::new());
        for (leaf, root) in LEAVES.iter().zip(ROOTS) {
            let leaf = leaf_hash(&hex::decode(leaf).unwrap());
            frontier.append(leaf);
            edge.append(leaf);
            assert_eq!(format!("{:?}", frontier.root()), root);
            assert_eq!(edge.root(), frontier.root());
        }
    }

    #[test]
    fn frontier_with_a_hash_too_few_is_refused() {
        let mut frontier = Frontier::new();
        for entry in 0..7_u8 {
            frontier.append(leaf_hash(&[entry]));
        }
        let bytes = frontier.to_bytes();
        assert_eq!(Frontier::from_bytes(&bytes), Ok(frontier));
        assert_eq!(
            Frontier::from_bytes(&bytes[..bytes.len() - 32]),
            Err(InvalidFrontier)
        );
        assert_eq!(
            Frontier::from_bytes(&bytes[..bytes.len() - 1]),
            Err(InvalidFrontier)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn both_forms_agree_and_tiles_fill_in_order(size in 0_u64..70_000) {
            let (mut frontier, mut edge) = (Frontier::new(), TileEdge::new());
            let mut filled = [0_u64; 3];
            for index in 0..size {
                let leaf = leaf_hash(&index.to_be_bytes());
                frontier.append(leaf);
                for tile in edge.append(leaf) {
                    let count = &mut filled[usize::from(tile.level)];
                    prop_assert_eq!(tile.index, *count);
                    *count += 1;
                }
            }
            prop_assert_eq!(edge.root(), frontier.root());
            prop_assert_eq!(filled, [size >> 8, size >> 16, size >> 24]);
            prop_assert_eq!(TileEdge::from_levels(size, (0..8).map(|l| edge.partial(l).to_vec()).collect()).unwrap().root(), frontier.root());
        }
    }
}
