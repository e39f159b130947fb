//! What the gateway decides, apart from HTTP and storage.

pub(crate) mod admission;
pub(crate) mod authority;
pub(crate) mod clearance;
pub(crate) mod device_lists;
pub(crate) mod enrollment;
pub(crate) mod erasure;
pub(crate) mod events;
pub(crate) mod fault;
pub(crate) mod gateway;
pub(crate) mod health;
pub(crate) mod locks;
pub(crate) mod membership;
pub(crate) mod policy;
pub(crate) mod quarantine;
pub(crate) mod random;
pub(crate) mod record;
pub(crate) mod recovery;
pub(crate) mod rejoin;
pub(crate) mod renewal;
pub(crate) mod restored;
pub(crate) mod search;
pub(crate) mod server_certificate;
pub(crate) mod space;
pub(crate) mod warm_up;
