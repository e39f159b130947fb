//! Inclusion and consistency proofs: RFC 6962 section 2.1, verified as in RFC 9162 sections 2.1.3.2 and 2.1.4.2.
//!
//! Both are made from a reader of perfect subtrees, `node(level, index)`: the root of the entries from
//! `index << level` to `(index + 1) << level`. [`crate::tile::node`] reads one from tiles.
//!
//! Conventions for a log of size 0: its root is [`crate::empty_root`]; nothing is included in it; every log is
//! consistent with it, by an empty proof.

use crate::hash::{Hash, empty_root, join_peaks, node_hash};

/// That an entry is in a log: the hashes beside its way to the root, from the leaf up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InclusionProof {
    /// The entry's index.
    pub index: u64,
    /// Size of the log.
    pub size: u64,
    /// Sibling hashes.
    pub hashes: Vec<Hash>,
}

/// That a log of `old_size` is the beginning of one of `new_size`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsistencyProof {
    /// Size of the earlier log.
    pub old_size: u64,
    /// Size of the later log.
    pub new_size: u64,
    /// Hashes, from the deepest up.
    pub hashes: Vec<Hash>,
}

/// Why no proof was made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProveError<E> {
    /// There is no such entry or no such earlier log.
    #[error("the log of {size} entries has no proof for {wanted}")]
    OutOfRange {
        /// Index or earlier size asked for.
        wanted: u64,
        /// Size of the log.
        size: u64,
    },
    /// A subtree could not be read.
    #[error(transparent)]
    Read(E),
}

/// A proof that does not hold.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProofFault {
    /// The entry is not in the log of that root.
    #[error("the proof does not lead to the log's root; the entry is not in this log")]
    NotIncluded,
    /// The later log does not begin with the earlier one.
    #[error("the later log does not begin with the earlier one; keep both checkpoints as evidence of a fork")]
    NotConsistent,
}

impl InclusionProof {
    /// Makes the proof of entry `index` in the log of `size` entries.
    ///
    /// # Errors
    /// If there is no such entry, or a subtree cannot be read.
    pub fn prove<E>(
        index: u64,
        size: u64,
        mut node: impl FnMut(u8, u64) -> Result<Hash, E>,
    ) -> Result<Self, ProveError<E>> {
        if index >= size {
            return Err(ProveError::OutOfRange { wanted: index, size });
        }
        let (mut low, mut high, mut hashes) = (0, size, Vec::new());
        while high - low > 1 {
            let middle = low + split(high - low);
            if index < middle {
                hashes.push(range_root(middle, high, &mut node)?);
                high = middle;
            } else {
                hashes.push(range_root(low, middle, &mut node)?);
                low = middle;
            }
        }
        hashes.reverse();
        Ok(Self { index, size, hashes })
    }

    /// Verifies that the entry with this leaf hash is in the log with this root.
    ///
    /// # Errors
    /// If it does not follow.
    pub fn verify(&self, leaf: &Hash, root: &Hash) -> Result<(), ProofFault> {
        if self.computed_root(leaf).as_ref() == Some(root) {
            Ok(())
        } else {
            Err(ProofFault::NotIncluded)
        }
    }

    fn computed_root(&self, leaf: &Hash) -> Option<Hash> {
        if self.index >= self.size {
            return None;
        }
        let (mut place, mut last, mut hash) = (self.index, self.size - 1, *leaf);
        for sibling in &self.hashes {
            if last == 0 {
                return None;
            }
            if place & 1 == 1 || place == last {
                hash = node_hash(sibling, &hash);
                climb_right_edge(&mut place, &mut last);
            } else {
                hash = node_hash(&hash, sibling);
            }
            (place, last) = (place >> 1, last >> 1);
        }
        (last == 0).then_some(hash)
    }
}

impl ConsistencyProof {
    /// Makes the proof from the log of `old_size` to that of `new_size`.
    ///
    /// # Errors
    /// If the earlier log is larger, or a subtree cannot be read.
    pub fn prove<E>(
        old_size: u64,
        new_size: u64,
        mut node: impl FnMut(u8, u64) -> Result<Hash, E>,
    ) -> Result<Self, ProveError<E>> {
        if old_size > new_size {
            return Err(ProveError::OutOfRange {
                wanted: old_size,
                size: new_size,
            });
        }
        let (mut low, mut high, mut hashes) = (0, new_size, Vec::new());
        while old_size > 0 && old_size != high {
            let middle = low + split(high - low);
            if old_size <= middle {
                hashes.push(range_root(middle, high, &mut node)?);
                high = middle;
            } else {
                hashes.push(range_root(low, middle, &mut node)?);
                low = middle;
            }
        }
        if low > 0 {
            hashes.push(range_root(low, high, &mut node)?);
        }
        hashes.reverse();
        Ok(Self {
            old_size,
            new_size,
            hashes,
        })
    }

    /// Verifies that the log with `new_root` begins with the one with `old_root`.
    ///
    /// # Errors
    /// If it does not follow.
    pub fn verify(&self, old_root: &Hash, new_root: &Hash) -> Result<(), ProofFault> {
        let holds = match self.old_size {
            0 => self.hashes.is_empty() && *old_root == empty_root(),
            old if old == self.new_size => self.hashes.is_empty() && old_root == new_root,
            old if old > self.new_size => false,
            _ => self.computed_roots(old_root) == Some((*old_root, *new_root)),
        };
        if holds {
            Ok(())
        } else {
            Err(ProofFault::NotConsistent)
        }
    }

    fn computed_roots(&self, old_root: &Hash) -> Option<(Hash, Hash)> {
        let whole = self.old_size.is_power_of_two().then_some(old_root);
        let mut path = whole.into_iter().chain(&self.hashes);
        if self.hashes.is_empty() {
            return None;
        }
        let ones = (self.old_size - 1).trailing_ones();
        let (mut place, mut last) = ((self.old_size - 1) >> ones, (self.new_size - 1) >> ones);
        let first = path.next()?;
        let (mut old, mut new) = (*first, *first);
        for hash in path {
            if last == 0 {
                return None;
            }
            if place & 1 == 1 || place == last {
                old = node_hash(hash, &old);
                new = node_hash(hash, &new);
                climb_right_edge(&mut place, &mut last);
            } else {
                new = node_hash(&new, hash);
            }
            (place, last) = (place >> 1, last >> 1);
        }
        (last == 0).then_some((old, new))
    }
}

/// Skips levels on which the node at the right edge has no sibling.
fn climb_right_edge(place: &mut u64, last: &mut u64) {
    while *place != 0 && *place & 1 == 0 {
        *place >>= 1;
        *last >>= 1;
    }
}

/// The largest power of two below `n`, for `n` of at least 2.
fn split(n: u64) -> u64 {
    1 << (n.saturating_sub(1).checked_ilog2().unwrap_or(0))
}

/// The root of the entries from `low` to `high`, where `low` is a multiple of the range's largest perfect tree.
fn range_root<E>(
    low: u64,
    high: u64,
    node: &mut impl FnMut(u8, u64) -> Result<Hash, E>,
) -> Result<Hash, ProveError<E>> {
    let (mut at, mut peaks) = (low, Vec::new());
    for level in (0..u8::try_from(u64::BITS).unwrap_or(0)).rev() {
        if (high - low) >> level & 1 == 1 {
            peaks.push(node(level, at >> level).map_err(ProveError::Read)?);
            at += 1 << level;
        }
    }
    Ok(join_peaks(peaks.iter()).unwrap_or_else(empty_root))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::frontier::Frontier;
    use crate::hash::leaf_hash;

    fn leaf(index: u64) -> Hash {
        leaf_hash(&index.to_be_bytes())
    }

    fn node(level: u8, index: u64) -> Result<Hash, Infallible> {
        let range = (index << level)..((index + 1) << level);
        Ok(root(range))
    }

    fn root(range: std::ops::Range<u64>) -> Hash {
        let mut frontier = Frontier::new();
        range.for_each(|index| frontier.append(leaf(index)));
        frontier.root()
    }

    #[test]
    fn every_small_proof_holds_and_no_other_does() {
        for size in 1..40 {
            for index in 0..size {
                let proof = InclusionProof::prove(index, size, node).unwrap();
                assert_eq!(proof.verify(&leaf(index), &root(0..size)), Ok(()));
                assert_eq!(
                    proof.verify(&leaf(index + 1), &root(0..size)),
                    Err(ProofFault::NotIncluded)
                );
                let longer = InclusionProof {
                    hashes: [proof.hashes.clone(), vec![leaf(0)]].concat(),
                    ..proof
                };
                assert_eq!(
                    longer.verify(&leaf(index), &root(0..size)),
                    Err(ProofFault::NotIncluded)
                );
            }
            for old in 0..=size {
                let proof = ConsistencyProof::prove(old, size, node).unwrap();
                assert_eq!(
                    proof.verify(&root(0..old), &root(0..size)),
                    Ok(()),
                    "{old} to {size}"
                );
                assert_eq!(
                    proof.verify(&leaf(99), &root(0..size)),
                    Err(ProofFault::NotConsistent)
                );
            }
        }
    }

    #[test]
    fn proofs_beyond_the_log_are_not_made() {
        assert_eq!(
            InclusionProof::prove(0, 0, node),
            Err(ProveError::OutOfRange { wanted: 0, size: 0 })
        );
        assert_eq!(
            ConsistencyProof::prove(5, 4, node),
            Err(ProveError::OutOfRange { wanted: 5, size: 4 })
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_stranger_accepts_our_proofs(size in 1_u64..2_000, pick in any::<prop::sample::Index>()) {
            let index = pick.index(usize::try_from(size).unwrap()) as u64;
            let theirs = |hash: &Hash| tlog_tiles::Hash(*hash.as_bytes());
            let proof = InclusionProof::prove(index, size, node).unwrap();
            prop_assert_eq!(proof.verify(&leaf(index), &root(0..size)), Ok(()));
            let hashes: Vec<_> = proof.hashes.iter().map(theirs).collect();
            prop_assert!(tlog_tiles::check_record(&hashes, size, theirs(&root(0..size)), index, theirs(&leaf(index))).is_ok());

            let old = index + 1;
            let proof = ConsistencyProof::prove(old, size, node).unwrap();
            prop_assert_eq!(proof.verify(&root(0..old), &root(0..size)), Ok(()));
            let hashes: Vec<_> = proof.hashes.iter().map(theirs).collect();
            prop_assert!(tlog_tiles::check_tree(&hashes, size, theirs(&root(0..size)), old, theirs(&root(0..old))).is_ok());
        }
    }
}
