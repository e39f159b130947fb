//! The engine from outside, over the shipped packs.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failed expectation fails the test; the README is a file"
)]

mod company;
mod evasion;
mod hiding;
mod packs;
mod properties;
mod stories;
mod support;
