//! The state store's cipher: each record of a [`Member`](crate::Member) is encrypted on its own.
//!
//! AES-256-GCM under a key derived by HKDF-SHA-256 from the 32-byte state key; the record's key is the
//! associated data, so a value cannot be moved under another key. Layout: `nonce (12) || ciphertext || tag (16)`.
//! Random 96-bit nonces allow 2^32 writes under one state key, far beyond what a device writes in its life.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

/// Bytes of the state key.
pub const STATE_KEY_BYTES: usize = 32;

const DERIVATION: &[u8] = b"sealgate/record/1";

/// Encrypts and decrypts the records of the state store.
pub struct RecordCipher {
    key: LessSafeKey,
}

/// Why a record cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Altered, truncated, moved under another key, or written with another state key.
    #[error(
        "a record of the state store was altered or belongs to another state key\nhelp: remove this device's state and enrol it again"
    )]
    Tampered,
    /// The cipher itself failed.
    #[error("the state store's cipher is not available\nhelp: restart the agent; if it stays, reinstall it")]
    Unavailable,
}

impl RecordCipher {
    /// Derives the record key from the state key, which the caller keeps in the best store it has.
    ///
    /// # Errors
    /// [`RecordError::Unavailable`] if the library refuses the derivation.
    pub fn new(state_key: &[u8; STATE_KEY_BYTES]) -> Result<Self, RecordError> {
        let mut key = Zeroizing::new([0u8; 32]);
        hkdf::Salt::new(hkdf::HKDF_SHA256, &[])
            .extract(state_key)
            .expand(&[DERIVATION], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(key.as_mut()))
            .map_err(|_| RecordError::Unavailable)?;
        let key = UnboundKey::new(&AES_256_GCM, key.as_ref()).map_err(|_| RecordError::Unavailable)?;
        Ok(Self {
            key: LessSafeKey::new(key),
        })
    }

    /// Encrypts `value` for storage under `key`.
    ///
    /// # Errors
    /// [`RecordError::Unavailable`] if the library refuses.
    pub fn seal(&self, key: &[u8], value: &[u8], rng: &mut dyn CryptoRng) -> Result<Vec<u8>, RecordError> {
        let mut nonce = [0u8; NONCE_LEN];
        rng.fill_bytes(&mut nonce);
        // Room for the tag from the start: growing would leave a copy of the plaintext behind.
        let mut buffer = Vec::with_capacity(value.len() + AES_256_GCM.tag_len());
        buffer.extend_from_slice(value);
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(key), &mut buffer)
            .map_err(|_| RecordError::Unavailable)?;
        let mut record = Vec::with_capacity(NONCE_LEN + buffer.len());
        record.extend_from_slice(&nonce);
        record.append(&mut buffer);
        Ok(record)
    }

    /// Decrypts what [`RecordCipher::seal`] stored under `key`.
    ///
    /// # Errors
    /// [`RecordError::Tampered`] if anything about the record or its key differs.
    pub fn open(&self, key: &[u8], record: &[u8]) -> Result<Zeroizing<Vec<u8>>, RecordError> {
        let (nonce, sealed) = record
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(RecordError::Tampered)?;
        let mut buffer = Zeroizing::new(sealed.to_vec());
        let length = self
            .key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(key), &mut buffer)
            .map_err(|_| RecordError::Tampered)?
            .len();
        buffer.truncate(length);
        Ok(buffer)
    }
}

impl fmt::Debug for RecordCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordCipher").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cipher() -> RecordCipher {
        RecordCipher::new(&[3; 32]).unwrap()
    }

    fn sealed() -> Vec<u8> {
        cipher().seal(b"key", b"value", &mut rand::rng()).unwrap()
    }

    #[test]
    fn record_returns_under_its_own_key() {
        assert_eq!(cipher().open(b"key", &sealed()).unwrap().as_slice(), b"value");
    }

    #[test]
    fn flipped_bit_anywhere_in_a_record_is_refused() {
        let record = sealed();
        for position in 0..record.len() {
            let mut altered = record.clone();
            altered[position] ^= 1;
            assert_eq!(
                cipher().open(b"key", &altered).unwrap_err(),
                RecordError::Tampered
            );
        }
    }

    #[test]
    fn record_moved_to_another_key_or_cut_short_is_refused() {
        let record = sealed();
        assert!(cipher().open(b"other", &record).is_err());
        assert!(cipher().open(b"key", &record[..record.len() - 1]).is_err());
        assert!(cipher().open(b"key", &record[..5]).is_err());
    }

    #[test]
    fn another_state_key_opens_nothing() {
        let other = RecordCipher::new(&[4; 32]).unwrap();
        assert!(other.open(b"key", &sealed()).is_err());
    }

    #[test]
    fn equal_values_have_unequal_records() {
        assert_ne!(sealed(), sealed());
    }

    #[test]
    fn debug_of_the_cipher_prints_no_key() {
        insta::assert_snapshot!(format!("{:?}", cipher()), @"RecordCipher { .. }");
    }
}
