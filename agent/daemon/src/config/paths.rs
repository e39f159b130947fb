//! The folder of one agent: `--dir A`.
//!
//! ```text
//! A/enrollment.json        who we are and whom we trust (pins; no secrets)
//! A/agent.toml             optional behaviour
//! A/agent.sock             the local API
//! A/state.db               everything that changes, encrypted per record
//! A/keys/                  0700: ca.pem, device.key, tls.key, tls.pem, state.key, expiry/
//! A/policy/                the last good bundle and its timestamp
//! A/outbox/                drop folders, one per audience
//! ```

use std::path::{Path, PathBuf};

/// Names every file of an agent's folder.
#[derive(Debug, Clone)]
pub struct Paths {
    root: PathBuf,
}

impl Paths {
    /// The folder need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn enrollment(&self) -> PathBuf {
        self.root.join("enrollment.json")
    }

    pub fn settings(&self) -> PathBuf {
        self.root.join("agent.toml")
    }

    pub fn socket(&self) -> PathBuf {
        self.root.join("agent.sock")
    }

    pub fn state(&self) -> PathBuf {
        self.root.join("state.db")
    }

    pub fn lock(&self) -> PathBuf {
        self.root.join("agent.lock")
    }

    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    pub fn device_key(&self) -> PathBuf {
        self.keys().join("device.key")
    }

    pub fn tls_key(&self) -> PathBuf {
        self.keys().join("tls.key")
    }

    pub fn tls_certificate(&self) -> PathBuf {
        self.keys().join("tls.pem")
    }

    pub fn authority(&self) -> PathBuf {
        self.keys().join("ca.pem")
    }

    pub fn state_key(&self) -> PathBuf {
        self.keys().join("state.key")
    }

    pub fn expiry_keys(&self) -> PathBuf {
        self.keys().join("expiry")
    }

    pub fn policy(&self) -> PathBuf {
        self.root.join("policy")
    }

    pub fn outbox(&self) -> PathBuf {
        self.root.join("outbox")
    }
}
