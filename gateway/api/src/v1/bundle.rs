//! `GET /v1/bundle`: the bundle in force, with its ETag (`"<digest>"`); `If-None-Match` answers 304. `POST
//! /v1/bundle/ack`: how far a device came with a bundle (B10).

use serde::{Deserialize, Serialize};

/// Path of the route. Query `wait_s=` (at most 55) makes it a long poll when the ETag matches.
pub const PATH: &str = "/v1/bundle";
/// Header with the signed timestamp that proves freshness (K6), base64url.
pub const TIMESTAMP_HEADER: &str = "Sealgate-Timestamp";
/// `POST`: [`Ack`], answered with 204.
pub const ACK_PATH: &str = "/v1/bundle/ack";

/// How far a device came with a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ack {
    /// The bundle's version.
    pub version: u64,
    /// What became of it.
    pub state: AckState,
    /// Why, for a bundle that was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Rejection>,
    /// The version that is in force on the device; 0 for none.
    pub active: u64,
}

/// The way of a bundle on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AckState {
    /// It arrived.
    Downloaded,
    /// Signatures, version, time and log entry are right.
    Verified,
    /// It decides.
    Active,
    /// It does not decide here.
    Rejected,
}

/// Why a device does not decide by a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rejection {
    /// Signatures, version, time or log entry are not right.
    NotVerified,
    /// The policy does not compile on this device.
    Invalid,
    /// One of the policy's own tests does not hold on this device.
    TestFailed,
    /// The trial took too long, needed too much memory, or died.
    Budget,
    /// The agent crashed three times within ten minutes of its activation, and returned to the one before (B7).
    Crashes,
}

impl AckState {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Downloaded => "downloaded",
            Self::Verified => "verified",
            Self::Active => "active",
            Self::Rejected => "rejected",
        }
    }
}

impl Rejection {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotVerified => "not-verified",
            Self::Invalid => "invalid",
            Self::TestFailed => "test-failed",
            Self::Budget => "budget",
            Self::Crashes => "crashes",
        }
    }
}
