//! The outbox: a folder per audience; a file put there is inspected, sealed and posted.
//!
//! ```text
//! outbox/<audience>/file ─(quiet)─► claim: rename to processing/ ─► copied once into memory
//!        ▲                                                              │ inspect, decide, seal: these bytes
//!        └── the gateway cannot be reached: back again                  ├─► sent/
//!                                                                       ├─► blocked/ + <name>.reason.txt
//!                                                                       └─► error/   + <name>.reason.txt
//! ```
//! Events are hints, the scan is the truth (O1). Nobody's file is ever deleted (O8).
//!
//! A program that puts a file here writes it under a name that is not taken (`.NAME`, `NAME.tmp`, `NAME.part`) and
//! renames it, or writes a [`manifest`] first (O4). A file is taken once it rested and no program has it open for
//! writing (O3). Names are bytes: two that look alike, composed and decomposed, are two files; they are shown and
//! sent composed (O9). On a file system that folds case, such a name is taken already, and the file gets a number.

pub(crate) mod claims;
pub(crate) mod disk;
pub(crate) mod manifest;
pub(crate) mod names;
pub(crate) mod open;
pub(crate) mod places;
pub(crate) mod quiet;
pub(crate) mod watch;
pub(crate) mod worker;
