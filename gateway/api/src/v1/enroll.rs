//! `POST /v1/enroll`: without a client certificate; the token is the authority (E1-E3, K5).
//!
//! 201 with [`EnrollResponse`], or 202 with [`Waiting`] where an administrator must approve first. The same request may
//! be sent again, and is answered alike: an answer that was lost, and one that was waited for, are fetched so.

use policies::terms::{AudienceClass, DeviceId, Digest, PersonId, TenantId};
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;

/// Path of the route.
pub const PATH: &str = "/v1/enroll";

/// What a new device asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrollRequest {
    /// The token.
    pub token: Bytes,
    /// The device that enrols again with the key that is logged for it, because its identity does not hold any more
    /// (E8). None for a new device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<DeviceId>,
    /// [`binding_digest`] of the device's host name, for a token that is bound to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Digest>,
    /// [`binding_digest`] of the machine's serial number, for a token that is bound to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<Digest>,
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

/// An administrator must compare the fingerprint with the one that the device shows, and approve (E1).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    /// [`fingerprint`] of the device key.
    pub fingerprint: String,
}

/// What people compare: the first 16 bytes of the SHA-256 of the device key, in groups of four hex digits.
#[must_use]
pub fn fingerprint(device_key: &[u8]) -> String {
    let digits = Digest::of(device_key).to_string();
    let groups: Vec<&str> = (0..8)
        .filter_map(|group| digits.get(group * 4..group * 4 + 4))
        .collect();
    groups.join("-")
}

/// What binds a token to a host or a serial number, of which neither is stored or sent in clear: SHA-256 of
/// `"sealgate/binding/1" || token || name`, the name in lower case.
#[must_use]
pub fn binding_digest(token: &[u8], name: &str) -> Digest {
    let mut message = b"sealgate/binding/1".to_vec();
    message.extend(token);
    message.extend(name.trim().to_lowercase().as_bytes());
    Digest::of(&message)
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
