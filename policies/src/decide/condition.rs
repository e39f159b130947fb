//! Whether a rule's conditions hold, and the trace that says why.

use std::collections::BTreeSet;

use jiff::civil::{DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};

use super::Facts;
use crate::rule::{Capability, Condition, Exception, FindingCondition, ItemCondition, Rule, TimeWindow};
use crate::terms::{Action, Evidence, Finding, Label};

/// What rules are decided over.
pub(super) struct Scene<'a> {
    pub(super) facts: &'a Facts,
    evidence: &'a Evidence,
    labels: BTreeSet<Label>,
    local: DateTime,
}

impl<'a> Scene<'a> {
    pub(super) fn new(
        facts: &'a Facts,
        evidence: &'a Evidence,
        zone: &TimeZone,
        labels: BTreeSet<Label>,
    ) -> Self {
        Self {
            facts,
            evidence,
            labels,
            local: local(facts.now_s, zone),
        }
    }

    /// The action and trace of a rule that fires.
    pub(super) fn fires(&self, rule: &Rule) -> Option<(Action, Vec<String>)> {
        let by_conditions = self.holds(&rule.when).map(|trace| (rule.action, trace));
        let by_unscannable = rule
            .on_unscannable
            .and_then(|action| Some((action, self.holds_unscannable(&rule.when)?)));
        let (action, mut trace) = match (by_conditions, by_unscannable) {
            (Some(first), Some(second)) if second.0 > first.0 => second,
            (Some(first), _) => first,
            (None, second) => second?,
        };
        if rule.exceptions.iter().any(|exception| self.excepts(exception)) {
            return None;
        }
        trace.sort();
        trace.dedup();
        Some((action, trace))
    }

    fn excepts(&self, exception: &Exception) -> bool {
        self.local.date() <= exception.until && self.holds(&exception.when).is_some()
    }

    /// The conditions other than findings, over a draft of which something is unscannable.
    fn holds_unscannable(&self, when: &Condition) -> Option<Vec<String>> {
        let when = Condition {
            findings: Vec::new(),
            unscannable: Some(true),
            ..when.clone()
        };
        self.holds(&when)
    }

    /// The trace of conditions that all hold.
    fn holds(&self, when: &Condition) -> Option<Vec<String>> {
        let mut trace = Vec::new();
        let mut hold = |given: bool, held: Option<String>| -> bool {
            let ok = !given || held.is_some();
            trace.extend(held.filter(|_| given));
            ok
        };
        let facts = self.facts;
        let all = hold(!when.findings.is_empty(), self.finding(&when.findings))
            && hold(
                !when.audience_class.is_empty(),
                named("audience", &when.audience_class, &facts.audience_class),
            )
            && hold(
                when.audience_size_over.is_some(),
                self.size_over(when.audience_size_over),
            )
            && hold(!when.app.is_empty(), named("app", &when.app, &facts.app))
            && hold(!when.tier.is_empty(), named("tier", &when.tier, &facts.tier))
            && hold(
                !when.binding.is_empty(),
                named("binding", &when.binding, &facts.binding),
            )
            && hold(
                !when.group.is_empty(),
                any_of("group", &when.group, &facts.groups),
            )
            && hold(!when.label.is_empty(), any_of("label", &when.label, &self.labels))
            && hold(
                when.item.is_some(),
                when.item.as_ref().and_then(|item| self.item(item)),
            )
            && hold(
                when.time.is_some(),
                when.time.as_ref().and_then(|time| self.within(time)),
            )
            && hold(
                when.unscannable.is_some(),
                when.unscannable.and_then(|wanted| self.unscannable(wanted)),
            )
            && hold(!when.without.is_empty(), self.without(&when.without));
        all.then_some(trace)
    }

    fn finding(&self, conditions: &[FindingCondition]) -> Option<String> {
        conditions.iter().find_map(|condition| {
            let matching: Vec<&Finding> = self
                .evidence
                .findings
                .iter()
                .filter(|finding| matches(condition, finding))
                .collect();
            let count = matching
                .iter()
                .fold(0, |sum: u32, finding| sum.saturating_add(finding.count));
            let distinct = matching
                .iter()
                .fold(0, |sum: u32, finding| sum.saturating_add(finding.distinct));
            let held = !matching.is_empty() && count >= condition.count && distinct >= condition.distinct;
            held.then(|| {
                let detectors: BTreeSet<&str> =
                    matching.iter().map(|finding| finding.detector.as_str()).collect();
                let detectors: Vec<&str> = detectors.into_iter().collect();
                format!(
                    "found {count} by {}: {}",
                    detectors.join(", "),
                    condition.in_plain_words()
                )
            })
        })
    }

    fn size_over(&self, size: Option<u32>) -> Option<String> {
        let size = size.filter(|size| self.facts.audience_size > *size)?;
        Some(format!(
            "the audience has {} people, more than {size}",
            self.facts.audience_size
        ))
    }

    fn item(&self, condition: &ItemCondition) -> Option<String> {
        let found = self.evidence.items.iter().position(|item| {
            (condition.kind.is_empty() || condition.kind.contains(&item.kind))
                && condition
                    .size_over_bytes
                    .is_none_or(|size| item.size_bytes > size)
        });
        found.map(|index| format!("item {index} is of the kind and size asked for"))
    }

    fn within(&self, window: &TimeWindow) -> Option<String> {
        is_within(window, self.local).then(|| window.in_plain_words())
    }

    fn unscannable(&self, wanted: bool) -> Option<String> {
        match (self.evidence.unscannable.first(), wanted) {
            (Some(first), true) => Some(format!("item {} cannot be read: {}", first.item, first.reason)),
            (None, false) => Some("everything can be read".to_owned()),
            (Some(_), false) | (None, true) => None,
        }
    }

    fn without(&self, capabilities: &[Capability]) -> Option<String> {
        let has = self.evidence.capabilities;
        let lacking = capabilities.iter().find(|capability| match capability {
            Capability::Ocr => !has.ocr,
            Capability::Ner => !has.ner,
            Capability::Sandbox => !has.sandbox,
        });
        lacking.map(|capability| format!("the inspector has no {capability}"))
    }
}

fn matches(condition: &FindingCondition, finding: &Finding) -> bool {
    condition
        .family
        .as_ref()
        .is_none_or(|family| *family == finding.family)
        && condition
            .detector
            .as_ref()
            .is_none_or(|detector| *detector == finding.detector)
        && finding.confidence >= condition.confidence
}

fn named<T: PartialEq + ToString>(what: &str, wanted: &[T], has: &T) -> Option<String> {
    wanted
        .contains(has)
        .then(|| format!("{what} is {}", has.to_string()))
}

fn any_of<T: Ord + ToString>(what: &str, wanted: &[T], has: &BTreeSet<T>) -> Option<String> {
    wanted
        .iter()
        .find(|name| has.contains(name))
        .map(|name| format!("{what} is {}", name.to_string()))
}

/// The local time; a moment past the end of jiff's calendar is its last one.
fn local(now_s: u64, zone: &TimeZone) -> DateTime {
    let now = i64::try_from(now_s)
        .ok()
        .and_then(|now_s| Timestamp::from_second(now_s).ok())
        .unwrap_or(Timestamp::MAX);
    zone.to_datetime(now)
}

fn is_within(window: &TimeWindow, local: DateTime) -> bool {
    let on = |day: Weekday| window.days.is_empty() || window.days.contains(&day);
    let (today, yesterday) = (local.weekday(), local.weekday().previous());
    let minute = minute_of(local.time());
    if window.from_minute < window.to_minute {
        return on(today) && (window.from_minute..window.to_minute).contains(&minute);
    }
    (on(today) && minute >= window.from_minute) || (on(yesterday) && minute < window.to_minute)
}

fn minute_of(time: civil::Time) -> u16 {
    u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs())
}
