//! The two logs as the gateway uses them (K4): the ledger of what happened, and the directory log of who is admitted
//! and what policy is in force. Same files, same proofs; only the ledger's payloads are encrypted (K27).

mod directory;
mod ledger;

pub(crate) use directory::DirectoryLog;
pub(crate) use ledger::{Ledger, NotWritten, ReadEntry};
