//! `POST /v1/events`: what agents report (K25). Coarse by construction: this file is the whole list of
//! fields that leave a device beside a story, and the employee is shown the same structure.

use std::collections::BTreeMap;

use policies::terms::{
    Action, App, AudienceClass, Confidence, DeviceId, Digest, EventId, Family, Label, RuleId,
};
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;

/// Path of the route.
pub const PATH: &str = "/v1/events";
/// Events in one batch.
pub const BATCH_MAX: usize = 500;
/// Bytes of one batch, as JSON and as it is sent: zstd (RFC 8878, `Content-Encoding: zstd`), or the JSON itself (S6).
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Binary logarithm of the largest zstd window: a batch fits it, and a stranger's frame claims no more memory.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 20;
/// Rules, and families, that one event names: keeps it far below what a ledger entry takes.
pub const TERMS_MAX: usize = 64;
/// Labels of one event.
pub const LABELS_MAX: usize = 8;
/// Bytes of the sealed part: two blocks of padding, the HPKE key and tag, and room.
pub const SEALED_BYTES_MAX: usize = 2_048;

/// A batch, in order of `sequence`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upload {
    /// The device's wall clock as the batch leaves, Unix seconds: tells how far it is off (S7).
    #[serde(default)]
    pub sent_s: Option<u64>,
    /// At most [`BATCH_MAX`].
    pub events: Vec<Event>,
}

/// Which events are durable: the agent may forget them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledged {
    /// Ids of the upload, those known before included (S2).
    pub ids: Vec<EventId>,
}

/// One decision on a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Random; makes ingest idempotent.
    pub id: EventId,
    /// Gap-free per device (S3).
    pub sequence: u64,
    /// Device time, Unix seconds.
    pub at_s: u64,
    /// What happened.
    pub kind: EventKind,
    /// Class of the audience.
    pub audience_class: AudienceClass,
    /// The action decided.
    pub action: Action,
    /// Rules that fired.
    pub rules: Vec<RuleId>,
    /// Labels of the draft.
    pub labels: Vec<Label>,
    /// The app.
    pub app: App,
    /// Version of the policy that decided.
    pub policy_version: u64,
    /// Coarse findings, per family.
    pub features: BTreeMap<Family, Feature>,
    /// Size of the draft.
    pub size: SizeBucket,
    /// Exact findings and the justification, sealed to the compliance key (HPKE, padded).
    pub sealed: Option<Bytes>,
    /// Its link in the chain of what this device reports (S3); none from an agent that keeps no chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<ChainLink>,
    /// It is the last of several blocks that could not be recorded as they happened (S5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unrecorded: Option<Unrecorded>,
}

/// Blocks that have no event of their own: the device's disk or spool was full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unrecorded {
    /// How many, beside the one that tells of them.
    pub others: u64,
    /// When the first was, device time, Unix seconds.
    pub from_s: u64,
}

/// Ties an event to the one before it, so that none can be removed, altered or moved unseen (S3). Taken as the event got
/// its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainLink {
    /// [`Event::digest`] of the event before; none where a chain begins.
    pub before: Option<Digest>,
    /// [`boot_digest`] of the running boot: another one after each start of the machine.
    pub boot: Digest,
    /// Nanoseconds since that boot, sleep included: nobody sets this clock.
    pub since_boot_ns: u64,
    /// The wall clock as it stood, Unix seconds.
    pub wall_s: u64,
}

/// What stands for a boot on the wire: tells two boots of a device apart and nothing else, since the id of a boot is
/// random and the same for every program of the machine.
#[must_use]
pub fn boot_digest(device: DeviceId, boot_id: &str) -> Digest {
    Digest::of(format!("sealgate/boot/1\n{device}\n{boot_id}").as_bytes())
}

impl Event {
    /// SHA-256 over `"sealgate/event/1\n"` and the event's JSON, its link included: what the next event names. Fields that
    /// are added must be absent from the JSON where an agent does not know them, so that both ends get the same digest.
    ///
    /// # Errors
    /// Serde's.
    pub fn digest(&self) -> serde_json::Result<Digest> {
        let mut message = b"sealgate/event/1\n".to_vec();
        serde_json::to_writer(&mut message, self)?;
        Ok(Digest::of(&message))
    }

    /// Whether each list and the sealed part are as short as a ledger entry needs them.
    #[must_use]
    pub fn is_within_bounds(&self) -> bool {
        self.rules.len() <= TERMS_MAX
            && self.labels.len() <= LABELS_MAX
            && self.features.len() <= TERMS_MAX
            && self
                .sealed
                .as_ref()
                .is_none_or(|sealed| sealed.0.len() <= SEALED_BYTES_MAX)
    }
}

/// What happened to a draft, or what its author says of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Nothing was sealed.
    Blocked,
    /// Sealed and accepted by the gateway.
    Shared,
    /// Sealed, refused by the gateway.
    Refused,
    /// Its author says that a finding is none. `rules` and `features` are those of this finding alone; `sealed` holds
    /// the detector, the author's comment and, only where the author chose it, the matched text.
    FalsePositive,
}

impl EventKind {
    /// Every kind, in order.
    pub const ALL: [Self; 4] = [Self::Blocked, Self::Shared, Self::Refused, Self::FalsePositive];
}

/// A family's findings, coarse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// How many.
    pub count: CountBucket,
    /// The highest.
    pub confidence: Confidence,
}

/// How many, coarse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CountBucket {
    /// 1
    #[serde(rename = "1")]
    One,
    /// 2 to 4
    #[serde(rename = "2-4")]
    Few,
    /// 5 to 9
    #[serde(rename = "5-9")]
    Several,
    /// 10 or more
    #[serde(rename = "10+")]
    Many,
}

impl CountBucket {
    /// The bucket of a count; zero counts as one, since a feature exists only where something was found.
    #[must_use]
    pub const fn of(count: u32) -> Self {
        match count {
            0 | 1 => Self::One,
            2..=4 => Self::Few,
            5..=9 => Self::Several,
            10.. => Self::Many,
        }
    }
}

/// How large, coarse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SizeBucket {
    /// below 4 KiB
    #[serde(rename = "<4KiB")]
    Small,
    /// below 256 KiB
    #[serde(rename = "<256KiB")]
    Medium,
    /// below 16 MiB
    #[serde(rename = "<16MiB")]
    Large,
    /// 16 MiB or more
    #[serde(rename = ">=16MiB")]
    Huge,
}

impl SizeBucket {
    /// The bucket of a size in bytes.
    #[must_use]
    pub const fn of(size_bytes: u64) -> Self {
        match size_bytes {
            0..4_096 => Self::Small,
            4_096..262_144 => Self::Medium,
            262_144..16_777_216 => Self::Large,
            16_777_216.. => Self::Huge,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            id: EventId::from_bytes([1; 16]),
            sequence: 1,
            at_s: 2,
            kind: EventKind::Blocked,
            audience_class: AudienceClass::Internal,
            action: Action::Block,
            rules: vec![],
            labels: vec![],
            app: App::parse("sealgate").unwrap(),
            policy_version: 3,
            features: BTreeMap::new(),
            size: SizeBucket::of(10),
            sealed: None,
            link: Some(ChainLink {
                before: None,
                boot: boot_digest(DeviceId::from_bytes([2; 16]), "boot"),
                since_boot_ns: 5,
                wall_s: 7,
            }),
            unrecorded: Some(Unrecorded { others: 2, from_s: 1 }),
        }
    }

    #[test]
    fn event_with_a_longer_sealed_part_or_list_is_out_of_bounds() {
        let sealed = |size| Event {
            sealed: Some(Bytes(vec![0; size])),
            ..event()
        };
        assert!(event().is_within_bounds());
        assert!(sealed(SEALED_BYTES_MAX).is_within_bounds());
        assert!(!sealed(SEALED_BYTES_MAX + 1).is_within_bounds());
        let labels = vec![Label::parse("confidential").unwrap(); LABELS_MAX + 1];
        assert!(!Event { labels, ..event() }.is_within_bounds());
        let rules = vec![RuleId::parse("secrets").unwrap(); TERMS_MAX + 1];
        assert!(!Event { rules, ..event() }.is_within_bounds());
    }

    /// K25, R6: the collected fields, as the employee is shown them.
    #[test]
    fn collected_fields_are_exactly_these() {
        let value = serde_json::to_value(event()).unwrap();
        let fields: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            fields,
            [
                "action",
                "app",
                "at_s",
                "audience_class",
                "features",
                "id",
                "kind",
                "labels",
                "link",
                "policy_version",
                "rules",
                "sealed",
                "sequence",
                "size",
                "unrecorded"
            ]
        );
        let link = value.get("link").and_then(serde_json::Value::as_object).unwrap();
        assert!(link.keys().eq(["before", "boot", "since_boot_ns", "wall_s"]));
    }

    /// S3: every field counts, and an event of an agent that knows no chain has the bytes, and the digest, that it had.
    #[test]
    fn digest_is_of_all_that_an_event_says() {
        let digest = event().digest().unwrap();
        let moved = Event {
            sequence: 2,
            ..event()
        };
        let altered = Event {
            action: Action::Allow,
            ..event()
        };
        let unlinked = Event {
            link: None,
            unrecorded: None,
            ..event()
        };
        assert!(
            [moved, altered, unlinked.clone()]
                .iter()
                .all(|other| other.digest().unwrap() != digest)
        );

        let earlier = serde_json::to_string(&unlinked).unwrap();
        assert!(
            !earlier.contains("link") && !earlier.contains("unrecorded"),
            "{earlier}"
        );
        let read: Event = serde_json::from_str(&earlier).unwrap();
        assert_eq!(read.digest().unwrap(), unlinked.digest().unwrap());
    }

    /// S3: neither the boot's own id nor what two devices of one machine would share.
    #[test]
    fn boot_is_told_apart_and_not_named() {
        let [here, there] = [1, 2].map(|n| DeviceId::from_bytes([n; 16]));
        let boot = boot_digest(here, "b0075");
        assert_eq!(boot, boot_digest(here, "b0075"));
        assert_ne!(boot, boot_digest(here, "b0076"));
        assert_ne!(boot, boot_digest(there, "b0075"));
        assert!(!boot.to_string().contains("b0075"));
    }

    /// K25, R6: the occasions on which anything is collected.
    #[test]
    fn collected_kinds_are_exactly_these() {
        let kinds = EventKind::ALL.map(|kind| serde_json::to_value(kind).unwrap());
        assert_eq!(
            kinds,
            ["blocked", "shared", "refused", "false_positive"].map(serde_json::Value::from)
        );
    }

    #[test]
    fn counts_fall_into_the_buckets_of_the_manifest() {
        let names = [1, 2, 4, 5, 9, 10].map(|n| serde_json::to_value(CountBucket::of(n)).unwrap());
        assert_eq!(
            names,
            ["1", "2-4", "2-4", "5-9", "5-9", "10+"].map(serde_json::Value::from)
        );
    }
}
