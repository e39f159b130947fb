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
/// The backup is not whole, was changed, or does not open; nothing is left behind then. Or another restore makes the same
/// folder, which is left alone.
pub(crate) fn restore(source: &Source, layout: &Layout) -> anyhow::Result<Manifest> {
    let root = layout.root();
    ensure!(
        !root.exists(),
        "`{}` exists, and is not overwritten; move it away, or choose another --dir",
        root.display()
    );
    let making = root.with_added_extension("restoring");
    ensure!(
        !making.exists(),
        "`{}` exists: another restore makes it, or was killed; if none is at work, remove it, for it holds private keys",
        making.display()
    );
    files::make_folder(&making)?;
    let made = make(source, &Layout::new(&making));
    if made.is_err() {
        std::fs::remove_dir_all(&making)
            .with_context(|| format!("`{}` holds private keys; remove it", making.display()))?;
    }
    let manifest = made?;
    std::fs::rename(&making, root).with_context(|| format!("cannot make `{}`", root.display()))?;
    files::sync_parent(root)?;
    Ok(manifest)
}

/// Fills the folder.
fn make(source: &Source, layout: &Layout) -> anyhow::Result<Manifest> {
    let root = layout.root();
    let key = BackupKey::load(&source.key)?;
    let keys = key.open(Part::Keys, &files::read(&source.backup.join(KEYS))?)?;
    let subject_keys = match &source.subject_keys {
        Some(path) => key.open(Part::SubjectKeys, &files::read(path)?)?,
        None => std::collections::BTreeMap::new(),
    };
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
    replay_shreds(layout, &signers[0], &manifest, source.subject_keys.is_some())?;
    let restored = Restored {
        made_at_s: Some(manifest.made_at_s),
        later: None,
    };
    restored.write(layout)?;
    Ok(manifest)
}

/// Keys that were destroyed before the ledger was backed up are destroyed again: the keys may be of an older backup.
fn replay_shreds(
    layout: &Layout,
    signer: &CheckpointSigner,
    manifest: &Manifest,
    with_keys: bool,
) -> anyhow::Result<()> {
    let keys = FileSubjectKeys::open(&layout.subject_keys())?;
    for name in manifest.destroyed_keys.iter().flatten() {
        keys.shred(&erasure::key(name)?)?;
    }
    let mut shreds = Vec::new();
    let read = |path: &str| std::fs::read(layout.ledger().join(path));
    verify_log_entries(read, signer.key(), |_, bytes| {
        if Entry::decode(bytes).is_ok_and(|entry| entry.header.kind == Kind::Shred.as_str()) {
            shreds.push(bytes.to_vec());
        }
    })?;
    for bytes in shreds {
        let Payload::Clear(payload) = open_entry(&keys, &bytes)?.1 else {
            ensure!(
                manifest.destroyed_keys.is_some() || !with_keys,
                "these subject keys do not open the record of an erasure, and the backup does not name what was erased: it \
                 would come back; restore with the subject keys that were backed up last, or without --subject-keys"
            );
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::make::{Places, make};
    use crate::clock::Clock;
    use crate::domain::gateway::Gateway;
    use crate::relay::tests::{World, person};
    use crate::store::ledger::subject_keys::Subject;

    const MONTH_S: u64 = 32 * 86_400;

    /// Where backups are made, and folders restored from them.
    struct Shelf(tempfile::TempDir);

    impl Shelf {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        /// A backup of this name; with `NAME.keys`, if its subjects' keys are backed up too.
        async fn back_up(&self, gateway: &Gateway, name: &str, with_keys: bool) {
            let places = Places {
                out: self.path(name),
                key: self.path("backup.key"),
                subject_keys: with_keys.then(|| self.path(&format!("{name}.keys"))),
            };
            make(gateway, places).await.unwrap();
        }

        /// Restores a backup, with the subjects' keys of another, into `NAME.restored`.
        fn restore(&self, name: &str, keys_of: &str) -> anyhow::Result<Layout> {
            let source = Source {
                backup: self.path(name),
                key: self.path("backup.key"),
                subject_keys: Some(self.path(&format!("{keys_of}.keys"))),
            };
            let layout = Layout::new(self.path(&format!("{name}.restored")));
            restore(&source, &layout)?;
            Ok(layout)
        }
    }

    /// How many keys there are of a subject.
    fn keys_of(layout: &Layout, subject: Subject) -> usize {
        let keys = FileSubjectKeys::open(&layout.subject_keys()).unwrap();
        keys.of_subject(subject).len()
    }

    /// A gateway whose keys were backed up as `older`, a month before somebody was erased.
    async fn erased_a_month_later(shelf: &Shelf) -> World {
        let world = World::new().await;
        world.gateway.relay.submit(world.submission(1, 0)).await.unwrap();
        shelf.back_up(&world.gateway, "older", true).await;
        world.gateway.clock.advance(MONTH_S);
        assert!(erasure::erase(&world.gateway, person()).await.unwrap() > 0);
        world
    }

    /// W1, K27: what was erased stays so, although the keys that are put back are of a month before and do not open the
    /// record of it; and so it does in a backup of what was restored.
    #[tokio::test]
    async fn keys_of_a_month_before_bring_nothing_back() {
        let shelf = Shelf::new();
        let world = erased_a_month_later(&shelf).await;
        shelf.back_up(&world.gateway, "newer", false).await;
        let erased = Subject::person(*person().as_bytes());
        let restored = shelf.restore("newer", "older").unwrap();
        assert_eq!(keys_of(&restored, erased), 0);
        assert!(keys_of(&restored, Subject::GATEWAY) > 0, "only what was erased");

        let clock = Clock::manual(world.gateway.clock.now_s());
        let (again, _writer) = Gateway::open_at(restored, clock).await.unwrap();
        shelf.back_up(&again, "newest", false).await;
        assert_eq!(keys_of(&shelf.restore("newest", "older").unwrap(), erased), 0);
    }

    /// A restore removes what it made itself when it fails, and leaves alone what another one makes.
    #[tokio::test]
    async fn folder_of_another_restore_is_left_alone() {
        let shelf = Shelf::new();
        let world = World::new().await;
        shelf.back_up(&world.gateway, "backup", true).await;
        let (key, theirs) = (shelf.path("backup.key"), shelf.path("backup.restored.restoring"));
        let right_key = std::fs::read(&key).unwrap();
        std::fs::create_dir(&theirs).unwrap();
        for key_text in [right_key.clone(), "00".repeat(32).into_bytes()] {
            std::fs::write(&key, key_text).unwrap();
            let refused = shelf.restore("backup", "backup").unwrap_err().to_string();
            assert!(refused.contains("another restore makes it"), "{refused}");
            assert!(theirs.exists());
        }
        std::fs::remove_dir(&theirs).unwrap();
        let refused = shelf.restore("backup", "backup").unwrap_err().to_string();
        assert!(refused.contains("do not open"), "{refused}");
        assert!(!theirs.exists());
        std::fs::write(&key, right_key).unwrap();
        shelf.restore("backup", "backup").unwrap();
    }

    /// W1: a backup of before does not name what was erased: keys that do not open the record of it are refused.
    #[tokio::test]
    async fn backup_that_does_not_name_what_was_erased_needs_its_own_keys() {
        let shelf = Shelf::new();
        let world = erased_a_month_later(&shelf).await;
        shelf.back_up(&world.gateway, "newer", true).await;
        let path = shelf.path("newer").join(MANIFEST);
        let mut manifest: Manifest = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        manifest.destroyed_keys = None;
        let bytes = serde_json::to_vec_pretty(&manifest).unwrap();
        let signature = world
            .gateway
            .ledger
            .state(STATEMENT, &Digest::of(&bytes).to_string())
            .unwrap();
        std::fs::write(&path, &bytes).unwrap();
        std::fs::write(shelf.path("newer").join(SIGNATURE), signature).unwrap();

        let refused = shelf.restore("newer", "older").unwrap_err().to_string();
        assert!(refused.contains("would come back"), "{refused}");
        assert!(!shelf.path("newer.restored").exists());
        let restored = shelf.restore("newer", "newer").unwrap();
        assert_eq!(keys_of(&restored, Subject::person(*person().as_bytes())), 0);
    }
}
