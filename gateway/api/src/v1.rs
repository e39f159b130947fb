//! Version 1 of the API, one file per noun.

pub mod blobs;
pub mod bundle;
pub mod device_lists;
pub mod directory;
pub mod enroll;
pub mod events;
pub mod groups;
pub mod key_packages;
pub mod preflight;
pub mod rejoin;
pub mod renew;
pub mod stories;
pub mod sync;
pub mod unenroll;
