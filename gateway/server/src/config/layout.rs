//! Where everything lies below the gateway's folder.

use std::path::{Path, PathBuf};

/// The paths of one data folder.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.root.join("gateway.toml")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    pub(crate) fn key(&self, name: &str) -> PathBuf {
        self.keys().join(name)
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("gateway.db")
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.root.join("ledger")
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.root.join("directory")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// Apart from database and backups (K18).
    pub(crate) fn bucket_keys(&self) -> PathBuf {
        self.root.join("bucket-keys")
    }

    /// Apart from the ledger and backed up apart (K27).
    pub(crate) fn subject_keys(&self) -> PathBuf {
        self.root.join("subject-keys")
    }

    /// There while the gateway is held after a restore.
    pub(crate) fn restored(&self) -> PathBuf {
        self.root.join("restored.json")
    }

    /// Room that is given up when the disk is full (L5).
    pub(crate) fn ballast(&self) -> PathBuf {
        self.root.join("ballast")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.root.join("admin.sock")
    }
}
