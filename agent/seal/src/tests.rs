//! Whole stories between devices of one tenant, with a directory log and a gateway's key, in memory.
#![expect(
    clippy::disallowed_methods,
    reason = "openmls compares lifetimes with the system clock (K11)"
)]

mod audiences;
mod crowd;
mod foreign;
#[path = "../../../tests/fuzz/seal.rs"]
mod fuzz;
mod gateway;
mod hostile;
mod interop;
mod model;
mod policy;
mod rejoin;
mod stories;
mod suite;
pub(crate) mod world;
