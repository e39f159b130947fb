//! What is allowed: vocabulary, policy folder, decision, bundle, clearance.

pub mod cbor;
pub mod keys;
pub mod terms;
