//! What is allowed: vocabulary, policy folder, decision, bundle, clearance.

pub mod cbor;
pub mod clearance;
pub mod decide;
pub mod directory;
pub mod keys;
pub mod leaf;
pub mod roster;
pub mod terms;
