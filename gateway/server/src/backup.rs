//! Backup of a data folder, and restore.
//!
//! ```text
//! <backup>/manifest.json, manifest.note  each file with its SHA-256; signed by the ledger's key
//!          gateway.toml
//!          gateway.db                    without any story's ciphertext
//!          ledger/, directory/           the two logs, as they lie in the folder
//!          keys.sealed                   `keys/`, encrypted under the backup's key
//! <elsewhere>                            `subject-keys/`, encrypted under the same key, apart from the ledger (K27)
//! ```
//! **Architecture Invariant:** a backup holds nothing of a story: no ciphertext, no wrapped key, no bucket key (K18). So
//! a restore cannot bring one back (D6). Blobs are not in it either.
//!
//! A restored gateway is **held** ([`crate::domain::restored`]): it writes to neither log before an operator has
//! confirmed that nobody knows later ones.

pub(crate) mod make;
pub(crate) mod restore;
mod seal;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;
use policies::terms::TenantId;
use serde::{Deserialize, Serialize};

use crate::evidence::manifest::FileDigest;

const STATEMENT: &str = "sealgate/backup/1";
const MANIFEST: &str = "manifest.json";
const SIGNATURE: &str = "manifest.note";
const KEYS: &str = "keys.sealed";
const CONFIG: &str = "gateway.toml";
const DATABASE: &str = "gateway.db";
const LOGS: [&str; 2] = ["ledger", "directory"];

/// What a backup says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) tenant: TenantId,
    /// Unix seconds.
    pub(crate) made_at_s: u64,
    /// Entries of the ledger.
    pub(crate) ledger_size: u64,
    /// Entries of the directory log.
    pub(crate) directory_size: u64,
    /// Names of the subjects' keys that were destroyed: a restore destroys them again, however old the keys are that it is
    /// given, and although the ledger's record of it may be sealed under a key that these do not have (W1, K27). None in
    /// backups of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    destroyed_keys: Option<BTreeSet<String>>,
    /// Each file but the manifest and its signature.
    files: BTreeMap<String, FileDigest>,
}

/// Copies a file durably, mode 0600, to a name that is free.
fn copy_file(from: &Path, to: &Path) -> anyhow::Result<()> {
    let bytes = crate::config::files::read(from)?;
    crate::config::files::write_new(to, &bytes)
}

/// Every file below a folder, as paths from there, in order.
fn files_below(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut waiting = vec![std::path::PathBuf::new()];
    while let Some(folder) = waiting.pop() {
        let listing = std::fs::read_dir(root.join(&folder))
            .with_context(|| format!("cannot list `{}`", root.join(&folder).display()))?;
        for entry in listing {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                waiting.push(path);
            } else {
                found.push(
                    path.to_str()
                        .context("a file has a name that is no text")?
                        .to_owned(),
                );
            }
        }
    }
    found.sort();
    Ok(found)
}
