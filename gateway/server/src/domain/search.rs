//! What an auditor looks for in the ledger, and whether an entry is it.
//!
//! Time, kind and policy version stand in an entry's clear header; the rest is in its payload. Of an entry whose payload
//! nobody can read any more it is not known whether it is what is looked for: that is an answer of its own, and is counted.

use gateway_ledger::WriterCounts;
use policies::terms::{AudienceId, DeviceId, PersonId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::limits;
use crate::store::logs::{Ledger, ReadEntry};

/// What an entry must be; a field that is none asks nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// Unix seconds, inclusive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since_s: Option<u64>,
    /// Unix seconds, exclusive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<String>,
    /// The policy that was in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) policy_version: Option<u64>,
    /// Whom it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) person: Option<PersonId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<DeviceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) audience: Option<AudienceId>,
    /// A DLP rule that fired, or the sharing rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) label: Option<String>,
    /// What was decided: `block`, `warn_accepted`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) verdict: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) app: Option<String>,
}

/// Whether an entry is what is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    Yes,
    No,
    /// Its payload cannot be read any more, and decides.
    Unreadable,
}

impl Filter {
    pub(crate) fn matches(&self, entry: &ReadEntry) -> Match {
        if !self.matches_header(entry) {
            return Match::No;
        }
        match &entry.payload {
            Some(payload) if self.matches_payload(entry, payload) => Match::Yes,
            Some(_) => Match::No,
            None if self.asks_payload() => Match::Unreadable,
            None => Match::Yes,
        }
    }

    fn matches_header(&self, entry: &ReadEntry) -> bool {
        self.since_s.is_none_or(|since_s| entry.at_s >= since_s)
            && self.until_s.is_none_or(|until_s| entry.at_s < until_s)
            && self.kind.as_ref().is_none_or(|kind| *kind == entry.kind)
            && self
                .policy_version
                .is_none_or(|version| version == entry.policy_version)
    }

    fn asks_payload(&self) -> bool {
        let header_only = Self {
            since_s: self.since_s,
            until_s: self.until_s,
            kind: self.kind.clone(),
            policy_version: self.policy_version,
            ..Self::default()
        };
        *self != header_only
    }

    fn matches_payload(&self, entry: &ReadEntry, payload: &Value) -> bool {
        let is_about =
            |person: &PersonId| entry.subject == Some(*person) || names(payload, &person.to_string());
        let has = |keys: &[&str], wanted: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| holds(payload, keys, wanted))
        };
        self.person.as_ref().is_none_or(is_about)
            && self
                .device
                .is_none_or(|device| names(payload, &device.to_string()))
            && self
                .audience
                .is_none_or(|audience| names(payload, &audience.to_string()))
            && has(&["rule", "rules"], &self.rule)
            && has(&["label", "labels"], &self.label)
            && has(&["verdict", "action"], &self.verdict)
            && has(&["app"], &self.app)
    }
}

/// What a scan of the ledger found, and what it looked at.
pub(crate) struct Scan {
    pub(crate) found: Vec<ReadEntry>,
    pub(crate) coverage: Coverage,
}

/// Which entries were looked at: the answer to "is this complete?".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Coverage {
    /// Entries that the ledger had.
    pub(crate) tree_size: u64,
    /// The first entry that was looked at.
    pub(crate) from: u64,
    /// And the first that was not.
    pub(crate) to: u64,
    /// Entries that are what was looked for.
    pub(crate) matched: u64,
    /// Entries of which nobody can know, since their subject's key was shredded.
    pub(crate) unreadable: u64,
    /// The first of these.
    pub(crate) unreadable_entries: Vec<u64>,
    /// The first entry whose writer's number does not follow (L6): entries are missing from the ledger before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) first_gap: Option<Gap>,
}

/// A place at which the ledger itself lacks entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gap {
    pub(crate) entry: u64,
    /// What is wrong, in a sentence.
    pub(crate) fault: String,
}

impl Coverage {
    /// Whether every entry was looked at, none is missing, and all could be read.
    pub(crate) fn is_complete(&self) -> bool {
        self.from == 0 && !self.has_more() && self.unreadable == 0 && self.first_gap.is_none()
    }

    /// Whether entries are left to be looked at.
    pub(crate) fn has_more(&self) -> bool {
        self.to < self.tree_size
    }

    fn count(&mut self, counts: &mut WriterCounts, entry: &ReadEntry) {
        let counted = counts.take(entry.index, &entry.writer_id, entry.writer_seq);
        if let (Err(gap), None) = (counted, &self.first_gap) {
            self.first_gap = Some(Gap {
                entry: entry.index,
                fault: gap.to_string(),
            });
        }
    }

    fn pass(&mut self, index: u64, outcome: Match) {
        self.to = index.saturating_add(1);
        match outcome {
            Match::Yes => self.matched = self.matched.saturating_add(1),
            Match::No => {}
            Match::Unreadable => {
                self.unreadable = self.unreadable.saturating_add(1);
                if self.unreadable_entries.len() < limits::UNREADABLE_LISTED_MAX {
                    self.unreadable_entries.push(index);
                }
            }
        }
    }
}

/// Looks at the entries from `from` on, of a ledger that had `tree_size` of them, until `found_max` are found or
/// `scanned_max` were looked at.
///
/// # Errors
/// An entry cannot be read although its key is there: the ledger is damaged.
pub(crate) async fn scan(
    ledger: &Ledger,
    filter: &Filter,
    from: u64,
    tree_size: u64,
    (found_max, scanned_max): (usize, u64),
) -> anyhow::Result<Scan> {
    let mut found = Vec::new();
    let mut coverage = Coverage {
        tree_size,
        from,
        to: from,
        matched: 0,
        unreadable: 0,
        unreadable_entries: Vec::new(),
        first_gap: None,
    };
    // Counting begins with the entry before the page, so that what is missing between two pages shows.
    let mut counts = WriterCounts::default();
    if let Some(before) = from.checked_sub(1) {
        for entry in ledger.entries(before, from).await? {
            coverage.count(&mut counts, &entry);
        }
    }
    let end = tree_size.min(from.saturating_add(scanned_max));
    while coverage.to < end && found.len() < found_max {
        for entry in ledger.entries(coverage.to, end).await? {
            coverage.count(&mut counts, &entry);
            let outcome = filter.matches(&entry);
            coverage.pass(entry.index, outcome);
            if outcome == Match::Yes {
                found.push(entry);
            }
            if found.len() == found_max {
                break;
            }
        }
    }
    Ok(Scan { found, coverage })
}

/// Whether an id stands anywhere in a payload. Ids are random, so nothing else reads like one.
fn names(payload: &Value, id: &str) -> bool {
    match payload {
        Value::String(text) => text == id,
        Value::Array(items) => items.iter().any(|item| names(item, id)),
        Value::Object(fields) => fields.iter().any(|(key, value)| key == id || names(value, id)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether a field of one of these names, at any depth, is this word or lists it.
fn holds(payload: &Value, keys: &[&str], wanted: &str) -> bool {
    let is_wanted = |value: &Value| value.as_str().is_some_and(|word| same_word(word, wanted));
    match payload {
        Value::Object(fields) => fields.iter().any(|(key, value)| {
            let here = keys.contains(&key.as_str())
                && (is_wanted(value) || value.as_array().is_some_and(|items| items.iter().any(is_wanted)));
            here || holds(value, keys, wanted)
        }),
        Value::Array(items) => items.iter().any(|item| holds(item, keys, wanted)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Relay entries write verdicts as `WarnAccepted`, events as `warn_accepted`: one word.
fn same_word(one: &str, other: &str) -> bool {
    let letters = |text: &str| -> String {
        text.chars()
            .filter(|c| *c != '_')
            .map(|c| c.to_ascii_lowercase())
            .collect()
    };
    one == other || letters(one) == letters(other)
}

#[cfg(test)]
mod tests {
    use policies::terms::EntryId;
    use serde_json::json;

    use super::*;

    const PERSON: [u8; 16] = [7; 16];

    fn entry(payload: Option<Value>) -> ReadEntry {
        ReadEntry {
            index: 3,
            writer_id: "gateway-1".to_owned(),
            writer_seq: 3,
            at_s: 1_000,
            kind: "relay".to_owned(),
            policy_version: 2,
            entry: EntryId::from_bytes([1; 16]),
            subject: payload.as_ref().map(|_| PersonId::from_bytes(PERSON)),
            payload,
        }
    }

    fn relay() -> ReadEntry {
        entry(Some(json!({
            "device": "11".repeat(16), "audience": "22".repeat(16), "verdict": "WarnAccepted",
            "labels": ["confidential"], "app": "sealgate", "rule": "policy.csv:4",
        })))
    }

    fn filter(text: &str) -> Filter {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn each_field_lets_its_entry_through_and_no_other() {
        let id = |byte: &str| byte.repeat(16);
        let cases = [
            ("since_s", json!(1_000), json!(1_001)),
            ("until_s", json!(1_001), json!(1_000)),
            ("kind", json!("relay"), json!("event")),
            ("policy_version", json!(2), json!(1)),
            ("person", json!(id("07")), json!(id("08"))),
            ("device", json!(id("11")), json!(id("12"))),
            ("audience", json!(id("22")), json!(id("23"))),
            ("rule", json!("policy.csv:4"), json!("policy.csv:5")),
            ("label", json!("confidential"), json!("public")),
            ("verdict", json!("warn_accepted"), json!("warn")),
            ("app", json!("sealgate"), json!("other")),
        ];
        for (field, right, wrong) in cases {
            let of = |value: &Value| filter(&json!({ field: value }).to_string());
            assert_eq!(of(&right).matches(&relay()), Match::Yes, "{field}");
            assert_eq!(of(&wrong).matches(&relay()), Match::No, "{field}");
        }
    }

    #[test]
    fn events_are_read_within() {
        let event = entry(Some(json!({
            "device": "11".repeat(16),
            "event": { "action": "block", "rules": ["cards", "secrets"], "labels": [], "app": "sealgate" },
        })));
        for text in [
            r#"{"rule":"secrets"}"#,
            r#"{"verdict":"block"}"#,
            r#"{"app":"sealgate"}"#,
        ] {
            assert_eq!(filter(text).matches(&event), Match::Yes, "{text}");
        }
        assert_eq!(filter(r#"{"label":"secrets"}"#).matches(&event), Match::No);
    }

    /// Of an entry whose key was shredded the header alone can be matched; whatever asks for more is not known.
    #[test]
    fn shredded_entry_is_told_apart_from_one_that_does_not_match() {
        let shredded = entry(None);
        assert_eq!(filter("{}").matches(&shredded), Match::Yes);
        assert_eq!(filter(r#"{"kind":"relay"}"#).matches(&shredded), Match::Yes);
        assert_eq!(
            filter(r#"{"kind":"event","app":"sealgate"}"#).matches(&shredded),
            Match::No
        );
        assert_eq!(
            filter(r#"{"app":"sealgate"}"#).matches(&shredded),
            Match::Unreadable
        );
    }
}
