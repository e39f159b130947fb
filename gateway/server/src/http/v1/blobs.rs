//! Blobs: encrypted media, named by the hash of the agent's ciphertext, encrypted once more at rest (K18).

pub(super) mod get;
pub(super) mod put;

use policies::terms::Digest;

use crate::domain::fault::Fault;
use crate::http::server::bad_id;

fn digest(text: &str) -> Result<Digest, Fault> {
    text.parse().map_err(|_| bad_id())
}
