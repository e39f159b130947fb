//! The enrollment file: everything an agent pins, handed over by the administrator (E2, K6). None of it is
//! ever taken from the network.

use policies::terms::TenantId;
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;

/// Written by `sealgate token add --out FILE` (mode 0600), read once by `sealgate-agent enroll`. TOML.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrollmentFile {
    /// The token, 256 bits.
    pub token: Bytes,
    /// When the token expires, Unix seconds.
    pub expires_s: u64,
    /// Whether the token counts on one host only: the device then says a digest of its name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bound_to_host: bool,
    /// The same for the machine's serial number.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bound_to_serial: bool,
    /// `https://host:port` of the gateway.
    pub gateway_url: String,
    /// Whom the gateway serves.
    pub tenant: TenantId,
    /// The gateway's certificate authority, PEM.
    pub ca_pem: String,
    /// Verifier key of the directory log (C2SP signed-note vkey text).
    pub directory_log_key: String,
    /// Verifier key of the ledger (vkey text).
    pub ledger_log_key: String,
    /// Ed25519 key of acceptances and refusals, 32 B.
    pub acceptance_key: Bytes,
    /// Ed25519 key of the gateway's external Remove proposals, 32 B.
    pub external_sender_key: Bytes,
    /// Ed25519 key of bundle timestamps, 32 B.
    pub timestamp_key: Bytes,
    /// Ed25519 keys of policy authors, 32 B each.
    pub author_keys: Vec<Bytes>,
    /// Ed25519 keys of policy approvers, 32 B each.
    pub approver_keys: Vec<Bytes>,
    /// HPKE public key (X25519) of the tenant's compliance officer, 32 B.
    pub compliance_key: Bytes,
}

impl std::fmt::Debug for EnrollmentFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnrollmentFile")
            .field("tenant", &self.tenant)
            .field("expires_s", &self.expires_s)
            .finish_non_exhaustive()
    }
}
