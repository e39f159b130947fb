//! The local API: HTTP over a Unix socket that only the owner opens (A1). The commands of
//! `sealgate-agent` are its clients.

pub mod audiences;
pub mod client;
pub mod feed;
pub mod frame;
pub mod outbox;
pub mod peer;
pub mod records;
pub mod server;
pub mod stories;
pub mod wait;
pub mod wire;
