//! The directory log and its fold: who is admitted, what policy is in force (K4). Every device follows it whole.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Context as _;
use ed25519_dalek::SigningKey;
use gateway_ledger::{Checkpoint, CheckpointSigner, Frontier, SignedCheckpoint, leaf_hash};
use policies::directory::{Directory, DirectoryEntry, LoggedDevice};
use policies::terms::{DeviceId, TenantId};

use crate::config::layout::Layout;
use crate::store::ledger::LedgerFiles;

/// Entries replayed per read at start.
const REPLAY_ENTRIES: u64 = 1_024;

/// The log with its fold in memory.
pub(crate) struct DirectoryLog {
    files: Arc<LedgerFiles>,
    vkey: String,
    fold: RwLock<Directory>,
    appending: tokio::sync::Mutex<()>,
}

impl DirectoryLog {
    /// Opens the log and folds it.
    pub(crate) fn open(layout: &Layout, tenant: &TenantId, key: &SigningKey) -> anyhow::Result<Self> {
        let signer = signer(tenant, key)?;
        let vkey = signer.key().to_string();
        let (files, _) =
            LedgerFiles::open(&layout.directory(), signer).context("cannot open the directory log")?;
        let mut fold = Directory::new();
        let size = files.size();
        let mut next = 0;
        while next < size {
            let end = size.min(next.saturating_add(REPLAY_ENTRIES));
            for entry in files
                .entries(next..end)
                .context("cannot read the directory log")?
            {
                let entry = DirectoryEntry::decode(&entry)
                    .with_context(|| format!("entry {next} of the directory log"))?;
                fold.apply(next, &entry)
                    .with_context(|| format!("entry {next} of the directory log"))?;
                next = next.saturating_add(1);
            }
        }
        Ok(Self {
            files: Arc::new(files),
            vkey,
            fold: RwLock::new(fold),
            appending: tokio::sync::Mutex::default(),
        })
    }

    /// Appends an entry, durably, publishes it, and folds it: its index. An entry that does not fold is not appended.
    pub(crate) async fn append(&self, entry: DirectoryEntry) -> anyhow::Result<u64> {
        let _appending = self.appending.lock().await;
        let index = self.files.size();
        let mut fold = self.read(Directory::clone);
        fold.apply(index, &entry)
            .context("the directory log does not take this entry")?;
        let files = Arc::clone(&self.files);
        let bytes = entry.encode();
        tokio::task::spawn_blocking(move || {
            files.append(vec![bytes])?;
            files.publish()
        })
        .await?
        .context("cannot write the directory log")?;
        *self.fold.write().unwrap_or_else(PoisonError::into_inner) = fold;
        Ok(index)
    }

    /// Whether an entry folds: no device is revoked twice, and no version of the policy goes back.
    pub(crate) fn takes(&self, entry: &DirectoryEntry) -> bool {
        let mut fold = self.read(Directory::clone);
        fold.apply(fold.size(), entry).is_ok()
    }

    pub(crate) fn read<T>(&self, read: impl FnOnce(&Directory) -> T) -> T {
        read(&self.fold.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn device(&self, device: DeviceId) -> Option<LoggedDevice> {
        self.read(|directory| directory.device(device).cloned())
    }

    /// Published entries; what devices may follow.
    pub(crate) fn size(&self) -> u64 {
        self.files.size()
    }

    /// The verifier key that agents pin.
    pub(crate) fn vkey(&self) -> &str {
        &self.vkey
    }

    pub(crate) async fn publish(&self) -> anyhow::Result<()> {
        let files = Arc::clone(&self.files);
        tokio::task::spawn_blocking(move || files.publish())
            .await?
            .context("cannot publish the directory log")?;
        Ok(())
    }

    /// The signed checkpoint over everything in the log.
    pub(crate) async fn checkpoint(&self) -> anyhow::Result<SignedCheckpoint> {
        let files = Arc::clone(&self.files);
        tokio::task::spawn_blocking(move || files.signed_checkpoint())
            .await?
            .context("cannot read the directory log")
    }

    /// Blocks: copies the log's files into a new folder; how many entries it had.
    pub(crate) fn copy_to(&self, folder: &Path) -> anyhow::Result<u64> {
        let edge = self
            .files
            .copy_to(folder)
            .context("cannot copy the directory log")?;
        Ok(edge.size())
    }

    /// Goes on to a checkpoint that this log signed before it was put back to an earlier state; `all` are its entries
    /// from the first on. How many were missing.
    ///
    /// # Errors
    /// The entries are not those of the checkpoint, or do not begin with those that are here. Nothing is changed then.
    pub(crate) async fn recover(&self, all: Vec<Vec<u8>>, checkpoint: &Checkpoint) -> anyhow::Result<u64> {
        let _appending = self.appending.lock().await;
        let edge = self.files.edge();
        let here = usize::try_from(edge.size())?;
        let mut frontier = Frontier::new();
        let mut agrees = here == 0;
        let mut fold = self.read(Directory::clone);
        for (index, bytes) in (0_u64..).zip(&all) {
            frontier.append(leaf_hash(bytes));
            if index >= edge.size() {
                fold.apply(index, &DirectoryEntry::decode(bytes)?)?;
            }
            if frontier.size() == edge.size() {
                agrees = frontier.root() == edge.root();
            }
        }
        let (size, root) = (frontier.size(), frontier.root());
        anyhow::ensure!(
            (size, root) == (checkpoint.size, checkpoint.root),
            "the entries are not those of the checkpoint; take the file from another agent"
        );
        anyhow::ensure!(
            agrees,
            "the log of the agent does not continue this gateway's: keep both as evidence of a fork, and restore a later backup"
        );
        let missing: Vec<Vec<u8>> = all.into_iter().skip(here).collect();
        let added = u64::try_from(missing.len())?;
        let files = Arc::clone(&self.files);
        tokio::task::spawn_blocking(move || {
            files.append(missing)?;
            files.publish()
        })
        .await?
        .context("cannot write the directory log")?;
        *self.fold.write().unwrap_or_else(PoisonError::into_inner) = fold;
        Ok(added)
    }

    /// A published file, by its C2SP path.
    pub(crate) async fn file(&self, path: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let files = Arc::clone(&self.files);
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || files.read_file(&path))
            .await?
            .context("cannot read the directory log")
    }
}

/// The log's name and key.
pub(crate) fn signer(tenant: &TenantId, key: &SigningKey) -> anyhow::Result<CheckpointSigner> {
    CheckpointSigner::new(&format!("{}/directory", tenant.as_str()), &key.to_bytes())
        .context("the directory log's key cannot be used")
}
