//! Blobs: encrypted media, named by the SHA-256 of their ciphertext.

use policies::terms::Digest;

/// `PUT`: streamed ciphertext -> 201 (or 200 if it is there). `GET`: streamed ciphertext, for members of a
/// group with a live story that names it.
#[must_use]
pub fn path(digest: Digest) -> String {
    format!("/v1/blobs/{digest}")
}
