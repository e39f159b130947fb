//! Encryption at rest: an AES-256-GCM key per object, wrapped by its bucket's key (K18, D1).
//!
//! An object key encrypts one story's two parts or one blob's chunks, each under its own counter nonce, and never
//! anything else; so nonces cannot repeat. The last chunk of a blob is marked in its nonce (the STREAM construction),
//! so that a shortened object is noticed.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::bucket_keys::BucketKey;
use crate::domain::random;
use crate::limits;

/// Length of a GCM tag, bytes.
pub(crate) const TAG_BYTES: usize = 16;

/// Ciphertext that does not belong to its key: damaged, or the key is gone.
#[derive(Debug, thiserror::Error)]
#[error("a stored object does not open")]
pub(crate) struct NotOpened;

/// One object's key.
pub(crate) struct ObjectKey {
    bytes: Zeroizing<[u8; 32]>,
}

/// What a nonce stands for.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    Envelope,
    Clearance,
    Chunk { index: u32, last: bool },
}

impl ObjectKey {
    pub(crate) fn generate() -> anyhow::Result<Self> {
        Ok(Self {
            bytes: Zeroizing::new(random::bytes()?),
        })
    }

    /// The key wrapped for the bucket; `object` binds it to its row.
    pub(crate) fn wrap(&self, bucket: &BucketKey, object: &[u8]) -> anyhow::Result<Vec<u8>> {
        let nonce = random::bytes::<NONCE_LEN>()?;
        let mut sealed = self.bytes.to_vec();
        cipher(bucket.as_bytes())?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(object),
                &mut sealed,
            )
            .map_err(|_| NotOpened)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    pub(crate) fn unwrap(bucket: &BucketKey, object: &[u8], wrapped: &[u8]) -> Result<Self, NotOpened> {
        let (nonce, sealed) = wrapped.split_at_checked(NONCE_LEN).ok_or(NotOpened)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| NotOpened)?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let clear = cipher(bucket.as_bytes())?
            .open_in_place(nonce, Aad::from(object), &mut sealed)
            .map_err(|_| NotOpened)?;
        let bytes: [u8; 32] = (&*clear).try_into().map_err(|_| NotOpened)?;
        Ok(Self {
            bytes: Zeroizing::new(bytes),
        })
    }

    pub(crate) fn seal(&self, part: Part, clear: &[u8]) -> Result<Vec<u8>, NotOpened> {
        let mut bytes = Vec::with_capacity(clear.len().saturating_add(TAG_BYTES));
        bytes.extend_from_slice(clear);
        cipher(&self.bytes)?
            .seal_in_place_append_tag(part.nonce(), Aad::empty(), &mut bytes)
            .map_err(|_| NotOpened)?;
        Ok(bytes)
    }

    pub(crate) fn open(&self, part: Part, sealed: &[u8]) -> Result<Vec<u8>, NotOpened> {
        let mut bytes = sealed.to_vec();
        let length = cipher(&self.bytes)?
            .open_in_place(part.nonce(), Aad::empty(), &mut bytes)
            .map_err(|_| NotOpened)?
            .len();
        bytes.truncate(length);
        Ok(bytes)
    }
}

impl Part {
    fn nonce(self) -> Nonce {
        let (kind, index) = match self {
            Self::Envelope => (1, 0),
            Self::Clearance => (2, 0),
            Self::Chunk { index, last: false } => (3, index),
            Self::Chunk { index, last: true } => (4, index),
        };
        let mut nonce = [0; NONCE_LEN];
        let [a, b, c, d] = u32::to_be_bytes(index);
        let [first, .., w, x, y, z] = &mut nonce;
        *first = kind;
        (*w, *x, *y, *z) = (a, b, c, d);
        Nonce::assume_unique_for_key(nonce)
    }
}

fn cipher(key: &[u8; 32]) -> Result<LessSafeKey, NotOpened> {
    UnboundKey::new(&AES_256_GCM, key)
        .map(LessSafeKey::new)
        .map_err(|_| NotOpened)
}

/// Turns a stream of clear bytes into encrypted chunks.
pub(crate) struct ChunkSealer {
    key: ObjectKey,
    index: u32,
    pending: Vec<u8>,
}

impl ChunkSealer {
    pub(crate) fn new(key: ObjectKey) -> Self {
        Self {
            key,
            index: 0,
            pending: Vec::with_capacity(limits::CHUNK_BYTES),
        }
    }

    /// Takes bytes in, appends whole chunks to `out`. A full chunk waits until more follows, since the last is marked.
    pub(crate) fn update(&mut self, mut clear: &[u8], out: &mut Vec<u8>) -> Result<(), NotOpened> {
        while !clear.is_empty() {
            if self.pending.len() == limits::CHUNK_BYTES {
                self.seal_pending(false, out)?;
            }
            let room = limits::CHUNK_BYTES - self.pending.len();
            let (taken, rest) = clear.split_at(room.min(clear.len()));
            self.pending.extend_from_slice(taken);
            clear = rest;
        }
        Ok(())
    }

    /// Appends the last chunk; gives the key back for wrapping.
    pub(crate) fn finish(mut self, out: &mut Vec<u8>) -> Result<ObjectKey, NotOpened> {
        self.seal_pending(true, out)?;
        Ok(self.key)
    }

    fn seal_pending(&mut self, last: bool, out: &mut Vec<u8>) -> Result<(), NotOpened> {
        out.extend(self.key.seal(
            Part::Chunk {
                index: self.index,
                last,
            },
            &self.pending,
        )?);
        self.pending.clear();
        self.index = self.index.checked_add(1).ok_or(NotOpened)?;
        Ok(())
    }
}

/// Turns a stream of encrypted chunks back into clear bytes.
pub(crate) struct ChunkOpener {
    key: ObjectKey,
    index: u32,
    pending: Vec<u8>,
}

impl ChunkOpener {
    pub(crate) fn new(key: ObjectKey) -> Self {
        Self {
            key,
            index: 0,
            pending: Vec::new(),
        }
    }

    /// Takes stored bytes in, returns what can be opened: every chunk that another follows.
    pub(crate) fn update(&mut self, stored: &[u8]) -> Result<Vec<u8>, NotOpened> {
        self.pending.extend_from_slice(stored);
        let mut clear = Vec::new();
        let chunk = limits::CHUNK_BYTES + TAG_BYTES;
        while self.pending.len() > chunk {
            let rest = self.pending.split_off(chunk);
            clear.extend(self.key.open(
                Part::Chunk {
                    index: self.index,
                    last: false,
                },
                &self.pending,
            )?);
            self.pending = rest;
            self.index = self.index.checked_add(1).ok_or(NotOpened)?;
        }
        Ok(clear)
    }

    /// Opens the last chunk.
    pub(crate) fn finish(self) -> Result<Vec<u8>, NotOpened> {
        self.key.open(
            Part::Chunk {
                index: self.index,
                last: true,
            },
            &self.pending,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::bucket_keys::{BucketKeys as _, FileBucketKeys};
    use super::*;

    fn stored(clear: &[u8]) -> (Vec<u8>, ObjectKey) {
        let mut sealer = ChunkSealer::new(ObjectKey::generate().unwrap());
        let mut out = Vec::new();
        for piece in clear.chunks(10_000) {
            sealer.update(piece, &mut out).unwrap();
        }
        let key = sealer.finish(&mut out).unwrap();
        (out, key)
    }

    fn opened(stored: &[u8], key: ObjectKey) -> Result<Vec<u8>, NotOpened> {
        let mut opener = ChunkOpener::new(key);
        let mut clear = Vec::new();
        for piece in stored.chunks(7_001) {
            clear.extend(opener.update(piece)?);
        }
        clear.extend(opener.finish()?);
        Ok(clear)
    }

    #[test]
    fn blob_of_any_length_opens_again() {
        for length in [
            0,
            1,
            limits::CHUNK_BYTES - 1,
            limits::CHUNK_BYTES,
            limits::CHUNK_BYTES + 1,
            3 * limits::CHUNK_BYTES,
        ] {
            let clear: Vec<u8> = (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let (stored, key) = stored(&clear);
            assert!(opened(&stored, key).unwrap() == clear, "{length}");
        }
    }

    #[test]
    fn shortened_blob_does_not_open() {
        let (mut stored, key) = stored(&vec![7; 2 * limits::CHUNK_BYTES]);
        stored.truncate(limits::CHUNK_BYTES + TAG_BYTES);
        assert!(opened(&stored, key).is_err());
    }

    /// K18
    #[test]
    fn wrapped_key_opens_under_its_bucket_and_object_only() {
        let folder = tempfile::tempdir().unwrap();
        let buckets = FileBucketKeys::open(folder.path()).unwrap();
        let key = ObjectKey::generate().unwrap();
        let wrapped = key.wrap(&buckets.key(1).unwrap(), b"object").unwrap();
        assert!(ObjectKey::unwrap(&buckets.key(1).unwrap(), b"object", &wrapped).is_ok());
        assert!(ObjectKey::unwrap(&buckets.key(2).unwrap(), b"object", &wrapped).is_err());
        assert!(ObjectKey::unwrap(&buckets.key(1).unwrap(), b"other", &wrapped).is_err());
    }
}
