//! Cards: what a person is told about a draft, in plain text. Never the matched text itself.

use std::fmt::Write as _;

use policies::terms::Action;
use serde_json::Value;

use crate::local::wire::{ClearanceView, Outcome, ShareAnswer};

/// Whether a card tells what was done, or what would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tense {
    Done,
    Would,
}

impl Tense {
    const fn title(self) -> &'static str {
        match self {
            Self::Done => "Event that is reported about it",
            Self::Would => "Event that sharing it would report",
        }
    }
}

/// The card of an answer.
pub(crate) fn render(answer: &ShareAnswer, tense: Tense) -> String {
    let mut card = headline(answer);
    section(
        &mut card,
        "Found",
        answer.findings.iter().map(|finding| {
            let name = if finding.name.is_empty() {
                finding.detector.to_string()
            } else {
                finding.name.clone()
            };
            format!("{name} ({} confidence): {}", finding.confidence, finding.place)
        }),
    );
    section(
        &mut card,
        "Could not be read",
        answer
            .unscannable
            .iter()
            .map(|part| format!("{}: {}", part.place, part.reason)),
    );
    section(
        &mut card,
        "Why",
        answer
            .rules
            .iter()
            .map(|rule| format!("{} [{}: {}]", rule.sentence, rule.action, rule.rule)),
    );
    section(
        &mut card,
        "Changed before sealing",
        answer.redactions.iter().cloned(),
    );
    section(&mut card, "What you can do", advice(answer).into_iter());
    section(
        &mut card,
        "Who will be able to read it",
        answer.readers.iter().cloned(),
    );
    if let Some(refusal) = &answer.refusal {
        let rule = refusal
            .rule
            .as_ref()
            .map(|rule| format!(" (rule {rule})"))
            .unwrap_or_default();
        section(
            &mut card,
            "The gateway says",
            std::iter::once(format!("{}{rule}", refusal.reason)),
        );
    }
    section(
        &mut card,
        tense.title(),
        if answer.counted {
            vec![
                "it could not be recorded; it is counted, and reported once there is room on the disk"
                    .to_owned(),
            ]
        } else {
            reported(answer.reported.as_ref())
        }
        .into_iter(),
    );
    section(
        &mut card,
        "The clearance that goes with the story",
        clearance(answer.clearance.as_ref()).into_iter(),
    );
    card
}

/// An event field by field, as `activity --json` shows it whole.
pub(crate) fn reported(event: Option<&Value>) -> Vec<String> {
    let Some(fields) = event.and_then(Value::as_object) else {
        return vec!["none".to_owned()];
    };
    fields
        .iter()
        .filter(|(_, value)| !is_empty(value))
        .map(|(name, value)| field(name, value))
        .collect()
}

/// A clearance in plain words, and what the gateway records beside it (R5).
pub(crate) fn clearance(clearance: Option<&ClearanceView>) -> Vec<String> {
    let Some(clearance) = clearance else {
        return vec!["none: no story is sealed".to_owned()];
    };
    let labels: Vec<String> = clearance.labels.iter().map(ToString::to_string).collect();
    let labels = if labels.is_empty() {
        "none".to_owned()
    } else {
        labels.join(", ")
    };
    vec![
        format!("labels: {labels}"),
        format!(
            "verdict: {} under policy {}",
            clearance.verdict, clearance.policy_version
        ),
        format!("lifetime: {} s", clearance.lifetime_s),
        format!("app: {}", clearance.app),
        format!("device: {}, key tier {}", clearance.device, clearance.tier),
        format!(
            "agent: version {}, build {}",
            clearance.agent_version, clearance.agent_build
        ),
        format!("sealed: {}", clearance.sealed),
        format!("the gateway records: {}", clearance.gateway_records),
    ]
}

fn field(name: &str, value: &Value) -> String {
    if name == "sealed" {
        return "sealed: which detectors, how often, and your reason; only the compliance officer can open it".to_owned();
    }
    if name == "unrecorded" {
        let number = |field: &str| value.get(field).and_then(Value::as_u64).unwrap_or_default();
        return format!(
            "unrecorded: {} other blocks since {} could not be recorded",
            number("others"),
            number("from_s")
        );
    }
    if name == "link" {
        return "link: a digest of the event before it and one of this boot, the time since boot, the wall clock".to_owned();
    }
    if let Some(list) = value.as_array() {
        let items: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
        return format!("{name}: {}", items.join(", "));
    }
    if let Some(families) = value.as_object() {
        let families = families.iter().map(|(family, feature)| {
            let part = |name: &str| feature.get(name).and_then(Value::as_str).unwrap_or_default();
            format!("{family} {} ({} confidence)", part("count"), part("confidence"))
        });
        return format!("{name}: {}", families.collect::<Vec<_>>().join(", "));
    }
    format!(
        "{name}: {}",
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    )
}

fn is_empty(value: &Value) -> bool {
    value.is_null()
        || value.as_array().is_some_and(Vec::is_empty)
        || value.as_object().is_some_and(serde_json::Map::is_empty)
}

fn headline(answer: &ShareAnswer) -> String {
    let line = match answer.outcome {
        Outcome::Clear if answer.action == Action::Redact => {
            "CAN BE SHARED, after the change below".to_owned()
        }
        Outcome::Clear => "CAN BE SHARED".to_owned(),
        Outcome::Shared => match answer.story {
            Some(story) => format!("SHARED as story {story}"),
            None => "SHARED".to_owned(),
        },
        Outcome::Blocked => "BLOCKED: nothing was sealed, nothing left this device".to_owned(),
        Outcome::NeedsReason => "A REASON IS NEEDED: nothing was sealed yet".to_owned(),
        Outcome::NeedsAcceptance => "PLEASE CONFIRM: nothing was sealed yet".to_owned(),
        Outcome::Refused => "REFUSED by the gateway".to_owned(),
        Outcome::Kept => match &answer.kept {
            Some(id) => format!(
                "KEPT FOR LATER as {id}: the gateway cannot be reached; it is decided again, then sent"
            ),
            None => "KEPT FOR LATER: the gateway cannot be reached".to_owned(),
        },
    };
    line + "\n"
}

fn advice(answer: &ShareAnswer) -> Vec<String> {
    let mut advice: Vec<String> = answer
        .rules
        .iter()
        .flat_map(|rule| rule.fixes.iter())
        .map(|fix| fix_in_words(fix))
        .collect();
    match answer.outcome {
        Outcome::NeedsReason => {
            let reasons: Vec<&str> = answer
                .rules
                .iter()
                .flat_map(|rule| rule.reasons.iter().map(String::as_str))
                .collect();
            let examples = if reasons.is_empty() {
                String::new()
            } else {
                format!(", for example: {}", reasons.join("; "))
            };
            advice.push(format!("share it with --reason \"...\"{examples}"));
        }
        Outcome::NeedsAcceptance => advice.push("share it with --accept-warning, if it is meant".to_owned()),
        Outcome::Refused => advice.extend(answer.refusal.iter().map(|refusal| refusal.help.clone())),
        Outcome::Clear | Outcome::Shared | Outcome::Blocked | Outcome::Kept => {}
    }
    if answer.outcome == Outcome::Blocked || answer.outcome == Outcome::NeedsReason {
        let asks = answer.rules.iter().filter(|rule| !rule.owner.is_empty());
        advice.extend(asks.map(|rule| {
            format!("questions about `{}`: {} {}", rule.rule, rule.owner, rule.link)
                .trim_end()
                .to_owned()
        }));
    }
    advice.dedup();
    advice
}

fn fix_in_words(fix: &str) -> String {
    match fix {
        "remove" => "take it out of the text or file".to_owned(),
        "mask-last-four" => "keep only the last four digits".to_owned(),
        "strip-location" => "remove the location from the picture".to_owned(),
        other => other.replace('-', " "),
    }
}

fn section(card: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let mut titled = false;
    for line in lines {
        if !titled {
            // Writing to a string cannot fail.
            let _ = writeln!(card, "\n{title}:");
            titled = true;
        }
        let _ = writeln!(card, "  - {}", line.replace('\n', "\n    "));
    }
}

#[cfg(test)]
mod tests {
    use policies::decide::VerdictCode;
    use policies::terms::{App, Confidence, DetectorId, DeviceId, Digest, Label, RuleId, Tier};

    use super::*;
    use crate::local::wire::{FindingView, FiredRule, RefusalView};

    fn answer(outcome: Outcome, action: Action) -> ShareAnswer {
        ShareAnswer {
            outcome,
            action,
            story: None,
            rules: Vec::new(),
            findings: Vec::new(),
            unscannable: Vec::new(),
            redactions: Vec::new(),
            labels: Vec::new(),
            refusal: None,
            reported: None,
            clearance: None,
            kept: None,
            blobs: Vec::new(),
            epoch: None,
            readers: Vec::new(),
            policy_version: 1,
            expires_at_s: None,
            counted: false,
        }
    }

    fn rule(action: Action, reasons: &[&str]) -> FiredRule {
        FiredRule {
            rule: RuleId::parse("card-numbers").unwrap(),
            action,
            sentence: "Payment card numbers do not belong in a story.".to_owned(),
            owner: "security@acme.example".to_owned(),
            link: String::new(),
            fixes: vec!["remove".to_owned(), "mask-last-four".to_owned()],
            reasons: reasons.iter().map(|reason| (*reason).to_owned()).collect(),
            trace: Vec::new(),
        }
    }

    #[test]
    fn a_blocked_draft_says_what_where_why_and_what_to_do() {
        let mut blocked = answer(Outcome::Blocked, Action::Block);
        blocked.rules = vec![rule(Action::Block, &[])];
        blocked.findings = vec![FindingView {
            detector: DetectorId::parse("card-number").unwrap(),
            name: "Payment card number".to_owned(),
            confidence: Confidence::High,
            item: 0,
            place: "found in the text, line 1".to_owned(),
        }];
        insta::assert_snapshot!(render(&blocked, Tense::Done), @r#"
        BLOCKED: nothing was sealed, nothing left this device

        Found:
          - Payment card number (high confidence): found in the text, line 1

        Why:
          - Payment card numbers do not belong in a story. [block: card-numbers]

        What you can do:
          - take it out of the text or file
          - keep only the last four digits
          - questions about `card-numbers`: security@acme.example

        Event that is reported about it:
          - none

        The clearance that goes with the story:
          - none: no story is sealed
        "#);
    }

    /// R5, S3: each field of an event in words.
    #[test]
    fn an_event_with_a_link_is_told_in_words() {
        let event = serde_json::json!({
            "kind": "blocked", "features": { "payment-card": { "count": "1", "confidence": "high" } },
            "unrecorded": { "others": 2, "from_s": 7 }, "link": { "before": null, "boot": "b0", "since_boot_ns": 5, "wall_s": 7 }, "labels": [], "sequence": 3,
        });
        insta::assert_snapshot!(reported(Some(&event)).join("\n"), @r"
        features: payment-card 1 (high confidence)
        kind: blocked
        link: a digest of the event before it and one of this boot, the time since boot, the wall clock
        sequence: 3
        unrecorded: 2 other blocks since 7 could not be recorded
        ");
    }

    #[test]
    fn a_question_names_the_option_that_answers_it() {
        let mut question = answer(Outcome::NeedsReason, Action::Justify);
        question.rules = vec![rule(Action::Justify, &["a customer asked"])];
        assert!(render(&question, Tense::Would).contains("--reason \"...\", for example: a customer asked"));
        assert!(
            render(&answer(Outcome::NeedsAcceptance, Action::Warn), Tense::Would)
                .contains("--accept-warning")
        );
    }

    #[test]
    fn a_refusal_names_its_rule() {
        let mut refused = answer(Outcome::Refused, Action::Allow);
        refused.refusal = Some(RefusalView {
            code: "sharing-denied".to_owned(),
            rule: Some("sharing/policy.csv:7".to_owned()),
            reason: "confidential stories stay inside".to_owned(),
            help: "choose another audience".to_owned(),
            signed: true,
        });
        let card = render(&refused, Tense::Done);
        assert!(
            card.contains("confidential stories stay inside (rule sharing/policy.csv:7)"),
            "{card}"
        );
        assert!(card.contains("choose another audience"), "{card}");
    }

    /// R5, K25
    #[test]
    fn an_event_is_told_field_by_field() {
        let event = serde_json::json!({
            "action": "block",
            "features": { "payment-card": { "count": "1", "confidence": "high" } },
            "labels": [],
            "rules": ["card-numbers"],
            "sealed": "AAAA",
            "size": "<4KiB",
        });
        insta::assert_snapshot!(reported(Some(&event)).join("\n"), @"
        action: block
        features: payment-card 1 (high confidence)
        rules: card-numbers
        sealed: which detectors, how often, and your reason; only the compliance officer can open it
        size: <4KiB
        ");
        assert_eq!(reported(None), ["none"]);
    }

    /// R5: where no event is reported, the card still tells what leaves with the story.
    #[test]
    fn a_shared_story_shows_its_clearance_also_without_an_event() {
        let mut shared = answer(Outcome::Shared, Action::Allow);
        shared.clearance = Some(ClearanceView {
            labels: vec![Label::parse("internal").unwrap()],
            verdict: VerdictCode::Allow,
            policy_version: 3,
            lifetime_s: 60,
            app: App::parse("sealgate").unwrap(),
            device: DeviceId::from_bytes([1; 16]),
            tier: Tier::File,
            agent_version: "1.0.0".to_owned(),
            agent_build: Digest::of(b""),
            sealed: "which detectors".to_owned(),
            gateway_records: "who shared, with which audience, when".to_owned(),
        });
        let card = render(&shared, Tense::Done);
        for told in [
            "Event that is reported about it:\n  - none",
            "labels: internal",
            "verdict: allow under policy 3",
            "key tier file",
            "sealed: which detectors",
            "the gateway records: who shared",
        ] {
            assert!(card.contains(told), "{told} is missing in {card}");
        }
    }
}
