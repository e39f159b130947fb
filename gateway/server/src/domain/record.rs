//! What the ledger holds: a kind, whom it is about, and a payload that is readable under that person's key alone.

use policies::terms::{EntryId, PersonId};
use serde_json::Value;

use super::random;

/// Kinds of entries. The names are stable: searches and auditors use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Person,
    Group,
    Token,
    Enroll,
    DeviceRevoke,
    Audience,
    Relay,
    Refusal,
    ReplayRefused,
    StoryRevoke,
    Event,
    EventGap,
    Bundle,
    Purge,
    Clock,
    LogRead,
    LogExport,
    LogOpen,
}

impl Kind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Group => "group",
            Self::Token => "token",
            Self::Enroll => "enroll",
            Self::DeviceRevoke => "device-revoke",
            Self::Audience => "audience",
            Self::Relay => "relay",
            Self::Refusal => "refusal",
            Self::ReplayRefused => "replay-refused",
            Self::StoryRevoke => "story-revoke",
            Self::Event => "event",
            Self::EventGap => "event-gap",
            Self::Bundle => "bundle",
            Self::Purge => "purge",
            Self::Clock => "clock",
            Self::LogRead => "log-read",
            Self::LogExport => "log-export",
            Self::LogOpen => "log-open",
        }
    }
}

/// One entry to be.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) entry: EntryId,
    pub(crate) kind: Kind,
    /// Whose key encrypts the payload; none for the gateway's own acts.
    pub(crate) subject: Option<PersonId>,
    pub(crate) policy_version: u64,
    pub(crate) payload: Value,
}

impl Record {
    pub(crate) fn new(
        kind: Kind,
        subject: Option<PersonId>,
        policy_version: u64,
        payload: Value,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            entry: EntryId::from_bytes(random::bytes()?),
            kind,
            subject,
            policy_version,
            payload,
        })
    }
}
