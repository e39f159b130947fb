//! C2SP tlog-checkpoint: the size and root of a log, signed by the log.

use crate::hash::{Hash, empty_root};
use crate::limits::LOG_SIZE_MAX;
use crate::note::{CheckpointKey, CheckpointSigner, NoteError};

/// What a log says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// Entries in it.
    pub size: u64,
    /// Root of its tree; [`empty_root`] without entries.
    pub root: Hash,
}

/// Why a checkpoint was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note around it.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The signed text is no checkpoint.
    #[error("the signed text is not a checkpoint (C2SP tlog-checkpoint)")]
    Malformed,
    /// The signed text names another log than the key does.
    #[error("the checkpoint is of the log `{0}`, not of this key's log")]
    OtherLog(String),
    /// A log without entries has one root only.
    #[error("the checkpoint says that the log is empty, and gives it a root that empty logs do not have")]
    EmptyWithRoot,
}

/// A checkpoint whose signature was verified, with the note that it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: String,
}

impl SignedCheckpoint {
    /// Verifies and reads a signed checkpoint. Extension lines are covered by the signature and passed over.
    ///
    /// # Errors
    /// If the note is not signed by the key, or its text is no checkpoint of the key's log.
    pub fn open(note: &str, key: &CheckpointKey) -> Result<Self, CheckpointError> {
        let checkpoint = parse(key.open(note)?).ok_or(CheckpointError::Malformed)?;
        if checkpoint.origin != key.name() {
            return Err(CheckpointError::OtherLog(checkpoint.origin));
        }
        if checkpoint.size == 0 && checkpoint.root != empty_root() {
            return Err(CheckpointError::EmptyWithRoot);
        }
        Ok(Self {
            checkpoint,
            note: note.to_owned(),
        })
    }

    /// What was signed.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The signed note.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.note
    }
}

impl CheckpointSigner {
    /// Signs the size and root of this signer's log.
    #[must_use]
    pub fn sign(&self, size: u64, root: Hash) -> SignedCheckpoint {
        let origin = self.key().name().to_owned();
        let note = self.sign_text(&format!("{origin}\n{size}\n{root}\n"));
        SignedCheckpoint {
            checkpoint: Checkpoint { origin, size, root },
            note,
        }
    }
}

fn parse(text: &str) -> Option<Checkpoint> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
    if origin.is_empty() || lines.any(str::is_empty) {
        return None;
    }
    let number: u64 = size.parse().ok()?;
    let canonical = number.to_string() == size && number <= LOG_SIZE_MAX;
    let root = Hash::from_base64(root)?;
    canonical.then(|| Checkpoint {
        origin: origin.to_owned(),
        size: number,
        root,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_hash;

    fn signer() -> CheckpointSigner {
        CheckpointSigner::new("acme/ledger", &[9; 32]).unwrap()
    }

    #[test]
    fn signed_checkpoint_opens() {
        let signed = signer().sign(1, leaf_hash(b"x"));
        assert_eq!(
            SignedCheckpoint::open(signed.as_str(), signer().key()),
            Ok(signed.clone())
        );
        insta::assert_snapshot!(signed.as_str(), @"
        acme/ledger
        1
        PH6byTDck/AfppmF7yQtn56GHzxTVaokzl70tLinDMs=

        — acme/ledger /5FzNXDtJMZkunTzod1k44WTFwMLo8drZSqYAD+ObxQI7Qlcn5vZ412Uv1CfAwNaPxOVJkeE6sis1Phw/FwlJ0FO+AY=
        ");
    }

    #[test]
    fn a_stranger_reads_our_checkpoint() {
        let signed = signer().sign(7, leaf_hash(b"x"));
        let text = signer().key().open(signed.as_str()).unwrap().to_owned();
        let theirs = tlog_tiles::Checkpoint::from_bytes(text.as_bytes()).unwrap();
        assert_eq!(
            (theirs.origin(), theirs.size(), theirs.hash().0),
            ("acme/ledger", 7, *leaf_hash(b"x").as_bytes())
        );
    }

    #[test]
    fn text_that_is_no_checkpoint_is_refused() {
        let root = leaf_hash(b"x");
        for text in [
            "acme/ledger\n".to_owned(),
            format!("acme/ledger\n01\n{root}\n"),
            format!("acme/ledger\n+1\n{root}\n"),
            format!("acme/ledger\n9223372036854775808\n{root}\n"),
            "acme/ledger\n1\nAAAA\n".to_owned(),
        ] {
            let note = signer().sign_text(&text);
            assert_eq!(
                SignedCheckpoint::open(&note, signer().key()),
                Err(CheckpointError::Malformed),
                "{text}"
            );
        }
        let note = signer().sign_text(&format!("other\n1\n{root}\n"));
        assert_eq!(
            SignedCheckpoint::open(&note, signer().key()),
            Err(CheckpointError::OtherLog("other".to_owned()))
        );
        let note = signer().sign_text(&format!("acme/ledger\n0\n{root}\n"));
        assert_eq!(
            SignedCheckpoint::open(&note, signer().key()),
            Err(CheckpointError::EmptyWithRoot)
        );
    }

    #[test]
    fn extension_lines_are_passed_over() {
        let note = signer().sign_text(&format!("acme/ledger\n1\n{}\nmore\n", leaf_hash(b"x")));
        assert!(SignedCheckpoint::open(&note, signer().key()).is_ok());
    }
}
