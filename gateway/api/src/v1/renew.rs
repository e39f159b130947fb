//! `POST /v1/renew`: the next TLS certificate of a device (E4, E5), over mTLS with the one that it has. The gateway
//! takes one that has ended here too, and nowhere else.

use policies::terms::{DeviceId, Digest, TenantId};
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;

/// Path of the route.
pub const PATH: &str = "/v1/renew";

/// What the device asks. The same request may be sent again: the answer is the same certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// PKCS#10 request of a TLS key that was never certified, PEM. Its names and extensions are ignored (E3).
    pub csr_pem: String,
    /// ES256 (64 B, r || s) by the device key over [`proof_message`]: a stolen TLS key alone renews nothing.
    pub proof: Bytes,
    /// Where the agent runs.
    #[serde(default)]
    pub origin: Origin,
}

/// What the gateway answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewResponse {
    /// TLS client certificate, PEM.
    pub certificate_pem: String,
    /// How many TLS keys the device has had, this one included.
    pub generation: u64,
}

/// Where an agent runs (E7). Digests that differ from device to device, so that two devices of one machine cannot be
/// told to be that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// [`origin_digest`] of the operating system's machine id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Digest>,
    /// [`origin_digest`] of the kernel's boot id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<Digest>,
}

/// SHA-256 of `"sealgate/origin/1" || device || id`.
#[must_use]
pub fn origin_digest(device: DeviceId, id: &str) -> Digest {
    let mut message = b"sealgate/origin/1".to_vec();
    message.extend(device.as_bytes());
    message.extend(id.as_bytes());
    Digest::of(&message)
}

/// The bytes that the device key signs: `"sealgate/renew/1" || len || tenant || device || csr_pem`, the length as u64
/// big-endian.
#[must_use]
pub fn proof_message(tenant: &TenantId, device: DeviceId, csr_pem: &str) -> Vec<u8> {
    let mut message = b"sealgate/renew/1".to_vec();
    message.extend((tenant.as_str().len() as u64).to_be_bytes());
    message.extend(tenant.as_str().as_bytes());
    message.extend(device.as_bytes());
    message.extend(csr_pem.as_bytes());
    message
}
