//! Makes a data folder from a backup: everything is verified before the folder has its name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use gateway_ledger::{CheckpointSigner, Entry, verify_log_entries};
use policies::terms::Digest;

use super::seal::{BackupKey, Part};
use super::{CONFIG, DATABASE, KEYS, LOGS, MANIFEST, Manifest, SIGNATURE, STATEMENT, copy_file, files_below};
use crate::config::Config;
use crate::config::files;
use crate::config::keys::Keys;
use crate::config::layout::Layout;
use crate::domain::erasure;
use crate::domain::record::Kind;
use crate::domain::restored::Restored;
use crate::evidence::manifest::FileDigest;
use crate::store::ledger::subject_keys::{FileSubjectKeys, Payload, SubjectKeys as _, open_entry};
use crate::store::ledger::verify::verify_folder;

/// What a folder is made from.
pub(crate) struct Source {
    pub(crate) backup: PathBuf,
    /// The backup's key.
    pub(crate) key: PathBuf,
    /// The keys of the ledger's subjects, from where they are kept apart.
    pub(crate) subject_keys: Option<PathBuf>,
}

/// Restores into a folder that does not exist. It is made under another name and takes its own when it is whole.
///
/// # Errors
/// The backup is not whole, was changed, or does not open. Nothing is left behind then.
pub(crate) fn restore(source: &Source, layout: &Layout) -> anyhow::Result<Manifest> {
    let root = layout.root();
    ensure!(
        !root.exists(),
        "`{}` exists, and is not overwritten; move it away, or choose another --dir",
        root.display()
    );
    let making = root.with_added_extension("restoring");
    let made = make(source, &Layout::new(&making));
    if made.is_err() && making.exists() {
        std::fs::remove_dir_all(&making)
            .with_context(|| format!("`{}` holds private keys; remove it", making.display()))?;
    }
    let manifest = made?;
    std::fs::rename(&making, root).with_context(|| format!("cannot make `{}`", root.display()))?;
    files::sync_parent(root)?;
    Ok(manifest)
}

fn make(source: &Source, layout: &Layout) -> anyhow::Result<Manifest> {
    let root = layout.root();
    let key = BackupKey::load(&source.key)?;
    let keys = key.open(Part::Keys, &files::read(&source.backup.join(KEYS))?)?;
    let subject_keys = match &source.subject_keys {
        Some(path) => key.open(Part::SubjectKeys, &files::read(path)?)?,
        None => std::collections::BTreeMap::new(),
    };
    files::make_folder(root)?;
    for (folder, contents) in [(layout.keys(), keys), (layout.subject_keys(), subject_keys)] {
        files::make_folder(&folder)?;
        for (name, bytes) in contents {
            let bytes = zeroize::Zeroizing::new(bytes.0);
            files::write_new(&folder.join(name), &bytes)?;
        }
    }
    copy_file(&source.backup.join(CONFIG), &layout.config())?;
    let config = Config::read(&layout.config())?;
    let signers = signers(&config, &Keys::load(layout)?)?;
    let manifest = manifest(&source.backup, &signers[0])?;
    ensure!(
        manifest.tenant == config.tenant,
        "the backup is of another tenant than its configuration"
    );
    for path in manifest
        .files
        .keys()
        .filter(|path| path.as_str() != CONFIG && path.as_str() != KEYS)
    {
        let to = root.join(path);
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent)?;
        }
        copy_file(&source.backup.join(path), &to)?;
    }
    for (name, signer) in LOGS.iter().zip(&signers) {
        verify_folder(&root.join(name), Some(&signer.key().to_string()), None)
            .with_context(|| format!("`{name}` of the backup does not verify"))?;
    }
    replay_shreds(layout, &signers[0])?;
    let restored = Restored {
        made_at_s: Some(manifest.made_at_s),
        later: None,
    };
    restored.write(layout)?;
    Ok(manifest)
}

/// Keys that were destroyed before the ledger was backed up are destroyed again: the keys may be of an older backup.
fn replay_shreds(layout: &Layout, signer: &CheckpointSigner) -> anyhow::Result<()> {
    let keys = FileSubjectKeys::open(&layout.subject_keys())?;
    let mut shreds = Vec::new();
    let read = |path: &str| std::fs::read(layout.ledger().join(path));
    verify_log_entries(read, signer.key(), |_, bytes| {
        if Entry::decode(bytes).is_ok_and(|entry| entry.header.kind == Kind::Shred.as_str()) {
            shreds.push(bytes.to_vec());
        }
    })?;
    for bytes in shreds {
        let Payload::Clear(payload) = open_entry(&keys, &bytes)?.1 else {
            continue;
        };
        let payload = serde_json::from_slice(&payload).context("a record of erasure cannot be read")?;
        for id in erasure::keys(&payload)? {
            keys.shred(&id)?;
        }
    }
    Ok(())
}

/// Of the logs, in their order.
fn signers(config: &Config, keys: &Keys) -> anyhow::Result<[CheckpointSigner; 2]> {
    let signer = |name: &str, key: &ed25519_dalek::SigningKey| {
        CheckpointSigner::new(&format!("{}/{name}", config.tenant.as_str()), &key.to_bytes())
            .with_context(|| format!("the key of `{name}` cannot be used"))
    };
    Ok([signer(LOGS[0], &keys.ledger)?, signer(LOGS[1], &keys.directory)?])
}

/// The manifest, signed, with each of its files there and as it was; and no other.
fn manifest(backup: &Path, signer: &CheckpointSigner) -> anyhow::Result<Manifest> {
    let note = String::from_utf8(files::read(&backup.join(SIGNATURE))?)
        .with_context(|| format!("`{SIGNATURE}` is not text"))?;
    let signed = signer
        .key()
        .open_statement(STATEMENT, &note)
        .with_context(|| format!("`{SIGNATURE}` of the backup does not verify"))?;
    let bytes = files::read(&backup.join(MANIFEST))?;
    ensure!(
        Digest::of(&bytes).to_string() == signed,
        "`{MANIFEST}` of the backup is not the one that was signed"
    );
    let manifest: Manifest =
        serde_json::from_slice(&bytes).with_context(|| format!("`{MANIFEST}` cannot be read"))?;
    for (path, expected) in &manifest.files {
        ensure!(
            FileDigest::of(&files::read(&backup.join(path))?) == *expected,
            "`{path}` of the backup is not the file that was backed up; use another backup"
        );
    }
    let present: BTreeSet<String> = files_below(backup)?.into_iter().collect();
    let known =
        |path: &&String| manifest.files.contains_key(*path) || [MANIFEST, SIGNATURE].contains(&path.as_str());
    if let Some(added) = present.iter().find(|path| !known(path)) {
        anyhow::bail!("`{added}` is not part of the backup; take it out");
    }
    ensure!(
        [CONFIG, KEYS, DATABASE]
            .iter()
            .all(|path| manifest.files.contains_key(*path)),
        "the backup is not whole"
    );
    Ok(manifest)
}
