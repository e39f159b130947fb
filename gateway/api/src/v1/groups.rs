//! Audiences on the wire: MLS groups, followed by the gateway without any key (M1, M2).

use policies::terms::{AudienceClass, AudienceId, DeviceId};
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;

/// `POST`: [`Create`] -> [`GroupState`].
pub const PATH: &str = "/v1/groups";

/// `GET`: -> [`GroupState`], for members.
#[must_use]
pub fn path(group: AudienceId) -> String {
    format!("{PATH}/{group}")
}

/// `POST`: [`Commit`] -> [`Committed`]; 409 when another commit won the epoch.
#[must_use]
pub fn commits_path(group: AudienceId) -> String {
    format!("{PATH}/{group}/commits")
}

/// `POST`: [`Proposal`] -> [`Committed`]; a member's self-Remove only.
#[must_use]
pub fn proposals_path(group: AudienceId) -> String {
    format!("{PATH}/{group}/proposals")
}

/// A new group.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Create {
    /// `MLSMessage` with the signed GroupInfo (without the tree).
    pub group_info: Bytes,
    /// The ratchet tree, TLS-encoded.
    pub ratchet_tree: Bytes,
}

/// What the gateway's keyless view of the group is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupState {
    /// The group.
    pub group: AudienceId,
    /// Its current epoch.
    pub epoch: u64,
    /// Tree hash of that epoch.
    pub tree_hash: Bytes,
    /// `guest` if any device of it is an outsider's (K9).
    pub class: AudienceClass,
    /// Devices in it, in leaf order.
    pub devices: Vec<DeviceId>,
    /// Whether a removal must be committed before the next story.
    pub removal_pending: bool,
    /// Sequence number of the last item of its log; a joiner's cursor starts behind its Welcome's.
    pub sequence: u64,
}

/// A commit with what its joiners need.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commit {
    /// `MLSMessage`, a public message.
    pub commit: Bytes,
    /// `MLSMessage` with the Welcome, if the commit adds anybody.
    pub welcome: Option<Bytes>,
    /// `MLSMessage` with the GroupInfo after the commit.
    pub group_info: Bytes,
    /// The devices that the commit adds: receivers of the Welcome.
    pub joiners: Vec<DeviceId>,
}

/// A proposal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// `MLSMessage`, a public message.
    pub proposal: Bytes,
}

/// Where it stands in the group's log.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Committed {
    /// The group's epoch after it.
    pub epoch: u64,
    /// Sequence number in the group's log.
    pub sequence: u64,
}
