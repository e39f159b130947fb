//! The local API: HTTP over a Unix socket that only the owner opens (A1). The commands of
//! `sealgate-agent` are its clients.

pub(crate) mod app_lists;
pub(crate) mod app_stories;
pub(crate) mod apps;
pub(crate) mod audiences;
pub(crate) mod client;
pub(crate) mod directory;
pub(crate) mod feed;
pub(crate) mod frame;
pub(crate) mod notices;
pub(crate) mod outbox;
pub(crate) mod peer;
pub(crate) mod program;
pub(crate) mod receipt;
pub(crate) mod records;
pub(crate) mod rejoin;
pub(crate) mod server;
pub(crate) mod stop;
pub(crate) mod stories;
pub(crate) mod tamper;
pub(crate) mod timely;
pub(crate) mod wait;
pub(crate) mod wire;
