//! What a log's key signs beside checkpoints: a signed note whose first line says what it is. No checkpoint begins so,
//! since a checkpoint's first line is its log's name.
//!
//! ```text
//! sealgate/export/1        what is stated
//! acme/ledger              which log states it
//! <one line>
//! ```

use crate::note::{CheckpointKey, CheckpointSigner, NoteError};

/// Why a statement was refused, or not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// The note around it.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The signed text states something else, or is about another log.
    #[error("the signed text is not `{0}` of this log")]
    Other(String),
    /// A kind that is the log's name, or lines within a line.
    #[error("`{0}` cannot be stated: a kind is not a log's name, and a statement is one line")]
    Invalid(String),
}

impl CheckpointSigner {
    /// The signed note that states `line` as `kind`.
    ///
    /// # Errors
    /// If the kind is the log's name, or either has several lines.
    pub fn state(&self, kind: &str, line: &str) -> Result<String, StatementError> {
        let origin = self.key().name();
        if kind == origin
            || [kind, line]
                .iter()
                .any(|text| text.is_empty() || text.contains('\n'))
        {
            return Err(StatementError::Invalid(kind.to_owned()));
        }
        Ok(self.sign_text(&format!("{kind}\n{origin}\n{line}\n")))
    }
}

impl CheckpointKey {
    /// The line that a signed note states as `kind`.
    ///
    /// # Errors
    /// If the note is not signed by this key, or states something else.
    pub fn open_statement<'a>(&self, kind: &str, note: &'a str) -> Result<&'a str, StatementError> {
        let text = self.open(note)?;
        let lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
        match lines.collect::<Vec<_>>().as_slice() {
            [stated, origin, line] if *stated == kind && *origin == self.name() => Ok(line),
            _ => Err(StatementError::Other(kind.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::SignedCheckpoint;
    use crate::hash::empty_root;

    const KIND: &str = "sealgate/export/1";

    fn signer() -> CheckpointSigner {
        CheckpointSigner::new("acme/ledger", &[7; 32]).unwrap()
    }

    #[test]
    fn statement_reads_back() {
        let note = signer().state(KIND, "abc").unwrap();
        assert_eq!(signer().key().open_statement(KIND, &note), Ok("abc"));
        assert!(signer().key().open_statement("sealgate/other/1", &note).is_err());
        assert!(
            signer()
                .key()
                .open_statement(KIND, &note.replace("abc", "abd"))
                .is_err()
        );
    }

    /// A statement can never be taken for a checkpoint, nor a checkpoint for a statement.
    #[test]
    fn statement_and_checkpoint_are_never_the_same() {
        let signer = signer();
        assert!(signer.state("acme/ledger", "0").is_err());
        assert!(signer.state(KIND, "a\nb").is_err());
        let note = signer.state(KIND, "abc").unwrap();
        assert!(SignedCheckpoint::open(&note, signer.key()).is_err());
        let checkpoint = signer.sign(0, empty_root());
        assert!(signer.key().open_statement(KIND, checkpoint.as_str()).is_err());
    }
}
