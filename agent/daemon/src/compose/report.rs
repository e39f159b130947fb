//! What leaves the device about a decision: exactly one [`Event`], coarse by construction (K25).

use std::collections::BTreeMap;

use agent_seal::seal_report;
use gateway_api::v1::events::{ChainLink, CountBucket, Event, EventKind, Feature, SizeBucket, Unrecorded};
use policies::decide::{Facts, ReportLevel, Verdict};
use policies::terms::{Action, AudienceClass, Confidence, Digest, EventId, Evidence, Family, Finding};
use rand::Rng as _;

use super::facts;
use crate::agent::Agent;

/// The event of a decision; none where the rules that fired report nothing.
///
/// # Errors
/// The part for compliance cannot be sealed: the justification is too long.
pub(crate) fn event(
    agent: &Agent,
    kind: EventKind,
    verdict: &Verdict,
    facts: &Facts,
    evidence: &Evidence,
    justification: Option<&str>,
) -> anyhow::Result<Option<Event>> {
    let level = verdict.report();
    if level == ReportLevel::None {
        return Ok(None);
    }
    let mut id = [0; 16];
    rand::rng().fill_bytes(&mut id);
    let rules: Vec<_> = verdict
        .rules()
        .iter()
        .map(|outcome| outcome.rule.clone())
        .collect();
    let detailed = level == ReportLevel::Event;
    let sealed = if detailed {
        let sealed = seal_report(
            &agent.compliance,
            id,
            &evidence.findings,
            justification,
            &rules,
            &mut rand::rng(),
        )?;
        Some(sealed.into())
    } else {
        None
    };
    Ok(Some(Event {
        id: EventId::from_bytes(id),
        sequence: 0,
        at_s: facts.now_s,
        kind,
        audience_class: facts.audience_class,
        action: verdict.action(),
        rules,
        labels: verdict.labels().iter().cloned().collect(),
        app: facts.app.clone(),
        policy_version: verdict.policy().version,
        features: if detailed {
            features(&evidence.findings)
        } else {
            BTreeMap::new()
        },
        size: SizeBucket::of(evidence.items.iter().map(|item| item.size_bytes).sum()),
        sealed,
        link: None,
        unrecorded: None,
    }))
}

/// The names of every field that an event may have, from the wire type itself (K25).
pub(crate) fn fields() -> Vec<String> {
    let sample = Event {
        id: EventId::from_bytes([0; 16]),
        sequence: 0,
        at_s: 0,
        kind: EventKind::Blocked,
        audience_class: AudienceClass::Internal,
        action: Action::Block,
        rules: Vec::new(),
        labels: Vec::new(),
        app: match facts::app() {
            Ok(app) => app,
            Err(_) => return Vec::new(),
        },
        policy_version: 0,
        features: BTreeMap::new(),
        size: SizeBucket::Small,
        sealed: None,
        link: Some(ChainLink {
            before: None,
            boot: Digest::of(&[]),
            since_boot_ns: 0,
            wall_s: 0,
        }),
        unrecorded: Some(Unrecorded { others: 0, from_s: 0 }),
    };
    names(&serde_json::to_value(&sample).unwrap_or_default())
}

/// Names of an object's fields, those of an object within it with a dot.
fn names(value: &serde_json::Value) -> Vec<String> {
    let fields = value.as_object().into_iter().flatten();
    fields
        .flat_map(|(name, value)| match names(value) {
            within if within.is_empty() => vec![name.clone()],
            within => within.iter().map(|field| format!("{name}.{field}")).collect(),
        })
        .collect()
}

/// Findings at the grain of families: bucketed counts, highest confidence.
pub(crate) fn features(findings: &[Finding]) -> BTreeMap<Family, Feature> {
    let mut totals: BTreeMap<Family, (u32, Confidence)> = BTreeMap::new();
    for finding in findings {
        let (count, confidence) = totals
            .entry(finding.family.clone())
            .or_insert((0, finding.confidence));
        *count = count.saturating_add(finding.count);
        *confidence = (*confidence).max(finding.confidence);
    }
    totals
        .into_iter()
        .map(|(family, (count, confidence))| {
            (
                family,
                Feature {
                    count: CountBucket::of(count),
                    confidence,
                },
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use policies::terms::DetectorId;

    use super::*;

    fn finding(detector: &str, family: &str, count: u32, confidence: Confidence) -> Finding {
        Finding {
            detector: DetectorId::parse(detector).unwrap(),
            family: Family::parse(family).unwrap(),
            confidence,
            count,
            distinct: count,
            item: 0,
        }
    }

    /// K25: detectors merge into families, counts into buckets.
    #[test]
    fn features_tell_families_and_buckets_only() {
        let findings = [
            finding("github-token", "secret", 1, Confidence::High),
            finding("generic-secret", "secret", 2, Confidence::Low),
            finding("iban", "bank-account", 1, Confidence::Medium),
        ];
        let text = serde_json::to_string(&features(&findings)).unwrap();
        assert_eq!(
            text,
            r#"{"bank-account":{"count":"1","confidence":"medium"},"secret":{"count":"2-4","confidence":"high"}}"#
        );
    }
}
