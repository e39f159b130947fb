//! What the agent is told: where its folder is, how it was enrolled, how it behaves.

pub(crate) mod enrollment;
pub(crate) mod paths;
pub(crate) mod settings;
