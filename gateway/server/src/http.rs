//! The gateway's HTTP: mTLS for devices, one file per operation.
//!
//! **Architecture Invariant.** Logs name the route's template, the status and ids; never a path, a query string, a
//! header, an address or a body.

mod body;
pub(crate) mod device;
pub(crate) mod problem;
mod rates;
pub(crate) mod server;
pub(crate) mod tls;
mod v1;

#[cfg(test)]
mod tests;
