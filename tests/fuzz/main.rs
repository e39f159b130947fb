//! Fuzz targets of what anybody may hand to a public reader: no input panics, and what is accepted is read strictly.
//!
//! `cargo test` replays the seeds and some random bytes; `tests/fuzz/run` searches by coverage.

#![expect(clippy::unwrap_used, reason = "a failed expectation fails the test")]

mod inspection;
mod ledger;
mod policies;
mod wire;
