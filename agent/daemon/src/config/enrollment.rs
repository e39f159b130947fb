//! What enrollment left: who we are, and the keys that we pinned. None of it is ever taken from
//! the network afterwards (E2, K6).

use anyhow::{Context as _, ensure};
use gateway_api::bytes::Bytes;
use gateway_api::enrollment::EnrollmentFile;
use gateway_api::v1::enroll::EnrollResponse;
use policies::bundle::Trust;
use policies::keys::Ed25519PublicKey;
use policies::terms::{AudienceClass, DeviceId, Digest, PersonId, TenantId};
use serde::{Deserialize, Serialize};

use super::paths::Paths;
use crate::vault::files;

/// `enrollment.json`. It holds no secret; the token is not in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Enrollment {
    pub device: DeviceId,
    pub person: PersonId,
    pub class: AudienceClass,
    pub tenant: TenantId,
    pub gateway_url: String,
    /// Index of this device's entry in the directory log.
    pub log_index: u64,
    directory_log_key: String,
    ledger_log_key: String,
    acceptance_key: Bytes,
    external_sender_key: Bytes,
    timestamp_key: Bytes,
    author_keys: Vec<Bytes>,
    approver_keys: Vec<Bytes>,
    compliance_key: Bytes,
    /// SHA-256 of the file without this: a pinned key that a disk changed would be a key like any other. Files of before
    /// have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    check: Option<Digest>,
}

/// The pinned keys, parsed.
#[derive(Debug, Clone)]
pub(crate) struct Pins {
    /// Verifier key of the directory log, as text.
    pub directory_log_key: String,
    pub acceptance: Ed25519PublicKey,
    pub external_sender: Ed25519PublicKey,
    pub timestamp: Ed25519PublicKey,
    /// HPKE key (X25519) of the compliance officer.
    pub compliance: [u8; 32],
    pub trust: Trust,
}

impl Enrollment {
    /// What the gateway answered, with what the token file pins.
    pub(crate) fn new(file: &EnrollmentFile, answer: &EnrollResponse) -> Self {
        Self {
            device: answer.device,
            person: answer.person,
            class: answer.class,
            tenant: file.tenant.clone(),
            gateway_url: file.gateway_url.clone(),
            log_index: answer.log_index,
            directory_log_key: file.directory_log_key.clone(),
            ledger_log_key: file.ledger_log_key.clone(),
            acceptance_key: file.acceptance_key.clone(),
            external_sender_key: file.external_sender_key.clone(),
            timestamp_key: file.timestamp_key.clone(),
            author_keys: file.author_keys.clone(),
            approver_keys: file.approver_keys.clone(),
            compliance_key: file.compliance_key.clone(),
            check: None,
        }
    }

    /// Whether a token file pins what this enrollment pinned.
    pub(crate) fn has_pins_of(&self, file: &EnrollmentFile) -> bool {
        self.tenant == file.tenant
            && self.gateway_url == file.gateway_url
            && self.directory_log_key == file.directory_log_key
            && self.ledger_log_key == file.ledger_log_key
            && self.acceptance_key == file.acceptance_key
            && self.external_sender_key == file.external_sender_key
            && self.timestamp_key == file.timestamp_key
            && self.author_keys == file.author_keys
            && self.approver_keys == file.approver_keys
            && self.compliance_key == file.compliance_key
    }

    /// Reads the file of an enrolled agent.
    ///
    /// # Errors
    /// The agent was not enrolled, or the file is damaged.
    pub(crate) fn load(paths: &Paths) -> anyhow::Result<Self> {
        let file = paths.enrollment();
        let bytes = std::fs::read(&file).with_context(|| {
            format!(
                "`{}` holds no enrolled agent\n  help: sealgate-agent --dir {} enroll --token-file FILE",
                paths.root().display(),
                paths.root().display()
            )
        })?;
        let damaged = || format!("`{}` is damaged; restore it, or enrol again", file.display());
        let enrollment: Self = serde_json::from_slice(&bytes).with_context(damaged)?;
        let sound = enrollment.check.is_none_or(|check| check == enrollment.digest());
        ensure!(sound, damaged());
        Ok(enrollment)
    }

    fn digest(&self) -> Digest {
        let bare = Self {
            check: None,
            ..self.clone()
        };
        // Ids, keys and texts: nothing that could not be written.
        Digest::of(&serde_json::to_vec(&bare).unwrap_or_default())
    }

    /// Writes the file durably.
    pub(crate) fn save(&self, paths: &Paths) -> anyhow::Result<()> {
        let checked = Self {
            check: Some(self.digest()),
            ..self.clone()
        };
        files::write_secret(&paths.enrollment(), &serde_json::to_vec_pretty(&checked)?)
    }

    /// Parses the pinned keys.
    ///
    /// # Errors
    /// One of them is no key; the message names it.
    pub(crate) fn pins(&self) -> anyhow::Result<Pins> {
        let many = |name: &str, keys: &[Bytes]| keys.iter().map(|key| ed25519(name, key)).collect();
        let compliance = self.compliance_key.0.as_slice().try_into();
        let authors: anyhow::Result<Vec<_>> = many("author_keys", &self.author_keys);
        let approvers: anyhow::Result<Vec<_>> = many("approver_keys", &self.approver_keys);
        Ok(Pins {
            directory_log_key: self.directory_log_key.clone(),
            acceptance: ed25519("acceptance_key", &self.acceptance_key)?,
            external_sender: ed25519("external_sender_key", &self.external_sender_key)?,
            timestamp: ed25519("timestamp_key", &self.timestamp_key)?,
            compliance: compliance.map_err(|_| bad_pin("compliance_key"))?,
            trust: Trust {
                tenant: self.tenant.clone(),
                authors: authors?,
                approvers: approvers?,
            },
        })
    }
}

fn ed25519(name: &str, key: &Bytes) -> anyhow::Result<Ed25519PublicKey> {
    let bytes: &[u8; 32] = key.0.as_slice().try_into().map_err(|_| bad_pin(name))?;
    Ed25519PublicKey::from_bytes(bytes).map_err(|_| bad_pin(name))
}

fn bad_pin(name: &str) -> anyhow::Error {
    anyhow::anyhow!("`{name}` of the enrollment is no key; ask the administrator for a new token file")
}
