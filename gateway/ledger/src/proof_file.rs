//! C2SP tlog-proof: index, inclusion proof and signed checkpoint in one text that verifies offline.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! index <decimal>
//! <base64 hash> ...
//!
//! <signed checkpoint>
//! ```
//! The format's opaque `extra` line is neither written nor accepted: nothing signs it.

use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::hash::{Hash, leaf_hash};
use crate::limits::PROOF_FILE_BYTES_MAX;
use crate::note::CheckpointKey;
use crate::proof::{InclusionProof, ProofFault};

const TITLE: &str = "c2sp.org/tlog-proof@v1";

/// Why a proof file was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofFileError {
    /// Not such a file, or not in the one form that this crate writes.
    #[error("not a proof file (C2SP tlog-proof)")]
    Malformed,
    /// The checkpoint in it.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The proof does not hold.
    #[error(transparent)]
    Proof(#[from] ProofFault),
}

/// A proof with the checkpoint that it leads to, whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofFile {
    proof: InclusionProof,
    checkpoint: SignedCheckpoint,
}

impl ProofFile {
    /// Joins a proof and the checkpoint of the log that it was made in.
    ///
    /// # Errors
    /// If they are of different sizes.
    pub fn new(proof: InclusionProof, checkpoint: SignedCheckpoint) -> Result<Self, ProofFileError> {
        if proof.size == checkpoint.checkpoint().size {
            Ok(Self { proof, checkpoint })
        } else {
            Err(ProofFileError::Malformed)
        }
    }

    /// Reads a file. There is one form only: what is read prints as it was.
    ///
    /// # Errors
    /// If the text is no proof file, or its checkpoint is not signed by the key.
    pub fn open(text: &str, key: &CheckpointKey) -> Result<Self, ProofFileError> {
        if text.len() > PROOF_FILE_BYTES_MAX {
            return Err(ProofFileError::Malformed);
        }
        let (proof, note) = text.split_once("\n\n").ok_or(ProofFileError::Malformed)?;
        let checkpoint = SignedCheckpoint::open(note, key)?;
        let proof = parse(proof, checkpoint.checkpoint().size).ok_or(ProofFileError::Malformed)?;
        let file = Self { proof, checkpoint };
        if file.to_string() == text {
            Ok(file)
        } else {
            Err(ProofFileError::Malformed)
        }
    }

    /// Verifies that these bytes are the entry of the index.
    ///
    /// # Errors
    /// If the proof does not lead to the signed root.
    pub fn verify(&self, entry: &[u8]) -> Result<(), ProofFileError> {
        Ok(self
            .proof
            .verify(&leaf_hash(entry), &self.checkpoint.checkpoint().root)?)
    }

    /// Which entry it is about.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.proof.index
    }

    /// The checkpoint in it.
    #[must_use]
    pub fn checkpoint(&self) -> &SignedCheckpoint {
        &self.checkpoint
    }
}

impl std::fmt::Display for ProofFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{TITLE}\nindex {}", self.proof.index)?;
        for hash in &self.proof.hashes {
            writeln!(f, "{hash}")?;
        }
        write!(f, "\n{}", self.checkpoint.as_str())
    }
}

fn parse(text: &str, size: u64) -> Option<InclusionProof> {
    let mut lines = text.split('\n');
    if lines.next()? != TITLE {
        return None;
    }
    let index = lines.next()?.strip_prefix("index ")?.parse().ok()?;
    let hashes = lines.map(Hash::from_base64).collect::<Option<_>>()?;
    Some(InclusionProof { index, size, hashes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frontier::Frontier;
    use crate::note::CheckpointSigner;

    fn entry(index: u64) -> Vec<u8> {
        index.to_be_bytes().to_vec()
    }

    fn root(range: std::ops::Range<u64>) -> Hash {
        let mut frontier = Frontier::new();
        range.for_each(|index| frontier.append(leaf_hash(&entry(index))));
        frontier.root()
    }

    fn file(index: u64, size: u64, signer: &CheckpointSigner) -> ProofFile {
        let node = |level: u8, index: u64| Ok::<_, ()>(root((index << level)..((index + 1) << level)));
        let proof = InclusionProof::prove(index, size, node).unwrap();
        ProofFile::new(proof, signer.sign(size, root(0..size))).unwrap()
    }

    fn signer() -> CheckpointSigner {
        CheckpointSigner::new("acme/ledger", &[7; 32]).unwrap()
    }

    #[test]
    fn text_of_a_proof_stays_as_it_is() {
        insta::assert_snapshot!(file(1, 3, &signer()).to_string(), @r"
        c2sp.org/tlog-proof@v1
        index 1
        PnB3/S9m1ongzuanz1s3vy3KfJea81bQoxy8XIVgXH0=
        2B9ReB7rj0ag4RLobKM1iWzMEs7gDmz89Yo1ARKd/CQ=

        acme/ledger
        3
        m0ll+LIgukL3A5rQeByWbPkLsa6hWoBYbWNLMiqx9M4=

        — acme/ledger JH5B0dPCLNMGr6sJRYAs+1H2sNc63Bmd4NfQxMa/gVz/Wh+YktJovgUYE2SqscnMgtc5k0uRQSot8WYemUMrEZj9fQo=
        ");
    }

    #[test]
    fn proof_reads_back_and_holds_for_its_entry_alone() {
        let signer = signer();
        for size in [1, 2, 7, 300] {
            for index in [0, size / 2, size - 1] {
                let text = file(index, size, &signer).to_string();
                let read = ProofFile::open(&text, signer.key()).unwrap();
                assert_eq!((read.to_string(), read.index()), (text, index));
                assert_eq!(read.verify(&entry(index)), Ok(()));
                assert_eq!(
                    read.verify(&entry(index + 1)),
                    Err(ProofFileError::Proof(ProofFault::NotIncluded))
                );
            }
        }
    }

    #[test]
    fn proof_under_another_key_is_refused() {
        let other = CheckpointSigner::new("acme/ledger", &[8; 32]).unwrap();
        let text = file(1, 3, &signer()).to_string();
        assert!(matches!(
            ProofFile::open(&text, other.key()),
            Err(ProofFileError::Checkpoint(_))
        ));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let signer = signer();
        let text = file(1, 3, &signer).to_string().into_bytes();
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] ^= 0x01;
            let Ok(changed) = String::from_utf8(changed) else {
                continue;
            };
            let outcome = ProofFile::open(&changed, signer.key()).and_then(|file| {
                file.verify(&entry(1))?;
                Ok(file.index())
            });
            assert!(outcome.is_err(), "byte {at}");
        }
    }

    #[test]
    fn proof_of_another_size_is_not_joined() {
        let signer = signer();
        let proof = file(1, 3, &signer).proof;
        assert_eq!(
            ProofFile::new(proof, signer.sign(4, root(0..4))),
            Err(ProofFileError::Malformed)
        );
    }
}
