//! What the agent is told: where its folder is, how it was enrolled, how it behaves.

pub mod enrollment;
pub mod paths;
pub mod settings;
