//! `POST /v1/sync`: one long poll for everything that concerns the device (K15): its inbox, and the log of
//! each group that it is in, each behind the cursor given. A cursor acknowledges what lies before it.

use std::collections::{BTreeMap, BTreeSet};

use policies::terms::{AudienceId, Cti, DeviceId};
use serde::{Deserialize, Serialize};

use super::rejoin::StateMark;
use super::renew::Origin;
use crate::bytes::Bytes;

/// Path of the route.
pub const PATH: &str = "/v1/sync";

/// Where the device stands.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncRequest {
    /// Last inbox item that the device has durably processed; 0 for none.
    pub inbox: u64,
    /// Per group, the last item that the device has durably processed.
    pub groups: BTreeMap<AudienceId, u64>,
    /// Version of the policy in force on the device; 0 for none. A newer one ends the wait.
    pub policy_version: u64,
    /// Size of the directory log that the device has followed. A larger one ends the wait.
    pub directory_size: u64,
    /// How long to wait for something new, at most 55 s.
    pub wait_s: u32,
    /// How far the device's MLS state has come; a device that was seen further on is refused (M7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateMark>,
    /// Where the agent runs: two places at once are two copies of one device (E7).
    #[serde(default)]
    pub origin: Origin,
}

/// What is new, or nothing after the wait.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncResponse {
    /// Items behind the inbox cursor, in order.
    pub inbox: Vec<InboxItem>,
    /// Items behind each group's cursor, in order.
    pub groups: BTreeMap<AudienceId, Vec<GroupItem>>,
    /// Groups whose log no longer reaches back to the device's cursor (K16): it rejoins them (M5).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub behind: BTreeSet<AudienceId>,
    /// Groups that the device named and the gateway has never had: it was restored from a backup of before them (K7).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unknown: BTreeSet<AudienceId>,
    /// Whether more is waiting than this answer holds.
    pub more: bool,
    /// Version of the bundle in force; 0 for none.
    pub policy_version: u64,
    /// Size of the directory log.
    pub directory_size: u64,
    /// The gateway's time, Unix seconds.
    pub now_s: u64,
}

/// Something for this device alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InboxItem {
    /// Rising per device, from 1; a story that has ended leaves a gap.
    pub sequence: u64,
    /// What it is.
    pub body: InboxBody,
}

/// What an inbox holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum InboxBody {
    /// The device has been added to a group.
    Welcome {
        /// The group.
        group: AudienceId,
        /// `MLSMessage` with the Welcome.
        welcome: Bytes,
        /// The ratchet tree.
        ratchet_tree: Bytes,
        /// Who committed the addition.
        by: DeviceId,
        /// Sequence of that commit in the group's log: the device's first cursor there.
        sequence: u64,
    },
    /// The gateway sees that the group's tree is cold after a bulk add, and asks the device for one commit that renews
    /// its keys (M9). A hint: not to follow it costs posters some bytes.
    Renew {
        /// The group.
        group: AudienceId,
    },
    /// A story of an app that seals by itself, for a list that the device is on (K17).
    Story {
        /// The signed list that its clearance names (`policies::device_list`).
        list: Bytes,
        /// What the app sealed, byte for byte.
        envelope: Bytes,
        /// Its clearance.
        clearance: Bytes,
        /// The gateway's acceptance (K14); its group is the list.
        acceptance: Bytes,
    },
    /// The author took such a story back: forget it.
    Revoked {
        /// The story.
        cti: Cti,
    },
}

/// Something for all devices of a group.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupItem {
    /// Rising per group.
    pub sequence: u64,
    /// What it is.
    pub body: GroupBody,
}

/// What a group's log holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum GroupBody {
    /// A commit.
    Commit {
        /// `MLSMessage`.
        message: Bytes,
    },
    /// A proposal: the gateway's Remove, or a member's own.
    Proposal {
        /// `MLSMessage`.
        message: Bytes,
    },
    /// A story.
    Story {
        /// The envelope: `MLSMessage`, a private message.
        envelope: Bytes,
        /// Its clearance.
        clearance: Bytes,
        /// The gateway's acceptance (K14).
        acceptance: Bytes,
    },
    /// The author took a story back: forget it.
    Revoked {
        /// The story.
        cti: Cti,
    },
}
