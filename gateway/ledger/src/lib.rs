//! A log that can only grow, and that a stranger can check: codec, tree, proofs, checkpoints, verification.
//!
//! The gateway keeps two such logs (K4): the **ledger** of audit entries and the **directory log** of devices and
//! bundles. Agents follow the directory log with [`LogVerifier`]; auditors check either with [`verify_log`]; the files,
//! their durability and recovery are the server's (K2).
//!
//! ```text
//! entry ─► leaf hash ─► Frontier ──► commit log: entries, then size + root      durable
//!                          │
//!                          └► TileEdge ─► entry bundles, tiles of hashes ─► signed checkpoint      published
//!                                                     │                            │
//!                                                     └──── verify_log, LogVerifier, proofs ◄┘
//! ```
//!
//! Formats: RFC 6962 (tree, proofs), C2SP tlog-tiles (height 8), C2SP signed-note and tlog-checkpoint (Ed25519). A log
//! of size 0 has the root SHA-256(""), no tiles, and a checkpoint like any other; nothing is included in it and every
//! log continues it.
//!
//! **Architecture Invariant:** nothing here reads files, clocks or random sources, and nothing looks into the sealed
//! payload of an entry. Bytes come in through arguments, what to write goes out as values.
//!
//! ```
//! use std::collections::BTreeMap;
//! use gateway_ledger::{CheckpointSigner, Frontier, LogVerifier, TilePath, leaf_hash, tile, verify_log};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let signer = CheckpointSigner::new("acme/ledger", &[7; 32])?;
//! let (mut frontier, mut bundle, mut hashes) = (Frontier::new(), Vec::new(), Vec::new());
//! for entry in ["first", "second"] {
//!     let leaf = leaf_hash(entry.as_bytes());
//!     frontier.append(leaf);
//!     hashes.push(leaf);
//!     tile::push_entry(&mut bundle, entry.as_bytes())?;
//! }
//! let signed = signer.sign(frontier.size(), frontier.root());
//!
//! let mut files = BTreeMap::from([
//!     ("checkpoint".to_owned(), signed.as_str().as_bytes().to_vec()),
//!     (TilePath::Entries { index: 0, width: 2 }.to_string(), bundle),
//!     (TilePath::Hashes { level: 0, index: 0, width: 2 }.to_string(), tile::encode_hashes(&hashes)),
//! ]);
//! let read = |files: &BTreeMap<String, Vec<u8>>, path: &str| files.get(path).cloned().ok_or("not found");
//! assert_eq!(verify_log(|path| read(&files, path), signer.key())?.checkpoint.size, 2);
//!
//! let mut follower = LogVerifier::new(signer.key().clone());
//! let advance = follower.advance(signed.as_str(), |path| read(&files, path))?;
//! assert_eq!(advance.entries, [b"first".to_vec(), b"second".to_vec()]);
//!
//! files.insert("tile/entries/000.p/2".to_owned(), b"\0\x05first\0\x06secomd".to_vec());
//! let fault = verify_log(|path| read(&files, path), signer.key()).unwrap_err();
//! assert_eq!(fault.to_string(), "entry 1: `tile/entries/000.p/2` does not hold the entry that was logged");
//! # Ok(())
//! # }
//! ```

mod checkpoint;
pub mod commit;
mod entry;
mod follow;
mod frontier;
mod hash;
pub mod limits;
mod note;
mod proof;
mod proof_file;
mod statement;
#[cfg(test)]
mod test_log;
pub mod tile;
mod verify;
mod writers;

pub use checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
pub use entry::{Entry, EntryError, Header};
pub use follow::{Advance, AdvanceFault, LogVerifier};
pub use frontier::{Frontier, FullTile, InvalidFrontier, TileEdge};
pub use hash::{Hash, empty_root, leaf_hash, node_hash};
pub use note::{CheckpointKey, CheckpointSigner, NoteError};
pub use proof::{ConsistencyProof, InclusionProof, ProofFault, ProveError};
pub use proof_file::{ProofFile, ProofFileError};
pub use statement::StatementError;
pub use tile::TilePath;
pub use verify::{CHECKPOINT_PATH, FaultKind, FirstFault, VerifiedLog, verify_log, verify_log_entries};
pub use writers::{WriterCounts, WriterGap};
