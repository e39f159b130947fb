//! What the gateway tells of its own work: counts and durations, at `/metrics` beside the status page.
//!
//! **Architecture Invariant.** Labels come from our own fixed sets: codes of the error table, templates of our routes,
//! names of parts. No id, name, address, path or text of anybody's is ever a label.

mod instruments;
mod observe;
mod prometheus;
#[cfg(test)]
mod tests;

pub(crate) use instruments::{BlobWork, Metrics, method_name};
pub(crate) use observe::observe;
