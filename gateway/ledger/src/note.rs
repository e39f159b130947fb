//! C2SP signed-note with Ed25519 keys (signature type 0x01).
//!
//! A note is text that ends with a newline, an empty line, and signature lines
//! `— <key name> base64(key hash || signature)`. Signatures by unknown keys are passed over, so that witnesses can add
//! theirs. The key hash is SHA-256(name || 0x0A || 0x01 || public key), first 4 bytes.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

use crate::limits::{NOTE_BYTES_MAX, NOTE_SIGNATURES_MAX};

const ED25519: u8 = 0x01;
const DASH: &str = "— ";

/// Why a note or a key was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The text of a key cannot be read.
    #[error("not a verifier key; it reads `name+hash+base64` (C2SP signed-note)")]
    InvalidKey,
    /// A name that notes do not allow.
    #[error("`{0}` cannot name a key: it is empty, or has a space or a plus sign")]
    InvalidName(String),
    /// Not a note.
    #[error("not a signed note: {0}")]
    Malformed(&'static str),
    /// No signature by the key.
    #[error("no signature by `{0}`; is this the key of this log?")]
    Unsigned(String),
    /// A signature by the key that does not verify.
    #[error("the signature by `{0}` does not verify; the text was changed after it was signed")]
    Forged(String),
}

/// Verifies notes: a key's name, its public key and their hash. `Display` is the form `name+hash+base64`.
#[derive(Clone, PartialEq, Eq)]
pub struct CheckpointKey {
    name: String,
    public: VerifyingKey,
}

impl CheckpointKey {
    /// Names a public key.
    ///
    /// # Errors
    /// If the name may not stand in a note, or the bytes are no key.
    pub fn new(name: &str, public: &[u8; 32]) -> Result<Self, NoteError> {
        check_name(name)?;
        let public = VerifyingKey::from_bytes(public).map_err(|_| NoteError::InvalidKey)?;
        Ok(Self {
            name: name.to_owned(),
            public,
        })
    }

    /// Reads `name+hash+base64`, surrounding white space aside.
    ///
    /// # Errors
    /// If it is no Ed25519 key, or the hash is not that of the key.
    pub fn parse(vkey: &str) -> Result<Self, NoteError> {
        let vkey = vkey.trim();
        let mut parts = vkey.splitn(3, '+');
        let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::InvalidKey);
        };
        let bytes = STANDARD.decode(key).map_err(|_| NoteError::InvalidKey)?;
        let Some((&ED25519, public)) = bytes.split_first() else {
            return Err(NoteError::InvalidKey);
        };
        let key = Self::new(name, public.try_into().map_err(|_| NoteError::InvalidKey)?)?;
        if key.to_string() == vkey {
            Ok(key)
        } else {
            Err(NoteError::InvalidKey)
        }
    }

    /// The key's name, which is the log's origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.public.to_bytes()
    }

    fn hash(&self) -> [u8; 4] {
        let mut hasher = Sha256::new();
        hasher.update(self.name.as_bytes());
        hasher.update([b'\n', ED25519]);
        hasher.update(self.public.as_bytes());
        let [a, b, c, d, ..] = <[u8; 32]>::from(hasher.finalize());
        [a, b, c, d]
    }

    /// The text of a note that this key signed.
    pub(crate) fn open<'a>(&self, note: &'a str) -> Result<&'a str, NoteError> {
        let (text, lines) = split(note)?;
        let mut signed = false;
        for line in lines {
            let (name, hash, signature) = signature_line(line)?;
            if name == self.name && hash == self.hash() {
                let signature: [u8; 64] = signature
                    .try_into()
                    .map_err(|_| NoteError::Malformed("a signature has a wrong length"))?;
                self.public
                    .verify_strict(text.as_bytes(), &Signature::from_bytes(&signature))
                    .map_err(|_| NoteError::Forged(self.name.clone()))?;
                signed = true;
            }
        }
        if signed {
            Ok(text)
        } else {
            Err(NoteError::Unsigned(self.name.clone()))
        }
    }
}

impl fmt::Display for CheckpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![ED25519];
        key.extend_from_slice(self.public.as_bytes());
        write!(
            f,
            "{}+{}+{}",
            self.name,
            hex::encode(self.hash()),
            STANDARD.encode(key)
        )
    }
}

impl fmt::Debug for CheckpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckpointKey({self})")
    }
}

/// Signs notes. `Debug` prints the public part only; the private key is wiped when dropped.
#[derive(Clone)]
pub struct CheckpointSigner {
    key: CheckpointKey,
    private: SigningKey,
}

impl CheckpointSigner {
    /// Takes the log's origin, which names the key, and the 32 secret bytes of an Ed25519 key (RFC 8032).
    ///
    /// # Errors
    /// If the origin may not stand in a note.
    pub fn new(origin: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        let private = SigningKey::from_bytes(seed);
        let key = CheckpointKey::new(origin, private.verifying_key().as_bytes())?;
        Ok(Self { key, private })
    }

    /// What verifies its signatures.
    #[must_use]
    pub fn key(&self) -> &CheckpointKey {
        &self.key
    }

    /// The signed note over `text`, which ends with a newline.
    pub(crate) fn sign_text(&self, text: &str) -> String {
        let mut signature = self.key.hash().to_vec();
        signature.extend_from_slice(&self.private.sign(text.as_bytes()).to_bytes());
        format!("{text}\n{DASH}{} {}\n", self.key.name, STANDARD.encode(signature))
    }
}

impl fmt::Debug for CheckpointSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckpointSigner({})", self.key)
    }
}

fn check_name(name: &str) -> Result<(), NoteError> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    if name.is_empty() || name.contains(bad) {
        Err(NoteError::InvalidName(name.to_owned()))
    } else {
        Ok(())
    }
}

/// A note's text, newline included, and its signature lines.
fn split(note: &str) -> Result<(&str, Vec<&str>), NoteError> {
    if note.len() > NOTE_BYTES_MAX {
        return Err(NoteError::Malformed("it is too long"));
    }
    if note.contains(|c: char| c < ' ' && c != '\n') {
        return Err(NoteError::Malformed("it has control characters"));
    }
    let at = note
        .rfind("\n\n")
        .ok_or(NoteError::Malformed("it has no signatures"))?;
    let (Some(text), Some(signatures)) = (note.get(..=at), note.get(at + 2..)) else {
        return Err(NoteError::Malformed("it has no signatures"));
    };
    let lines = signatures
        .strip_suffix('\n')
        .ok_or(NoteError::Malformed("it does not end with a newline"))?;
    let lines: Vec<_> = lines.split('\n').collect();
    if lines.len() > NOTE_SIGNATURES_MAX {
        return Err(NoteError::Malformed("it has too many signatures"));
    }
    Ok((text, lines))
}

fn signature_line(line: &str) -> Result<(&str, [u8; 4], Vec<u8>), NoteError> {
    let malformed = NoteError::Malformed("a signature line cannot be read");
    let fields = || {
        let (name, encoded) = line.strip_prefix(DASH)?.split_once(' ')?;
        let bytes = STANDARD.decode(encoded).ok()?;
        let (hash, signature) = bytes.split_first_chunk::<4>()?;
        check_name(name).ok()?;
        (!signature.is_empty()).then(|| (name, *hash, signature.to_vec()))
    };
    fields().ok_or(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example key and note of Go's `golang.org/x/mod/sumdb/note` (package documentation).
    const VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\
        \n\
        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn published_note_verifies() {
        let key = CheckpointKey::parse(VKEY).unwrap();
        assert_eq!(key.to_string(), VKEY);
        assert!(key.open(NOTE).unwrap().ends_with("problem is.\n"));
    }

    #[test]
    fn changed_note_is_refused() {
        let key = CheckpointKey::parse(VKEY).unwrap();
        assert_eq!(
            key.open(&NOTE.replace("don't", "do")),
            Err(NoteError::Forged("PeterNeumann".to_owned()))
        );
        assert_eq!(
            key.open(&NOTE.replace("— PeterNeumann", "— Peter")),
            Err(NoteError::Unsigned("PeterNeumann".to_owned()))
        );
        assert!(matches!(key.open(NOTE.trim_end()), Err(NoteError::Malformed(_))));
        assert!(matches!(
            key.open(&NOTE.replace("\n\n", "\n")),
            Err(NoteError::Malformed(_))
        ));
    }

    #[test]
    fn key_with_a_wrong_hash_is_refused() {
        assert_eq!(
            CheckpointKey::parse(&VKEY.replace("c74f20a3", "c74f20a4")),
            Err(NoteError::InvalidKey)
        );
        assert_eq!(
            CheckpointKey::parse(&VKEY.replace("c74f", "C74F")),
            Err(NoteError::InvalidKey)
        );
        assert_eq!(CheckpointKey::parse("a+b"), Err(NoteError::InvalidKey));
    }

    #[test]
    fn names_with_spaces_or_pluses_are_refused() {
        for name in ["", "a b", "a+b", "a\nb"] {
            assert!(CheckpointSigner::new(name, &[1; 32]).is_err());
        }
    }

    #[test]
    fn debug_of_a_signer_is_its_public_key() {
        let signer = CheckpointSigner::new("acme/ledger", &[1; 32]).unwrap();
        assert_eq!(
            format!("{signer:?}"),
            format!("CheckpointSigner({})", signer.key())
        );
    }

    #[test]
    fn a_stranger_reads_our_notes() {
        let signer = CheckpointSigner::new("acme/ledger", &[1; 32]).unwrap();
        let note = signer.sign_text("acme/ledger\n0\nx\n");
        let verifier = signed_note::StandardVerifier::new(&signer.key().to_string()).unwrap();
        let list = signed_note::VerifierList::new(vec![Box::new(verifier)]);
        let theirs = signed_note::Note::from_bytes(note.as_bytes()).unwrap();
        let (verified, unverified) = theirs.verify(&list).unwrap();
        assert_eq!((verified.len(), unverified.len()), (1, 0));
        assert_eq!(theirs.text(), signer.key().open(&note).unwrap().as_bytes());
    }
}
