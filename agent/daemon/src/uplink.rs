//! The way to the gateway: this device's identity, calls, the directory log, the policy, the sync of groups and inbox, the
//! upload of events.

pub(crate) mod audiences;
pub(crate) mod behind;
pub(crate) mod client;
pub(crate) mod device_lists;
pub(crate) mod directory;
pub(crate) mod enroll;
pub(crate) mod events;
pub(crate) mod foreign;
pub(crate) mod identity;
pub(crate) mod key_packages;
pub(crate) mod membership;
pub(crate) mod origin;
pub(crate) mod people;
pub(crate) mod policy;
pub(crate) mod rejoin;
pub(crate) mod renewal;
pub(crate) mod stories;
pub(crate) mod sync;
pub(crate) mod tls;
pub(crate) mod unenroll;
