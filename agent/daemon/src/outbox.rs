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

pub(crate) mod claims;
pub(crate) mod names;
pub(crate) mod open;
pub(crate) mod places;
pub(crate) mod quiet;
pub(crate) mod watch;
pub(crate) mod worker;
