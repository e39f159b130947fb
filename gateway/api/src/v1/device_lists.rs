//! Device lists: audiences of apps that seal by themselves, and their stories (A12, K17).

use policies::terms::{AudienceClass, AudienceId};
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;

/// `POST`: [`Define`] -> 201 [`DeviceListState`]. Sending the same again answers the same.
pub const PATH: &str = "/v1/device-lists";

/// `GET`: -> [`DeviceListState`], for the devices on the list.
#[must_use]
pub fn path(list: AudienceId) -> String {
    format!("{PATH}/{list}")
}

/// `POST`: body = what the app sealed, header [`CLEARANCE_HEADER`](super::stories::CLEARANCE_HEADER) = its clearance ->
/// 201 [`Accepted`](super::stories::Accepted); a problem with a signed refusal otherwise. As for a group's stories,
/// sending the same again answers the original receipt (K13), and `super::stories` asks for it and takes it back.
#[must_use]
pub fn post_path(list: AudienceId) -> String {
    format!("{PATH}/{list}/stories")
}

/// A list, or the next version of one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Define {
    /// `policies::device_list::DeviceList`, signed by the device that asks.
    pub list: Bytes,
}

/// The version in force.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceListState {
    /// The signed list.
    pub list: Bytes,
    /// `guest` if any device on it is an outsider's (K9).
    pub class: AudienceClass,
}
