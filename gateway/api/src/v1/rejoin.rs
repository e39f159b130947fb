//! A device that lost its MLS state, or is too far behind, comes back (K4, M4, M5, M7): first an entry of the
//! directory log, then one external commit per audience.

use policies::terms::AudienceId;
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;

/// `POST`: [`RejoinRequest`] -> [`RejoinResponse`].
pub const PATH: &str = "/v1/rejoin";

/// Header of a story's `POST` with the sender's [`StateMark`], as text.
pub const STATE_HEADER: &str = "Sealgate-State";

/// `GET`: -> [`PublicState`], for devices that have a leaf in the group.
#[must_use]
pub fn public_state_path(group: AudienceId) -> String {
    format!("{}/{group}/public-state", super::groups::PATH)
}

/// `POST`: [`ExternalCommit`] -> [`super::groups::Committed`]; 409 when another commit won the epoch. Sending the
/// same again answers the original place.
#[must_use]
pub fn external_commit_path(group: AudienceId) -> String {
    format!("{}/{group}/external-commit", super::groups::PATH)
}

/// `POST` without a body, for a device that lost its leaf key too: the gateway proposes the removal of its old leaf,
/// and a member then adds the device anew.
#[must_use]
pub fn readmission_path(group: AudienceId) -> String {
    format!("{}/{group}/readmission", super::groups::PATH)
}

/// How far a device's MLS state has come (M7). It only rises, except that a logged rejoin begins a new count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateMark {
    /// Index of the device's last `device-rejoin` entry; 0 for none, which is always another entry's.
    pub rejoin: u64,
    /// Changes of the state that were made durable since then.
    pub count: u64,
}

impl std::fmt::Display for StateMark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.rejoin, self.count)
    }
}

/// The text is no [`StateMark`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a state mark is two numbers with a point between them")]
pub struct InvalidStateMark;

impl std::str::FromStr for StateMark {
    type Err = InvalidStateMark;

    fn from_str(text: &str) -> Result<Self, InvalidStateMark> {
        let (rejoin, count) = text.split_once('.').ok_or(InvalidStateMark)?;
        Ok(Self {
            rejoin: rejoin.parse().map_err(|_| InvalidStateMark)?,
            count: count.parse().map_err(|_| InvalidStateMark)?,
        })
    }
}

/// What the device asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RejoinRequest {
    /// Entries of the directory log that the device has followed. If the log holds a `device-rejoin` of the device at
    /// or behind this size, that one is the answer and nothing is logged: the same request may be sent again.
    pub directory_size: u64,
    /// Whether the MLS state is gone: key packages that were made with it are dropped then.
    pub state_lost: bool,
    /// ES256 (64 B, r || s) by the device key over `policies::rejoin::request_message`.
    pub proof: Bytes,
}

/// What the gateway answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RejoinResponse {
    /// Index of the `device-rejoin` entry.
    pub log_index: u64,
    /// The groups in which the device has a leaf.
    pub groups: Vec<AudienceId>,
}

/// What a device needs for an external commit (K9).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicState {
    /// `MLSMessage` with the GroupInfo that the last committer signed.
    pub group_info: Bytes,
    /// The ratchet tree of the same epoch.
    pub ratchet_tree: Bytes,
}

/// An external commit.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalCommit {
    /// `MLSMessage`, a public message.
    pub commit: Bytes,
    /// `MLSMessage` with the GroupInfo after the commit.
    pub group_info: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_survives_the_header() {
        let mark = StateMark { rejoin: 7, count: 90 };
        assert_eq!(mark.to_string().parse(), Ok(mark));
        for text in ["", "7", "7.", ".9", "7.9.1", "-1.2", "a.b"] {
            assert_eq!(text.parse::<StateMark>(), Err(InvalidStateMark), "{text}");
        }
    }

    /// M7: a rejoin counts for more than any number of changes before it.
    #[test]
    fn later_rejoin_is_ahead_of_every_count_before_it() {
        let before = StateMark {
            rejoin: 3,
            count: 900,
        };
        assert!(StateMark { rejoin: 4, count: 0 } > before);
        assert!(
            StateMark {
                rejoin: 3,
                count: 899
            } < before
        );
    }
}
