//! What is allowed: vocabulary, policy folder, decision, bundle, clearance.

pub mod bundle;
pub mod cases;
pub mod cbor;
pub mod clearance;
pub mod decide;
pub mod detector;
pub mod directory;
pub mod document;
pub mod keys;
pub mod leaf;
pub mod limits;
pub mod plan;
pub mod roster;
pub mod rule;
pub mod sharing;
pub mod terms;
#[cfg(test)]
mod testing;
