//! An author's report that a finding is none: shown whole, confirmed, then an event of its own kind.
//!
//! It names the rule and the family, as every event does (K25). The detector and the comment are sealed
//! to the compliance key; the matched text only by its author's choice, and into the same part.

use std::collections::BTreeMap;

use agent_inspect::{Draft, Located};
use agent_seal::seal_false_positive;
use gateway_api::bytes::Bytes;
use gateway_api::v1::events::{Event, EventKind, SizeBucket};
use policies::decide::Facts;
use policies::rule::Rule;
use policies::terms::{DetectorId, Digest, EventId, Finding, RuleId};
use rand::Rng as _;
use serde::de::DeserializeOwned;

use super::judge::Judged;
use super::{answer, draft, facts, record, share};
use crate::agent::Agent;
use crate::exit::Exit;
use crate::limits::{MATCHED_TEXT_CHARS, MATCHED_TEXTS_MAX};
use crate::local::frame;
use crate::local::wire::{
    ActivityEntry, DisputeView, FalsePositiveAnswer, FalsePositiveRequest, LocalProblem, Outcome, ShareHeader,
};
use crate::spool;
use crate::vault::journal;

/// What is disputed.
struct Dispute {
    /// The event, without the sealed part and the numbers that it gets when it is sent.
    event: Event,
    /// The findings that are disputed; none are known from the journal.
    findings: Vec<Finding>,
    matched: Vec<String>,
    comment: Option<String>,
    /// The journal line that it gets.
    audience: String,
    outcome: Outcome,
}

/// Shows a report, or sends the one that was shown and confirmed.
///
/// # Errors
/// The draft or the finding is not known, or the report is not the one that was confirmed.
pub(crate) async fn report(agent: &Agent, body: &[u8]) -> anyhow::Result<FalsePositiveAnswer> {
    let (request, parts) = frame::decode::<FalsePositiveRequest>(body)
        .map_err(|error| usage(&error.to_string(), "use `sealgate-agent report-false-positive`"))?;
    let dispute = match (&request.draft, &request.activity) {
        (Some(header), None) => {
            of_draft(agent, &request, header, draft::build(&header.names, parts)?).await?
        }
        (None, Some(line)) => of_activity(agent, &request, line).await?,
        (Some(_), Some(_)) | (None, None) => {
            return Err(usage("name one draft", "give it again, or use --activity ID").into());
        }
    };
    let shown = shown(&dispute)?;
    match request.confirmed {
        None => Ok(shown),
        Some(confirmed) if confirmed == shown.digest => send(agent, dispute, shown).await,
        Some(_) => Err(usage(
            "what would be reported is not what was confirmed: the policy has changed",
            "look at it again",
        )
        .into()),
    }
}

/// The findings of a draft that is given again.
async fn of_draft(
    agent: &Agent,
    request: &FalsePositiveRequest,
    header: &ShareHeader,
    draft: Draft,
) -> anyhow::Result<Dispute> {
    let policy = agent.policy.in_force()?;
    let facts = match header.audience.as_deref() {
        None => facts::for_nobody(agent, &header.labels)?,
        Some(name) => share::current_facts(agent, &agent.audience(name).await?, header).await?,
    };
    let judged = Judged::of(policy, facts.clone(), draft).await?;
    let all = &judged.first.findings;
    let known = all
        .iter()
        .flat_map(|finding| [finding.detector.as_str(), finding.family.as_str()]);
    let name = chosen(request.finding.as_deref(), known)?;
    let is_it = |detector: &str, family: &str| name == Some(detector) || name == Some(family);
    let findings: Vec<Finding> = all
        .iter()
        .filter(|finding| is_it(finding.detector.as_str(), finding.family.as_str()))
        .cloned()
        .collect();
    let located = judged
        .located
        .iter()
        .filter(|located| is_it(located.detector.as_str(), located.family.as_str()));
    let matched = if request.include_match {
        matched(located)
    } else {
        Vec::new()
    };
    Ok(Dispute {
        event: event(&judged, &facts, &findings),
        findings,
        matched,
        comment: request.comment.clone(),
        audience: header.audience.clone().unwrap_or_default(),
        outcome: judged.permit(&facts, header).err().unwrap_or(Outcome::Clear),
    })
}

/// The event of a draft's disputed findings: their rules and their family alone.
fn event(judged: &Judged, facts: &Facts, findings: &[Finding]) -> Event {
    let verdict = judged.first_verdict(facts);
    let disputed = verdict.rules().iter().filter(|outcome| {
        let rule = judged
            .policy
            .plan
            .rules()
            .iter()
            .find(|rule| rule.id == outcome.rule);
        rule.is_some_and(|rule| findings.iter().any(|finding| asks_for(rule, finding)))
    });
    Event {
        id: EventId::from_bytes([0; 16]),
        sequence: 0,
        at_s: 0,
        kind: EventKind::FalsePositive,
        audience_class: facts.audience_class,
        action: verdict.action(),
        rules: disputed.map(|outcome| outcome.rule.clone()).collect(),
        labels: Vec::new(),
        app: facts.app.clone(),
        policy_version: verdict.policy().version,
        features: super::report::features(findings),
        size: SizeBucket::of(judged.first.items.iter().map(|item| item.size_bytes).sum()),
        sealed: None,
        link: None,
        unrecorded: None,
    }
}

/// Whether a rule looks for a finding.
fn asks_for(rule: &Rule, finding: &Finding) -> bool {
    rule.when.findings.iter().any(|wanted| {
        let detector = wanted.detector.as_ref();
        let family = wanted.family.as_ref();
        detector.is_none_or(|detector| *detector == finding.detector)
            && family.is_none_or(|family| *family == finding.family)
    })
}

/// Some examples of what was matched, each once.
fn matched<'a>(located: impl Iterator<Item = &'a Located>) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for located in located {
        let text: String = located.value.reveal().chars().take(MATCHED_TEXT_CHARS).collect();
        if !texts.contains(&text) && texts.len() < MATCHED_TEXTS_MAX {
            texts.push(text);
        }
    }
    texts
}

/// What the journal still knows of a decided draft: its rules and what was reported of it.
async fn of_activity(agent: &Agent, request: &FalsePositiveRequest, line: &str) -> anyhow::Result<Dispute> {
    if request.include_match {
        return Err(usage(
            "the activity holds no content, so that no matched text can be included",
            "give the draft again with --text or --file, or leave --include-match out",
        )
        .into());
    }
    let entry = decided(agent, line).await?;
    let reported: Event = entry.reported.as_ref().and_then(read).ok_or_else(|| {
        usage(
            "nothing was reported of this decision",
            "give the draft again with --text or --file",
        )
    })?;
    let families = reported.features.keys().map(|family| family.as_str());
    let name = chosen(request.finding.as_deref(), families)?;
    let features: BTreeMap<_, _> = reported
        .features
        .iter()
        .filter(|(family, _)| name == Some(family.as_str()))
        .map(|(family, feature)| (family.clone(), *feature))
        .collect();
    Ok(Dispute {
        event: Event {
            kind: EventKind::FalsePositive,
            labels: Vec::new(),
            features,
            sealed: None,
            link: None,
            unrecorded: None,
            ..reported
        },
        findings: Vec::new(),
        matched: Vec::new(),
        comment: request.comment.clone(),
        audience: entry.audience,
        outcome: entry.outcome,
    })
}

/// A line of the journal that decided a draft.
async fn decided(agent: &Agent, line: &str) -> anyhow::Result<ActivityEntry> {
    let id: Option<[u8; 16]> = hex::decode(line).ok().and_then(|bytes| bytes.try_into().ok());
    let body = match id {
        Some(id) => {
            let mut connection = agent.vault.connection().await?;
            journal::by_id(&mut connection, &agent.vault.cipher, &id).await?
        }
        None => None,
    };
    let entry = body.and_then(|body| serde_json::from_slice::<ActivityEntry>(&body).ok());
    entry.filter(|entry| entry.dispute.is_none()).ok_or_else(|| {
        usage(
            "the activity has no decision of this id",
            "`sealgate-agent activity` shows the ids",
        )
        .into()
    })
}

fn read<T: DeserializeOwned>(value: &serde_json::Value) -> Option<T> {
    serde_json::from_value(value.clone()).ok()
}

/// The finding that is named; where there is only one name to choose, that one need not be given.
fn chosen<'a>(
    named: Option<&'a str>,
    known: impl Iterator<Item = &'a str>,
) -> Result<Option<&'a str>, LocalProblem> {
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    known.dedup();
    match named {
        Some(name) if known.contains(&name) => Ok(Some(name)),
        None if known.is_empty() => Ok(None),
        Some(_) | None => {
            let message = if known.is_empty() {
                "nothing was found in it".to_owned()
            } else {
                format!("name what is no such thing, one of: {}", known.join(", "))
            };
            Err(usage(&message, "use --finding NAME"))
        }
    }
}

/// The report as its author is shown it before anything leaves.
fn shown(dispute: &Dispute) -> anyhow::Result<FalsePositiveAnswer> {
    let mut reported = answer::preview(&dispute.event).unwrap_or_default();
    if let Some(fields) = reported.as_object_mut() {
        fields.remove("at_s");
        fields.remove("sealed");
    }
    let mut detectors: Vec<DetectorId> = dispute
        .findings
        .iter()
        .map(|finding| finding.detector.clone())
        .collect();
    detectors.dedup();
    let sealed = DisputeView {
        detectors,
        comment: dispute.comment.clone(),
        matched: dispute.matched.len() as u64,
    };
    let digest = Digest::of(&serde_json::to_vec(&(&reported, &sealed, &dispute.matched))?);
    Ok(FalsePositiveAnswer {
        reported,
        sealed,
        matched: dispute.matched.clone(),
        digest,
        done: false,
    })
}

/// One transaction: the event, and the journal line that shows it.
async fn send(
    agent: &Agent,
    dispute: Dispute,
    shown: FalsePositiveAnswer,
) -> anyhow::Result<FalsePositiveAnswer> {
    let mut id = [0; 16];
    rand::rng().fill_bytes(&mut id);
    let event = Event {
        id: EventId::from_bytes(id),
        at_s: agent.now_s(),
        sealed: Some(seal(agent, id, &dispute)?),
        ..dispute.event
    };
    let mut transaction = agent.vault.begin().await?;
    let event = spool::append(&mut transaction, &agent.vault, agent.moment()?, event).await?;
    let entry = ActivityEntry {
        at_s: event.at_s,
        audience: dispute.audience,
        outcome: dispute.outcome,
        action: event.action,
        rules: event.rules.clone(),
        story: None,
        reported: answer::shown(&event),
        clearance: None,
        id: None,
        dispute: Some(shown.sealed.clone()),
    };
    record::write(agent, &mut transaction, &entry).await?;
    transaction.commit().await?;
    agent.changed();
    agent.events_wait.notify_one();
    Ok(FalsePositiveAnswer {
        reported: entry.reported.unwrap_or_default(),
        done: true,
        ..shown
    })
}

/// The part that only the compliance officer can open.
fn seal(agent: &Agent, id: [u8; 16], dispute: &Dispute) -> anyhow::Result<Bytes> {
    let rules: &[RuleId] = &dispute.event.rules;
    let matched: Vec<&str> = dispute.matched.iter().map(String::as_str).collect();
    let sealed = seal_false_positive(
        &agent.compliance,
        id,
        &dispute.findings,
        dispute.comment.as_deref(),
        rules,
        &matched,
        &mut rand::rng(),
    )?;
    Ok(sealed.into())
}

fn usage(message: &str, help: &str) -> LocalProblem {
    LocalProblem::new(Exit::Usage, message, help)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K25: what is reported is one of what was found; nothing else can be named.
    #[test]
    fn only_what_was_found_can_be_disputed() {
        let known = || ["card-number", "payment-card", "card-number"].into_iter();
        assert_eq!(
            chosen(Some("payment-card"), known()).unwrap(),
            Some("payment-card")
        );
        for named in [Some("iban"), None] {
            let refused = chosen(named, known()).unwrap_err();
            assert!(refused.message.ends_with("one of: card-number, payment-card"));
        }
        assert_eq!(chosen(None, std::iter::empty()).unwrap(), None);
        assert!(chosen(Some("iban"), std::iter::empty()).is_err());
    }
}
