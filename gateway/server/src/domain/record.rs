//! What the ledger holds: a kind, whom it is about, and a payload that is readable under that person's key alone.

use policies::terms::{Digest, EntryId, PersonId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::random;
use crate::limits;

macro_rules! kinds {
    ($($variant:ident => $name:literal;)+) => {
        /// Kinds of entries. The names are stable: searches and auditors use them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub(crate) enum Kind { $(#[serde(rename = $name)] $variant,)+ }

        impl Kind {
            /// Every kind.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)+];

            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

kinds! {
    Person => "person";
    Group => "group";
    Token => "token";
    Enroll => "enroll";
    EnrollDecision => "enroll-decision";
    Renew => "renew";
    DeviceQuarantine => "device-quarantine";
    DeviceRelease => "device-release";
    Unenroll => "unenroll";
    DeviceRevoke => "device-revoke";
    DeviceRejoin => "device-rejoin";
    Audience => "audience";
    Relay => "relay";
    Refusal => "refusal";
    ReplayRefused => "replay-refused";
    StoryRevoke => "story-revoke";
    Event => "event";
    FalsePositive => "false-positive";
    EventGap => "event-gap";
    Bundle => "bundle";
    PolicyRejected => "policy-rejected";
    Purge => "purge";
    DeletionReceipt => "deletion-receipt";
    DeletionReconciliation => "deletion-reconciliation";
    NoEffect => "no-effect";
    Clock => "clock";
    Space => "space";
    LogRead => "log-read";
    LogExport => "log-export";
    LogOpen => "log-open";
    Backup => "backup";
    Restore => "restore";
    Shred => "shred";
}

/// One entry to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
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

/// Ids for a payload. A list that could outgrow an entry is cut, with its length and the SHA-256 of all its ids
/// (in text, each with a line end), so that whoever has the list can prove that it is this one.
pub(crate) fn listed<'a, T: std::fmt::Display + 'a>(ids: impl IntoIterator<Item = &'a T>) -> Value {
    let ids: Vec<String> = ids.into_iter().map(ToString::to_string).collect();
    if ids.len() <= limits::LISTED_IDS_MAX {
        return ids.into();
    }
    let all: String = ids.iter().map(|id| format!("{id}\n")).collect();
    let first: Vec<&String> = ids.iter().take(limits::LISTED_IDS_MAX).collect();
    json!({ "count": ids.len(), "sha256": Digest::of(all.as_bytes()), "first": first })
}

#[cfg(test)]
mod tests {
    use policies::terms::DeviceId;

    use super::*;

    /// What is owed to the ledger is kept in the names that the ledger uses.
    #[test]
    fn kept_record_reads_back() {
        for kind in [Kind::DeviceRevoke, Kind::Purge, Kind::NoEffect] {
            let kept = serde_json::to_string(&Record::new(kind, None, 1, json!({})).unwrap()).unwrap();
            assert!(kept.contains(&format!("{:?}", kind.as_str())), "{kept}");
            assert_eq!(serde_json::from_str::<Record>(&kept).unwrap().kind, kind);
        }
    }

    /// An entry takes 65,535 B (K27): not even the largest audience, added and removed at once, outgrows it.
    #[test]
    fn long_lists_fit_an_entry() {
        let ids: Vec<DeviceId> = (0..2_000_u128)
            .map(|n| DeviceId::from_bytes(n.to_be_bytes()))
            .collect();
        let payload = json!({ "added": listed(&ids), "removed": listed(&ids) });
        assert!(payload.to_string().len() < 60_000);
        assert_eq!(listed(&ids)["count"], 2_000);
        assert_eq!(listed(ids.iter().take(2)).as_array().unwrap().len(), 2);
    }
}
