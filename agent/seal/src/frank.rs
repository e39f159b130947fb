//! Franking: the tag by which a recipient can later prove what a story said, and to nobody else.
//!
//! `tag = HMAC-SHA-256(salt, manifest)`; the tag travels in the MLS associated data, which the gateway can
//! record, the salt next to the manifest in the ciphertext (`draft-ietf-mimi-protocol`, tightened: the salt is
//! exactly 32 bytes, so HMAC's key is never hashed or padded into an equal one).

use aws_lc_rs::hmac;

/// Bytes of the salt.
pub const SALT_BYTES: usize = 32;
/// Bytes of the tag.
pub const TAG_BYTES: usize = 32;

/// The tag of `manifest` under `salt`.
#[must_use]
pub fn tag(salt: &[u8; SALT_BYTES], manifest: &[u8]) -> [u8; TAG_BYTES] {
    let mut tag = [0; TAG_BYTES];
    let key = hmac::Key::new(hmac::HMAC_SHA256, salt);
    tag.copy_from_slice(hmac::sign(&key, manifest).as_ref());
    tag
}

/// Whether `tag` commits to `manifest`; compared in constant time.
#[must_use]
pub fn verify(salt: &[u8; SALT_BYTES], manifest: &[u8], tag: &[u8; TAG_BYTES]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, salt);
    hmac::verify(&key, manifest, tag).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_holds_for_its_manifest_and_salt_only() {
        let tag = tag(&[1; 32], b"manifest");
        assert!(verify(&[1; 32], b"manifest", &tag));
        assert!(!verify(&[2; 32], b"manifest", &tag));
        assert!(!verify(&[1; 32], b"manifesto", &tag));
    }
}
