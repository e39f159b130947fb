//! The way to the gateway: calls, the directory log, the policy, the sync of groups and inbox, the
//! upload of events.

pub mod audiences;
pub mod client;
pub mod directory;
pub mod enroll;
pub mod events;
pub mod key_packages;
pub mod membership;
pub mod people;
pub mod policy;
pub mod stories;
pub mod sync;
pub mod tls;
