//! Stories: an envelope with its clearance (K12-K14).

use policies::terms::{AudienceId, Cti};
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;

/// Header that carries the clearance: base64url of the COSE_Sign1 bytes.
pub const CLEARANCE_HEADER: &str = "Sealgate-Clearance";

/// `POST`: body = the envelope's bytes, header = its clearance -> 201 [`Accepted`]; a problem with a signed
/// refusal otherwise. Sending the same again answers the original receipt (K13).
#[must_use]
pub fn post_path(group: AudienceId) -> String {
    format!("/v1/groups/{group}/stories")
}

/// `GET`: -> [`Accepted`] if the gateway holds the sender's story under this id, else 404 (K13).
#[must_use]
pub fn path(cti: Cti) -> String {
    format!("/v1/stories/{cti}")
}

/// `POST` without a body: the author takes the story back (D5) -> [`Revoked`].
#[must_use]
pub fn revoke_path(cti: Cti) -> String {
    format!("/v1/stories/{cti}/revoke")
}

/// The gateway holds the story durably.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// Signed acceptance: `receipt::Acceptance` as COSE_Sign1.
    pub acceptance: Bytes,
}

/// The story's key and object are gone at the gateway.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    /// Unix seconds.
    pub at_s: u64,
}
