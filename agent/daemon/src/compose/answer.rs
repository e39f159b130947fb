//! What a command is told about a draft.

use std::collections::BTreeMap;

use agent_inspect::Unread;
use agent_seal::DeviceSigner as _;
use gateway_api::bytes::Bytes;
use gateway_api::error::Problem;
use gateway_api::receipt::Refusal;
use gateway_api::v1::events::Event;
use gateway_api::v1::preflight::Decision;
use policies::decide::{Facts, Permit, RuleOutcome};

use super::judge::Judged;
use crate::agent::Agent;
use crate::config::enrollment::Pins;
use crate::limits::STORY_TTL_S;
use crate::local::wire::{
    ClearanceView, FindingView, FiredRule, Outcome, RefusalView, ShareAnswer, ShareHeader, UnscannableView,
};

/// The answer for a judged draft; the caller adds what happened to it.
pub(crate) fn of(judged: &Judged, facts: &Facts, outcome: Outcome) -> ShareAnswer {
    let verdict = judged.first_verdict(facts);
    ShareAnswer {
        outcome,
        action: verdict.action(),
        story: None,
        rules: verdict.rules().iter().map(fired).collect(),
        findings: findings(judged),
        unscannable: judged.unread.iter().map(unscannable).collect(),
        redactions: judged.redactions.clone(),
        labels: verdict.labels().iter().cloned().collect(),
        refusal: None,
        reported: None,
        clearance: None,
        kept: None,
        blobs: Vec::new(),
        epoch: None,
        readers: Vec::new(),
        policy_version: verdict.policy().version,
        expires_at_s: None,
        counted: false,
    }
}

/// The clearance that a permitted story carries, as the author is shown it (R5).
pub(crate) fn clearance(
    agent: &Agent,
    permit: &Permit,
    facts: &Facts,
    header: &ShareHeader,
) -> ClearanceView {
    ClearanceView {
        labels: permit.labels().iter().cloned().collect(),
        verdict: permit.code(),
        policy_version: permit.policy().version,
        lifetime_s: header.ttl_s.unwrap_or(STORY_TTL_S),
        app: facts.app.clone(),
        device: agent.enrollment.device,
        tier: agent.signer.tier(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        agent_build: agent.build,
        sealed: "which detectors, how often, and your reason; only the compliance officer can open it"
            .to_owned(),
        gateway_records: "who shared, from which device, with which audience, when, and how large".to_owned(),
    }
}

/// An event as the author is shown it.
pub(crate) fn shown(event: &Event) -> Option<serde_json::Value> {
    serde_json::to_value(event).ok()
}

/// An event that is not sent yet: without the number and id that it would get.
pub(crate) fn preview(event: &Event) -> Option<serde_json::Value> {
    let mut value = shown(event)?;
    let fields = value.as_object_mut()?;
    fields.remove("id");
    fields.remove("sequence");
    Some(value)
}

/// The gateway's refusal, from its signed receipt where it sent one.
pub(crate) fn refusal(problem: &Problem, pins: &Pins) -> RefusalView {
    let receipt = problem
        .receipt
        .as_ref()
        .map(|Bytes(bytes)| Refusal::verify(bytes, &pins.acceptance));
    match receipt {
        Some(Ok(receipt)) => RefusalView {
            code: receipt.code.as_str().to_owned(),
            rule: receipt.rule,
            reason: receipt.reason,
            help: receipt.code.help().to_owned(),
            signed: true,
        },
        Some(Err(_)) | None => RefusalView {
            code: problem.code.as_str().to_owned(),
            rule: None,
            reason: problem.detail.clone(),
            help: problem.help.clone(),
            signed: false,
        },
    }
}

/// The refusal that the gateway announced before anything was sealed (P12).
pub(crate) fn early_refusal(decision: Decision) -> RefusalView {
    let code = gateway_api::error::ErrorCode::SharingDenied;
    RefusalView {
        code: code.as_str().to_owned(),
        rule: decision.rule,
        reason: decision.reason,
        help: code.help().to_owned(),
        signed: false,
    }
}

fn fired(outcome: &RuleOutcome) -> FiredRule {
    FiredRule {
        rule: outcome.rule.clone(),
        action: outcome.action,
        sentence: outcome.sentence.clone(),
        owner: outcome.owner.clone(),
        link: outcome.link.clone(),
        fixes: outcome.fixes.clone(),
        reasons: outcome.reasons.clone(),
        trace: outcome.trace.clone(),
    }
}

fn unscannable(unread: &Unread) -> UnscannableView {
    UnscannableView {
        item: unread.item,
        place: unread.place.sentence(),
        reason: unread.reason.to_string().replace('-', " "),
    }
}

fn findings(judged: &Judged) -> Vec<FindingView> {
    let names: BTreeMap<_, _> = judged
        .policy
        .plan
        .detectors()
        .iter()
        .map(|detector| (&detector.id, detector.name.as_str()))
        .collect();
    judged
        .located
        .iter()
        .map(|located| FindingView {
            detector: located.detector.clone(),
            name: names
                .get(&located.detector)
                .copied()
                .unwrap_or_default()
                .to_owned(),
            confidence: located.confidence,
            item: located.item,
            place: located.place.sentence(),
        })
        .collect()
}
