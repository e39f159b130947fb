//! Makes a backup, while the gateway serves or with the folder's lock.
//!
//! The database first, then the directory log, then the ledger: whatever a part refers to is in the parts after it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::ensure;
use policies::terms::Digest;

use super::seal::{BackupKey, Part};
use super::{CONFIG, DATABASE, KEYS, LOGS, MANIFEST, Manifest, SIGNATURE, STATEMENT, copy_file, files_below};
use crate::config::files;
use crate::domain::erasure;
use crate::domain::gateway::Gateway;
use crate::domain::record::Kind;
use crate::evidence::manifest::FileDigest;
use crate::store::logs::Ledger;

/// Where everything goes.
pub(crate) struct Places {
    /// A folder that does not exist.
    pub(crate) out: PathBuf,
    /// The file of the key that seals private keys; made if it does not exist. Not below `out`.
    pub(crate) key: PathBuf,
    /// A file that does not exist, not below `out`, for the keys of the ledger's subjects.
    pub(crate) subject_keys: Option<PathBuf>,
}

impl Places {
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!(
            !self.out.exists(),
            "`{}` exists; choose a folder that does not",
            self.out.display()
        );
        ensure!(
            !self.key.starts_with(&self.out),
            "the key must not lie in the backup that it opens; choose another --key"
        );
        if let Some(path) = &self.subject_keys {
            ensure!(!path.exists(), "`{}` exists; choose another file", path.display());
            ensure!(
                !path.starts_with(&self.out),
                "subjects' keys must be apart from the ledger; choose another --subject-keys"
            );
        }
        Ok(())
    }
}

/// Makes it. The signature comes last: a folder without it is no backup.
///
/// # Errors
/// Something cannot be read or written.
pub(crate) async fn make(gateway: &Gateway, places: Places) -> anyhow::Result<Manifest> {
    let Places {
        out,
        key,
        subject_keys,
    } = places;
    files::make_folder(&out)?;
    let key = BackupKey::load_or_make(&key)?;
    gateway.store.copy_without_stories(&out.join(DATABASE)).await?;
    let (directory_size, ledger_size) = copy_logs(gateway, &out).await?;
    let layout = &gateway.layout;
    copy_file(&layout.config(), &out.join(CONFIG))?;
    files::write_new(&out.join(KEYS), &key.seal_folder(Part::Keys, &layout.keys())?)?;
    if let Some(path) = subject_keys {
        let sealed = key.seal_folder(Part::SubjectKeys, &layout.subject_keys())?;
        files::write_new(&path, &sealed)?;
    }
    let ledger = Arc::clone(&gateway.ledger);
    let destroyed = tokio::task::spawn_blocking(move || destroyed_keys(&ledger, ledger_size)).await??;
    let manifest = Manifest {
        tenant: gateway.config.tenant.clone(),
        made_at_s: gateway.clock.now_s(),
        ledger_size,
        directory_size,
        destroyed_keys: Some(destroyed),
        files: digests(&out)?,
    };
    let bytes = serde_json::to_vec_pretty(&manifest)?;
    files::write_new(&out.join(MANIFEST), &bytes)?;
    let signature = gateway.ledger.state(STATEMENT, &Digest::of(&bytes).to_string())?;
    files::write_new(&out.join(SIGNATURE), signature.as_bytes())?;
    Ok(manifest)
}

async fn copy_logs(gateway: &Gateway, out: &Path) -> anyhow::Result<(u64, u64)> {
    let [ledger, directory] = LOGS.map(|name| out.join(name));
    let logs = (Arc::clone(&gateway.ledger), Arc::clone(&gateway.directory));
    tokio::task::spawn_blocking(move || Ok((logs.1.copy_to(&directory)?, logs.0.copy_to(&ledger)?))).await?
}

/// Blocks: names of the keys that were destroyed: those of which a file was kept, and those that the ledger names in what
/// was backed up of it.
fn destroyed_keys(ledger: &Ledger, ledger_size: u64) -> anyhow::Result<BTreeSet<String>> {
    let mut keys = ledger.destroyed_keys()?;
    for entry in ledger.entries_of(Kind::Shred, ledger_size)? {
        if let Some(payload) = &entry.payload {
            keys.extend(erasure::keys(payload)?);
        }
    }
    Ok(keys.iter().map(hex::encode).collect())
}

fn digests(folder: &Path) -> anyhow::Result<BTreeMap<String, FileDigest>> {
    let mut digests = BTreeMap::new();
    for path in files_below(folder)? {
        let digest = FileDigest::of(&files::read(&folder.join(&path))?);
        digests.insert(path, digest);
    }
    Ok(digests)
}
