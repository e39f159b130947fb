//! `share` and `check`: from a frame to an answer.

use agent_inspect::Draft;
use anyhow::Context as _;
use gateway_api::receipt::Acceptance;
use gateway_api::v1::events::{Event, EventKind};
use gateway_api::v1::preflight::{Decision, PreflightRequest};
use policies::decide::{Facts, Permit};
use policies::terms::{Cti, Digest, Finding, PolicyRef};
use rand::Rng as _;
use telemetry::{Field, SpanName};

use super::judge::Judged;
use super::record::{self, Ending};
use super::send::{self, Sending, Sent};
use super::{answer, draft, facts, pending, report};
use crate::agent::{Agent, Link};
use crate::card::{self, Tense};
use crate::emergency;
use crate::exit::Exit;
use crate::local::wire::{ActivityEntry, LocalProblem, OutboxState, Outcome, ShareAnswer, ShareHeader};
use crate::spool;
use crate::uplink::client::CallError;
use crate::uplink::people;
use crate::vault::audience::Audience;
use crate::vault::claim::{self, ClaimId};

/// What to do with a draft while the gateway cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offline {
    /// Keep it, encrypted, and send it on reconnect.
    Keep,
    /// It is kept already, under this id.
    Kept([u8; 16]),
    /// It is a claimed file of the outbox: kept like any other, and what becomes of it is written
    /// to its claim in the same transaction (O7).
    Claimed(ClaimId),
}

impl Offline {
    /// The claim that the draft stands for.
    pub(crate) const fn claim(self) -> Option<ClaimId> {
        match self {
            Self::Keep | Self::Kept(_) => None,
            Self::Claimed(id) => Some(id),
        }
    }
}

/// Shares a draft.
///
/// # Errors
/// What the command could not do at all; a held or refused draft is an answer, not an error.
pub(crate) async fn share(
    agent: &Agent,
    header: &ShareHeader,
    draft: Draft,
    offline: Offline,
) -> anyhow::Result<ShareAnswer> {
    let sharing = share_in_trace(agent, header, draft, offline);
    agent.exports.tracing().within(SpanName::Share, sharing).await
}

async fn share_in_trace(
    agent: &Agent,
    header: &ShareHeader,
    draft: Draft,
    offline: Offline,
) -> anyhow::Result<ShareAnswer> {
    let policy = agent.policy.in_force()?;
    let Some(name) = header.audience.as_deref() else {
        return Err(LocalProblem::new(Exit::Usage, "no audience was named", "use --audience NAME").into());
    };
    let audience = agent.audience(name).await?;
    let facts = current_facts(agent, &audience, header).await?;
    let tracing = agent.exports.tracing();
    let inspecting = Judged::of(policy, facts.clone(), draft);
    let judged = tracing.within(SpanName::Inspect, inspecting).await?;
    let permit = tracing.within_now(SpanName::Decide, || {
        let permit = judged.permit(&facts, header);
        telemetry::note(|| decision(&judged, permit.is_ok()));
        permit
    });
    if let Err(outcome) = permit {
        return held(agent, &audience, &judged, &facts, outcome, offline).await;
    }
    let header = &judged.bind(&facts, header);
    if agent.link() == Link::Revoked {
        return Err(LocalProblem::new(
            Exit::Refused,
            "this device has been revoked",
            "ask the administrator for a new token, then enrol again",
        )
        .into());
    }
    match way_out(agent, &audience, &judged, header, &facts, offline).await {
        Ok(answer) => Ok(answer),
        Err(error) if people::is_temporary(&error) => {
            agent.set_link(Link::Offline);
            keep(agent, &audience, &judged, &facts, header, offline, None).await
        }
        Err(error) => Err(refused(error)),
    }
}

fn decision(judged: &Judged, is_allowed: bool) -> [Field; 2] {
    [
        Field::PolicyVersion(judged.policy.version),
        Field::Decision(if is_allowed { "allowed" } else { "held" }),
    ]
}

/// Inspects a draft and says what would happen; nothing is sealed, kept or reported.
///
/// # Errors
/// No policy is in force, or the audience is not known.
pub(crate) async fn check(agent: &Agent, header: &ShareHeader, draft: Draft) -> anyhow::Result<ShareAnswer> {
    let (facts, readers) = match header.audience.as_deref() {
        None => (facts::for_nobody(agent, &header.labels)?, Vec::new()),
        Some(name) => {
            let audience = agent.audience(name).await?;
            (
                current_facts(agent, &audience, header).await?,
                readers(agent, &audience).await?,
            )
        }
    };
    let checked = check_with(agent, header, draft, &facts).await?;
    Ok(ShareAnswer {
        readers,
        ..checked.answer
    })
}

/// What would happen to a draft, and what is needed if it does.
pub(crate) struct Checked {
    pub answer: ShareAnswer,
    /// Digest of the author's draft.
    pub content: Digest,
    pub policy: PolicyRef,
    /// None: the draft is held.
    pub permit: Option<Permit>,
    /// What the permit stands on; they leave the device sealed to the compliance key alone.
    pub findings: Vec<Finding>,
    /// The event of what would happen, if the rules report one.
    pub event: Option<Event>,
}

/// Inspects and decides with the facts given.
///
/// # Errors
/// No policy is in force.
pub(crate) async fn check_with(
    agent: &Agent,
    header: &ShareHeader,
    draft: Draft,
    facts: &Facts,
) -> anyhow::Result<Checked> {
    let policy = agent.policy.in_force()?;
    let judged = Judged::of(policy, facts.clone(), draft).await?;
    let (outcome, permit) = match judged.permit(facts, header) {
        Ok(permit) => (Outcome::Clear, Some(permit)),
        Err(outcome) => (outcome, None),
    };
    let clearance = permit
        .as_ref()
        .map(|permit| answer::clearance(agent, permit, facts, header));
    let kind = if outcome == Outcome::Blocked {
        EventKind::Blocked
    } else {
        EventKind::Shared
    };
    let event = match outcome {
        Outcome::NeedsReason | Outcome::NeedsAcceptance => None,
        Outcome::Clear | Outcome::Shared | Outcome::Blocked | Outcome::Refused | Outcome::Kept => {
            report::event(
                agent,
                kind,
                &judged.first_verdict(facts),
                facts,
                &judged.first,
                header.reason.as_deref(),
            )?
        }
    };
    let answer = ShareAnswer {
        reported: event.as_ref().and_then(answer::preview),
        clearance,
        ..answer::of(&judged, facts, outcome)
    };
    Ok(Checked {
        answer,
        content: judged.first.content,
        policy: judged.first_verdict(facts).policy(),
        permit,
        findings: judged.first.findings,
        event,
    })
}

pub(crate) async fn current_facts(
    agent: &Agent,
    audience: &Audience,
    header: &ShareHeader,
) -> anyhow::Result<Facts> {
    let member = agent.sealing.look(&agent.vault).await?;
    let follower = agent.directory.read().await;
    facts::for_audience(agent, &member, follower.directory(), audience.id, &header.labels)
}

/// Names of those who will be able to read it.
async fn readers(agent: &Agent, audience: &Audience) -> anyhow::Result<Vec<String>> {
    let roster = agent
        .sealing
        .look(&agent.vault)
        .await?
        .audience_state(audience.id)?
        .roster;
    Ok(roster
        .persons
        .iter()
        .map(|person| agent.name_of(*person))
        .collect())
}

/// The way of a draft that the policy lets through.
async fn way_out(
    agent: &Agent,
    audience: &Audience,
    judged: &Judged,
    header: &ShareHeader,
    facts: &Facts,
    offline: Offline,
) -> anyhow::Result<ShareAnswer> {
    if let Some(denied) = preflight(agent, audience, judged, facts).await? {
        let answer = ShareAnswer {
            refusal: Some(answer::early_refusal(denied)),
            ..answer::of(judged, facts, Outcome::Refused)
        };
        // Nothing was sealed, nothing is reported.
        return note(agent, audience, answer, offline).await;
    }
    let (sent, facts) = send::send(agent, audience, judged, header, offline).await?;
    agent.set_link(Link::Online);
    match sent {
        Sent::Accepted { sending, acceptance } => {
            accepted(agent, audience, judged, &facts, sending, &acceptance).await
        }
        Sent::Refused { cti, refusal } => {
            let answer = ShareAnswer {
                story: Some(cti),
                refusal: Some(refusal),
                ..answer::of(judged, &facts, Outcome::Refused)
            };
            finish(agent, cti, answer, Ending::Refused).await
        }
        Sent::Held(outcome) => held(agent, audience, judged, &facts, outcome, offline).await,
        Sent::Unanswered { cti } => keep(agent, audience, judged, &facts, header, offline, Some(cti)).await,
    }
}

/// What the sharing rules would say (P12); `None` when they let it through.
async fn preflight(
    agent: &Agent,
    audience: &Audience,
    judged: &Judged,
    facts: &Facts,
) -> Result<Option<Decision>, CallError> {
    let request = PreflightRequest {
        group: audience.id,
        labels: judged.first_verdict(facts).labels().clone(),
        app: facts.app.clone(),
        tier: send::tier(agent),
        binding: facts.binding,
    };
    let decision = agent.gateway.preflight(&request).await?;
    Ok(if decision.allowed { None } else { Some(decision) })
}

async fn accepted(
    agent: &Agent,
    audience: &Audience,
    judged: &Judged,
    facts: &Facts,
    sending: Sending,
    acceptance: &Acceptance,
) -> anyhow::Result<ShareAnswer> {
    let answer = ShareAnswer {
        story: Some(sending.cti),
        blobs: sending.blobs,
        epoch: Some(sending.epoch),
        readers: readers(agent, audience).await?,
        expires_at_s: Some(acceptance.expires_s),
        ..answer::of(judged, facts, Outcome::Shared)
    };
    let expires_s = acceptance.expires_s;
    finish(agent, sending.cti, answer, Ending::Accepted { expires_s }).await
}

/// Finishes the record of a sealing; the answer shows what it holds.
async fn finish(agent: &Agent, cti: Cti, answer: ShareAnswer, ending: Ending) -> anyhow::Result<ShareAnswer> {
    let Some(entry) = record::finish(agent, cti, ending).await? else {
        return Ok(answer);
    };
    Ok(ShareAnswer {
        reported: entry.reported,
        clearance: entry.clearance,
        ..answer
    })
}

/// A draft that is not shared: only a block is reported; a question that is still open is not.
async fn held(
    agent: &Agent,
    audience: &Audience,
    judged: &Judged,
    facts: &Facts,
    outcome: Outcome,
    offline: Offline,
) -> anyhow::Result<ShareAnswer> {
    let answer = answer::of(judged, facts, outcome);
    if outcome != Outcome::Blocked {
        return Ok(answer);
    }
    let event = report::event(
        agent,
        EventKind::Blocked,
        &judged.first_verdict(facts),
        facts,
        &judged.first,
        None,
    )?;
    record(agent, &shown_name(audience), answer, event, offline).await
}

/// Keeps a draft that the policy lets through until the gateway can be reached.
async fn keep(
    agent: &Agent,
    audience: &Audience,
    judged: &Judged,
    facts: &Facts,
    header: &ShareHeader,
    offline: Offline,
    sealed: Option<Cti>,
) -> anyhow::Result<ShareAnswer> {
    let mut answer = answer::of(judged, facts, Outcome::Kept);
    let permit = judged.permit(facts, header).ok();
    answer.clearance = permit.map(|permit| answer::clearance(agent, &permit, facts, header));
    let frame = draft::to_frame(header, judged.authored())?;
    match offline {
        Offline::Keep | Offline::Claimed(_) => {
            let mut id = [0; 16];
            rand::rng().fill_bytes(&mut id);
            let draft = pending::Draft {
                id,
                frame: &frame,
                sealed,
                claim: offline.claim(),
            };
            pending::keep(agent, facts.now_s, draft).await?;
            answer.kept = Some(hex::encode(id));
            note(agent, audience, answer, offline).await
        }
        Offline::Kept(id) => {
            pending::keep_again(agent, id, &frame, sealed).await?;
            Ok(answer)
        }
    }
}

/// Writes the journal line alone.
async fn note(
    agent: &Agent,
    audience: &Audience,
    answer: ShareAnswer,
    offline: Offline,
) -> anyhow::Result<ShareAnswer> {
    record(agent, &shown_name(audience), answer, None, offline).await
}

fn shown_name(audience: &Audience) -> String {
    audience.name.clone().unwrap_or_else(|| audience.id.to_string())
}

/// Records what became of a draft. A block whose event cannot be recorded is a block all the same: it is counted (S5).
///
/// # Errors
/// The store's; of a block that somebody waits for, only if it cannot even be counted.
pub(super) async fn record(
    agent: &Agent,
    audience: &str,
    answer: ShareAnswer,
    event: Option<Event>,
    offline: Offline,
) -> anyhow::Result<ShareAnswer> {
    let entry = ActivityEntry {
        at_s: agent.now_s(),
        audience: audience.to_owned(),
        outcome: answer.outcome,
        action: answer.action,
        rules: answer.rules.iter().map(|fired| fired.rule.clone()).collect(),
        story: answer.story,
        reported: answer.reported.clone(),
        clearance: answer.clearance.clone(),
        id: None,
        dispute: None,
    };
    let failed = match write_down(agent, entry.clone(), answer.clone(), event.clone(), offline).await {
        Ok(answer) => return Ok(answer),
        Err(error) => error,
    };
    let Some(event) =
        event.filter(|_| answer.outcome == Outcome::Blocked && matches!(offline, Offline::Keep))
    else {
        return Err(failed);
    };
    tracing::error!(error = %format!("{failed:#}"), "a block cannot be recorded");
    emergency::count(agent, entry, event)
        .await
        .context("a block can be neither recorded nor counted: is the disk full?")?;
    Ok(ShareAnswer {
        counted: true,
        ..answer
    })
}

/// One transaction: the event, the journal line that shows it, and the end of the claim.
async fn write_down(
    agent: &Agent,
    mut entry: ActivityEntry,
    mut answer: ShareAnswer,
    event: Option<Event>,
    offline: Offline,
) -> anyhow::Result<ShareAnswer> {
    let mut transaction = agent.vault.begin().await?;
    if let Some(event) = event {
        let event = spool::append(&mut transaction, &agent.vault, agent.moment()?, event).await?;
        answer.reported = answer::shown(&event);
        entry.reported.clone_from(&answer.reported);
    }
    record::write(agent, &mut transaction, &entry).await?;
    if let Some(id) = offline.claim()
        && answer.outcome != Outcome::Kept
    {
        let reason = card::render(&answer, Tense::Done);
        claim::update(&mut transaction, &agent.vault.cipher, id, |claim| {
            claim.state = OutboxState::Blocked;
            claim.reason = Some(reason);
            claim.unplaced = true;
        })
        .await?;
    }
    transaction.commit().await?;
    agent.changed();
    agent.events_wait.notify_one();
    Ok(answer)
}

/// The gateway's refusal of a step before sealing, as the command's error.
pub(crate) fn refused(error: anyhow::Error) -> anyhow::Error {
    let problem = error
        .chain()
        .find_map(|cause| match cause.downcast_ref::<CallError>() {
            Some(CallError::Refused(problem)) => Some(problem.clone()),
            Some(
                CallError::Unreachable(_)
                | CallError::Busy(..)
                | CallError::Unreadable(_)
                | CallError::State(_),
            )
            | None => None,
        });
    match problem {
        Some(problem) => LocalProblem::new(
            Exit::Refused,
            format!("{}: {}", problem.title, problem.detail),
            &problem.help,
        )
        .into(),
        None => error,
    }
}

/// Shares a draft that was kept under `id`.
///
/// # Errors
/// As [`share`].
pub(crate) async fn share_kept(agent: &Agent, id: [u8; 16], frame: &[u8]) -> anyhow::Result<ShareAnswer> {
    let (header, draft) = draft::from_frame(frame)?;
    share(agent, &header, draft, Offline::Kept(id)).await
}
