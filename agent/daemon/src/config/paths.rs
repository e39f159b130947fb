//! The folder of one agent: `--dir A`.
//!
//! ```text
//! A/enrollment.json        who we are and whom we trust (pins; no secrets)
//! A/agent.toml             optional behaviour
//! A/agent.sock             the local API
//! A/state.db               everything that changes, encrypted per record
//! A/keys/                  0700: ca.pem, device.key, tls.key, tls.pem, leaf.key, state.key, expiry/
//! A/policy/                the last good bundle and its timestamp
//! A/outbox/                drop folders, one per audience
//! ```

use std::path::{Path, PathBuf};

/// Names every file of an agent's folder.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    root: PathBuf,
}

impl Paths {
    /// The folder need not exist yet.
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn enrollment(&self) -> PathBuf {
        self.root.join("enrollment.json")
    }

    pub(crate) fn settings(&self) -> PathBuf {
        self.root.join("agent.toml")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.root.join("agent.sock")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.root.join("state.db")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("agent.lock")
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    pub(crate) fn device_key(&self) -> PathBuf {
        self.keys().join("device.key")
    }

    pub(crate) fn tls_key(&self) -> PathBuf {
        self.keys().join("tls.key")
    }

    pub(crate) fn tls_certificate(&self) -> PathBuf {
        self.keys().join("tls.pem")
    }

    pub(crate) fn authority(&self) -> PathBuf {
        self.keys().join("ca.pem")
    }

    pub(crate) fn state_key(&self) -> PathBuf {
        self.keys().join("state.key")
    }

    pub(crate) fn leaf_key(&self) -> PathBuf {
        self.keys().join("leaf.key")
    }

    pub(crate) fn expiry_keys(&self) -> PathBuf {
        self.keys().join("expiry")
    }

    pub(crate) fn policy(&self) -> PathBuf {
        self.root.join("policy")
    }

    pub(crate) fn outbox(&self) -> PathBuf {
        self.root.join("outbox")
    }
}
