//! Key packages.

pub(super) mod claim;
pub(super) mod upload;
