//! Key packages (RFC 9420, section 10): uploaded by their device, claimed by whoever adds it.

use policies::terms::DeviceId;
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;

/// `POST`: [`Upload`] -> [`Stock`]. `GET`: -> [`Stock`].
pub const PATH: &str = "/v1/key-packages";
/// `POST`: [`Claim`] -> [`Claimed`].
pub const CLAIM_PATH: &str = "/v1/key-packages/claim";

/// A batch of one's own key packages (each an `MLSMessage`).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upload {
    /// Handed out once each.
    pub one_time: Vec<Bytes>,
    /// Handed out when none is left; replaces the earlier one.
    pub last_resort: Option<Bytes>,
    /// Whether the earlier ones that nobody claimed go: nobody may add a device by an old one (K11).
    #[serde(default)]
    pub renew: bool,
}

/// How many one-time packages are left.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stock {
    /// One-time packages not yet claimed.
    pub one_time: u32,
}

/// Whose packages are wanted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// One package is claimed for each.
    pub devices: Vec<DeviceId>,
}

/// What was there.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claimed {
    /// In the order asked; a device without any package is left out.
    pub key_packages: Vec<ClaimedKeyPackage>,
}

/// One device's package.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimedKeyPackage {
    /// Whose.
    pub device: DeviceId,
    /// The `MLSMessage` with the key package.
    pub key_package: Bytes,
}
