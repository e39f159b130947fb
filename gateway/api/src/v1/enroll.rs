//! `POST /v1/enroll`: without a client certificate; the token is the authority (E1-E3, K5).

use policies::terms::{AudienceClass, DeviceId, PersonId, TenantId};
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;

/// Path of the route.
pub const PATH: &str = "/v1/enroll";

/// What a new device asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrollRequest {
    /// The single-use token.
    pub token: Bytes,
    /// PKCS#10 request of the TLS key, PEM. Its names and extensions are ignored (E3).
    pub csr_pem: String,
    /// The long-lived device key, P-256, SEC1 compressed, 33 B.
    pub device_key: Bytes,
    /// ES256 (64 B, r || s) by the device key over [`proof_message`].
    pub proof: Bytes,
    /// The agent's version, for the record.
    pub agent_version: String,
}

/// What the gateway answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrollResponse {
    /// The device's id, chosen by the gateway.
    pub device: DeviceId,
    /// Whose device it is, bound by the token.
    pub person: PersonId,
    /// Whether the device is an outsider's (K9).
    pub class: AudienceClass,
    /// Whom the gateway serves.
    pub tenant: TenantId,
    /// TLS client certificate, PEM.
    pub certificate_pem: String,
    /// Index of the device-add entry in the directory log.
    pub log_index: u64,
}

/// The bytes that the device key signs: `"sealgate/enroll/1" || len || token || len || csr_pem`, lengths as
/// u64 big-endian.
#[must_use]
pub fn proof_message(token: &[u8], csr_pem: &str) -> Vec<u8> {
    let mut message = b"sealgate/enroll/1".to_vec();
    for part in [token, csr_pem.as_bytes()] {
        message.extend((part.len() as u64).to_be_bytes());
        message.extend(part);
    }
    message
}
