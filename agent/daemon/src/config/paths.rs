//! The folder of one agent: `--dir A`.
//!
//! ```text
//! A/enrollment.json        who we are and whom we trust (pins; no secrets)
//! A/agent.toml             optional behaviour
//! A/agent.sock             the local API
//! A/state.db               everything that changes, encrypted per record
//! A/emergency              counts blocks while nothing else can be written
//! A/keys/                  0700: ca.pem, device.key, tls.pem, tls-next.pem, leaf.key, state.key, expiry/
//! A/policy/                the bundle that decides, and the one before, by their versions
//! A/outbox/                drop folders, one per audience
//! ```

use std::path::{Path, PathBuf};

use policies::terms::Digest;

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

    /// Room that is taken already, for a full disk (S5).
    pub(crate) fn emergency(&self) -> PathBuf {
        self.root.join("emergency")
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

    /// TLS key and certificate.
    pub(crate) fn tls_identity(&self) -> PathBuf {
        self.keys().join("tls.pem")
    }

    /// Where folders of before kept the TLS key.
    pub(crate) fn tls_key_apart(&self) -> PathBuf {
        self.keys().join("tls.key")
    }

    /// The TLS key that a renewal is about, with its request, and then its certificate (E4).
    pub(crate) fn tls_next(&self) -> PathBuf {
        self.keys().join("tls-next.pem")
    }

    /// The TLS key of an enrollment by the token of this digest, with its request.
    pub(crate) fn enrolling(&self, token: &Digest) -> PathBuf {
        let token = token.to_string();
        let name = format!("enrolling-{}.pem", token.get(..16).unwrap_or(&token));
        self.keys().join(name)
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
