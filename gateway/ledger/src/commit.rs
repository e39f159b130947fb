//! The commit log (L5): what makes an append durable before it is published.
//!
//! A segment is a file of frames. It begins with a start frame, which holds the log's edge at that point; then come
//! batches: entry frames and one commit frame with the size and root that they lead to. A batch counts when its commit
//! frame is whole and its root is the one that the entries give.
//!
//! ```text
//! frame  = length u32 | kind u8 | check 8 | payload          numbers big-endian
//! kind   = 0x00 entry | 0x02 commit (size u64, root 32) | 0x03 start (frontier)
//! check  = first 8 bytes of SHA-256(kind || payload); for an entry that is its leaf hash
//! ```

use std::ops::Range;

use crate::frontier::Frontier;
use crate::hash::{Hash, leaf_hash, prefixed};
use crate::limits::ENTRY_BYTES_MAX;

const ENTRY: u8 = 0x00;
const COMMIT: u8 = 0x02;
const START: u8 = 0x03;
const CHECK: usize = 8;
const HEAD: usize = 4 + 1 + CHECK;
const COMMIT_PAYLOAD: usize = 8 + Hash::LEN;

/// The first bytes of every commit frame: its length and kind.
const COMMIT_HEAD: [u8; 5] = [0, 0, 0, 40, COMMIT];

/// Begins a segment at this edge.
#[must_use]
pub fn start_frame(edge: &Frontier) -> Vec<u8> {
    let mut out = Vec::new();
    let payload = edge.to_bytes();
    put(&mut out, START, &payload, &prefixed(START, &[&payload]));
    out
}

/// Appends an entry's frame; `leaf` is its leaf hash.
pub fn put_entry(out: &mut Vec<u8>, entry: &[u8], leaf: &Hash) {
    put(out, ENTRY, entry, leaf);
}

/// Appends the commit frame that ends a batch, for the edge after it.
pub fn put_commit(out: &mut Vec<u8>, edge: &Frontier) {
    let payload = commit_payload(edge);
    put(out, COMMIT, &payload, &prefixed(COMMIT, &[&payload]));
}

/// A segment that was read to the last whole commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where the segment begins.
    pub start: Frontier,
    /// The edge after its last whole commit.
    pub committed: Frontier,
    /// Where in the file the committed entries lie, first one first.
    pub entries: Vec<Range<usize>>,
    /// Leaf hashes of the committed entries.
    pub leaves: Vec<Hash>,
    /// Bytes up to the end of the last whole commit.
    pub whole_bytes: usize,
    /// What follows them.
    pub tail: Tail,
}

/// What follows the last whole commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing.
    Clean,
    /// The beginning of a batch that was never committed: an append that a crash cut off.
    Unfinished {
        /// How much of it there is.
        bytes: usize,
    },
    /// Bytes that do not fit, with a commit behind them: what was committed has been changed.
    Damaged {
        /// The first entry that is not as it was committed.
        entry: u64,
        /// Where in the file it begins.
        offset: usize,
    },
}

/// A segment without a readable beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the segment does not begin with the edge of a log")]
pub struct InvalidSegment;

/// Reads a segment up to its last whole commit, hashing everything again.
///
/// # Errors
/// If the segment has no start frame; segments come into being with it, so this is damage.
pub fn read_segment(bytes: &[u8]) -> Result<Segment, InvalidSegment> {
    let (START, payload, begin) = frame(bytes, 0).ok_or(InvalidSegment)? else {
        return Err(InvalidSegment);
    };
    let start = bytes
        .get(payload)
        .and_then(|edge| Frontier::from_bytes(edge).ok())
        .ok_or(InvalidSegment)?;
    let mut segment = Segment {
        committed: start.clone(),
        start,
        entries: Vec::new(),
        leaves: Vec::new(),
        whole_bytes: begin,
        tail: Tail::Clean,
    };
    let stop = read_commits(bytes, &mut segment);
    segment.tail = judge_tail(bytes, &segment, stop);
    Ok(segment)
}

/// Where reading stopped: the file offset of the first frame that does not fit, and the entry that it would be.
struct Stop {
    entry: u64,
    offset: usize,
}

/// Takes whole commits into the segment.
fn read_commits(bytes: &[u8], segment: &mut Segment) -> Stop {
    let mut edge = segment.committed.clone();
    let (mut at, mut entries, mut leaves) = (segment.whole_bytes, Vec::new(), Vec::new());
    while let Some((kind, payload, end)) = frame(bytes, at) {
        let Some(content) = bytes.get(payload.clone()) else {
            break;
        };
        match kind {
            ENTRY => {
                let leaf = leaf_hash(content);
                edge.append(leaf);
                entries.push(payload);
                leaves.push(leaf);
            }
            COMMIT if content == commit_payload(&edge) => {
                segment.entries.append(&mut entries);
                segment.leaves.append(&mut leaves);
                segment.committed = edge.clone();
                segment.whole_bytes = end;
            }
            _ => break,
        }
        at = end;
    }
    Stop {
        entry: edge.size(),
        offset: at,
    }
}

/// A commit behind the place where reading stopped means that committed bytes were changed; without one, a crash
/// cut off the last append.
fn judge_tail(bytes: &[u8], segment: &Segment, stop: Stop) -> Tail {
    let rest = bytes.get(stop.offset..).unwrap_or_default();
    let commit_follows = (0..rest.len())
        .filter(|at| rest.get(*at..).is_some_and(|rest| rest.starts_with(&COMMIT_HEAD)))
        .any(|at| matches!(frame(rest, at), Some((COMMIT, _, _))));
    match bytes.len() - segment.whole_bytes {
        _ if commit_follows => Tail::Damaged {
            entry: stop.entry,
            offset: stop.offset,
        },
        0 => Tail::Clean,
        bytes => Tail::Unfinished { bytes },
    }
}

fn commit_payload(edge: &Frontier) -> [u8; COMMIT_PAYLOAD] {
    let mut payload = [0; COMMIT_PAYLOAD];
    let (size, root) = payload.split_at_mut(8);
    size.copy_from_slice(&edge.size().to_be_bytes());
    root.copy_from_slice(edge.root().as_bytes());
    payload
}

fn put(out: &mut Vec<u8>, kind: u8, payload: &[u8], check: &Hash) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.push(kind);
    out.extend(check.as_bytes().iter().take(CHECK));
    out.extend_from_slice(payload);
}

/// The whole frame at an offset: kind, place of its payload, end.
fn frame(bytes: &[u8], at: usize) -> Option<(u8, Range<usize>, usize)> {
    let head: &[u8; HEAD] = bytes.get(at..)?.first_chunk()?;
    let ([a, b, c, d], [kind, check @ ..]) = (head.first_chunk::<4>()?, head.last_chunk::<{ 1 + CHECK }>()?);
    let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).ok()?;
    if length > ENTRY_BYTES_MAX {
        return None;
    }
    let payload = at + HEAD..at + HEAD + length;
    let hash = prefixed(*kind, &[bytes.get(payload.clone())?]);
    let end = payload.end;
    hash.as_bytes()
        .starts_with(check)
        .then_some((*kind, payload, end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A segment of batches and the place where each commit ends, with the size there.
    fn segment(batches: &[u8]) -> (Vec<u8>, Vec<(usize, u64)>) {
        let mut edge = Frontier::new();
        edge.append(leaf_hash(b"before this segment"));
        let mut bytes = start_frame(&edge);
        let mut ends = vec![(bytes.len(), edge.size())];
        for (number, batch) in batches.iter().enumerate() {
            for entry in 0..*batch {
                let entry = [u8::try_from(number).unwrap(), entry].repeat(usize::from(entry));
                let leaf = leaf_hash(&entry);
                put_entry(&mut bytes, &entry, &leaf);
                edge.append(leaf);
            }
            put_commit(&mut bytes, &edge);
            ends.push((bytes.len(), edge.size()));
        }
        (bytes, ends)
    }

    #[test]
    fn whole_segment_reads_back() {
        let (bytes, ends) = segment(&[3, 1, 20]);
        let read = read_segment(&bytes).unwrap();
        assert_eq!(
            (read.start.size(), read.committed.size(), read.tail),
            (1, 25, Tail::Clean)
        );
        assert_eq!(Some(&(read.whole_bytes, 25)), ends.last());
        assert_eq!(bytes[read.entries[2].clone()], [0, 2, 0, 2]);
    }

    #[test]
    fn segment_without_its_start_is_refused() {
        let (bytes, _) = segment(&[1]);
        assert_eq!(read_segment(&bytes[1..]), Err(InvalidSegment));
        assert_eq!(read_segment(b""), Err(InvalidSegment));
    }

    #[test]
    fn zeros_after_a_crash_are_an_unfinished_append() {
        let (mut bytes, _) = segment(&[2]);
        bytes.extend([0; 4096]);
        assert_eq!(
            read_segment(&bytes).unwrap().tail,
            Tail::Unfinished { bytes: 4096 }
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// L5: cut anywhere, reading stops at the last whole commit.
        #[test]
        fn cut_segment_ends_at_its_last_whole_commit(batches in prop::collection::vec(0_u8..9, 1..9), cut in any::<prop::sample::Index>()) {
            let (bytes, ends) = segment(&batches);
            let first = ends[0].0;
            let cut = first + cut.index(bytes.len() - first + 1);
            let read = read_segment(&bytes[..cut]).unwrap();
            let (end, size) = *ends.iter().rev().find(|(end, _)| *end <= cut).unwrap();
            prop_assert_eq!((read.whole_bytes, read.committed.size()), (end, size));
            let damaged = matches!(read.tail, Tail::Damaged { .. });
            prop_assert!(!damaged);
        }

        /// L5, L8: a changed byte with a commit behind it is damage, and the entry is named.
        #[test]
        fn changed_byte_before_a_commit_is_damage(batches in prop::collection::vec(1_u8..9, 2..9), pick in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let (mut bytes, ends) = segment(&batches);
            let (first, last) = (ends[0].0, ends[ends.len() - 2].0);
            let at = first + pick.index(last - first);
            bytes[at] ^= 1 << bit;
            let read = read_segment(&bytes).unwrap();
            let (_, size) = *ends.iter().rev().find(|(end, _)| *end <= at).unwrap();
            prop_assert_eq!(read.committed.size(), size);
            let Tail::Damaged { entry, offset } = read.tail else { panic!("not noticed") };
            prop_assert!(offset <= at && entry >= size);
        }
    }
}
