//! A checkpoint that an auditor keeps elsewhere, with the key that signed it.

use std::path::Path;

use anyhow::{Context as _, ensure};
use gateway_ledger::{Checkpoint, CheckpointKey, SignedCheckpoint};
use serde::{Deserialize, Serialize};

use crate::config::files;

/// The file of a pin.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pin {
    /// Verifier key, `name+hash+base64`; the name is the log's.
    pub(crate) key: String,
    /// Signed checkpoint (C2SP tlog-checkpoint).
    pub(crate) checkpoint: String,
}

impl Pin {
    /// Reads a pin, and the checkpoint that its key signed.
    ///
    /// # Errors
    /// The file is no pin, or was changed.
    pub(crate) fn read(path: &Path) -> anyhow::Result<(Self, Checkpoint)> {
        let refused = || format!("`{}` is no pin; make one with `sealgate log pin`", path.display());
        let pin: Self = serde_json::from_slice(&files::read(path)?).with_context(refused)?;
        let key = CheckpointKey::parse(&pin.key).with_context(refused)?;
        let signed = SignedCheckpoint::open(&pin.checkpoint, &key).with_context(refused)?;
        let checkpoint = signed.checkpoint().clone();
        Ok((pin, checkpoint))
    }

    /// Writes it to a new file.
    ///
    /// # Errors
    /// The file exists, or cannot be written.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        ensure!(
            !path.exists(),
            "`{}` exists; an earlier pin is worth keeping, choose another file",
            path.display()
        );
        files::write_new(path, &serde_json::to_vec_pretty(self)?)
    }
}
