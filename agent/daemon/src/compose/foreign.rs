//! What a registered app seals by itself (A12, K17): a verdict on its draft, then a clearance over its bytes.
//!
//! ```text
//! check, for a list ─► permit, kept here until its receipt ends ─► receipt
//! receipt + sealed bytes ─► clearance over them ─► durable with the spent receipt ─► gateway ─► answered
//! ```
//!
//! A permit never leaves this process and is spent with its receipt, so no draft clears more than one story. That the
//! bytes are of the inspected draft is the app's word: the clearance says `app_asserted`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use agent_client::{Outcome as Ended, Refusal as RefusalView, Shared, StoryId};
use agent_inspect::Draft;
use agent_seal::limits::{CLEARANCE_LIFETIME_S, CLOCK_SKEW_S};
use agent_seal::{Asserted, ClearedAsserted, Clearing, DeviceSigner as _, Protocol, clear_asserted};
use gateway_api::bytes::Bytes;
use gateway_api::error::Problem;
use gateway_api::receipt::Acceptance;
use gateway_api::v1::events::{Event, EventKind};
use gateway_api::v1::stories::Accepted;
use policies::decide::{Facts, Permit};
use policies::device_list::DeviceList;
use policies::terms::{App, AudienceId, Binding, Digest, Finding};
use serde::{Deserialize, Serialize};
use telemetry::SpanName;

use super::share::{self, Checked, Offline};
use super::{answer, facts, record};
use crate::agent::{Agent, Link};
use crate::config::enrollment::Pins;
use crate::exit::Exit;
use crate::limits::VERDICTS_MAX;
use crate::local::frame;
use crate::local::receipt::{Receipt, ReceiptRefused, SignedReceipt};
use crate::local::wire::{ActivityEntry, LocalProblem, Outcome, ShareHeader};
use crate::spool;
use crate::uplink::client::CallError;
use crate::uplink::device_lists;
use crate::vault::foreign_sent::{self, SentRow};

/// Verdicts on drafts for lists, by the id of their receipt. A restart forgets them: the draft is checked again.
#[derive(Default)]
pub(crate) struct Verdicts(Mutex<BTreeMap<[u8; 16], Verdict>>);

/// What sealed bytes are cleared under.
pub(crate) struct Verdict {
    permit: Permit,
    findings: Vec<Finding>,
    event: Option<Event>,
    /// The journal line of what the verdict lets through.
    entry: ActivityEntry,
    expires_at_s: u64,
}

impl Verdicts {
    /// Keeps one until its receipt ends; of too many, the one that ends first goes.
    fn keep(&self, receipt: [u8; 16], verdict: Verdict, now_s: u64) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, verdict| verdict.expires_at_s > now_s);
        if kept.len() >= VERDICTS_MAX {
            let first = kept
                .iter()
                .min_by_key(|(_, verdict)| verdict.expires_at_s)
                .map(|(id, _)| *id);
            first.and_then(|id| kept.remove(&id));
        }
        kept.insert(receipt, verdict);
    }

    fn take(&self, receipt: &[u8; 16]) -> Option<Verdict> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(receipt)
    }
}

/// For whom an app's draft was inspected.
pub(crate) struct Judged {
    pub checked: Checked,
    pub audience: Option<AudienceId>,
    list: Option<DeviceList>,
}

/// Judges an app's draft: for a list of the app's, for one of the owner's audiences, or for nobody in particular.
/// With a list it is an attempt to share, so a block is reported as the rules say.
///
/// # Errors
/// No policy is in force, or the audience is not known.
pub(crate) async fn check(
    agent: &Agent,
    app: &App,
    header: &ShareHeader,
    draft: Draft,
) -> anyhow::Result<Judged> {
    let (facts, audience, list) = addressed(agent, app, header).await?;
    let facts = Facts {
        app: app.clone(),
        binding: Binding::AppAsserted,
        ..facts
    };
    let mut checked = share::check_with(agent, header, draft, &facts).await?;
    if let Some(list) = &list
        && checked.answer.outcome == Outcome::Blocked
    {
        let name = device_lists::shown_name(agent, list).await;
        let event = checked.event.take();
        checked.answer = share::record(agent, &name, checked.answer, event, Offline::Keep).await?;
    }
    Ok(Judged {
        checked,
        audience,
        list,
    })
}

async fn addressed(
    agent: &Agent,
    app: &App,
    header: &ShareHeader,
) -> anyhow::Result<(Facts, Option<AudienceId>, Option<DeviceList>)> {
    let Some(name) = header.audience.as_deref() else {
        return Ok((facts::for_nobody(agent, &header.labels)?, None, None));
    };
    if let Some(list) = device_lists::known(agent, app, name).await? {
        let follower = agent.directory.read().await;
        let facts = facts::for_list(agent, follower.directory(), &list, &header.labels)?;
        return Ok((facts, Some(list.id()), Some(list)));
    }
    let audience = agent.audience(name).await?;
    let facts = share::current_facts(agent, &audience, header).await?;
    Ok((facts, Some(audience.id), None))
}

/// Keeps the permit of a verdict on a draft for a list, for what the app seals, until its receipt ends.
pub(crate) async fn keep_verdict(agent: &Agent, judged: Judged, receipt: &Receipt) {
    let (Some(list), Some(permit)) = (judged.list, judged.checked.permit) else {
        return;
    };
    let answer = judged.checked.answer;
    let entry = ActivityEntry {
        at_s: agent.now_s(),
        audience: device_lists::shown_name(agent, &list).await,
        outcome: Outcome::Kept,
        action: answer.action,
        rules: answer.rules.into_iter().map(|fired| fired.rule).collect(),
        story: None,
        reported: None,
        clearance: answer.clearance,
        id: None,
        dispute: None,
    };
    let verdict = Verdict {
        permit,
        findings: judged.checked.findings,
        event: judged.checked.event,
        entry,
        expires_at_s: receipt.expires_at_s,
    };
    agent.verdicts.keep(receipt.id, verdict, agent.now_s());
}

/// What an app says about the bytes that it sealed.
pub(crate) struct Sealed {
    pub list: AudienceId,
    pub protocol: Protocol,
    pub ttl_s: u32,
    pub envelope: Vec<u8>,
}

/// Why sealed bytes were not taken.
pub(crate) enum NotShared {
    /// The receipt does not count.
    Receipt(ReceiptRefused),
    /// The agent cannot reach the gateway; nothing was used up.
    Offline,
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for NotShared {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<LocalProblem> for NotShared {
    fn from(problem: LocalProblem) -> Self {
        Self::Failed(problem.into())
    }
}

/// A story on its way, as it is kept until it is answered.
#[derive(Clone, Serialize, Deserialize)]
struct Waiting {
    list: AudienceId,
    /// From then on the gateway takes the clearance no more, Unix seconds.
    ends_s: u64,
    event: Option<Event>,
    entry: ActivityEntry,
}

/// What the row of a used receipt holds, in a frame.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sent {
    /// The parts of the frame are envelope and clearance.
    Waiting(Box<Waiting>),
    /// No parts.
    Answered { envelope: Digest, shared: Box<Shared> },
}

/// A story that is durable and not answered.
struct Sending {
    row: SentRow,
    waiting: Waiting,
    envelope: Vec<u8>,
    clearance: Vec<u8>,
}

/// A row, read.
enum Row {
    Sending(Box<Sending>),
    Answered { envelope: Digest, shared: Box<Shared> },
}

impl Row {
    fn decode(row: SentRow) -> anyhow::Result<Self> {
        let (sent, parts) = frame::decode::<Sent>(&row.value)?;
        match (sent, parts.as_slice()) {
            (Sent::Waiting(waiting), [envelope, clearance]) => Ok(Self::Sending(Box::new(Sending {
                waiting: *waiting,
                envelope: envelope.to_vec(),
                clearance: clearance.to_vec(),
                row,
            }))),
            (Sent::Answered { envelope, shared }, []) => Ok(Self::Answered { envelope, shared }),
            (Sent::Waiting(_) | Sent::Answered { .. }, _) => {
                anyhow::bail!("an app's story of the store is damaged")
            }
        }
    }
}

/// The row of a receipt.
async fn row(agent: &Agent, receipt: &[u8; 16]) -> anyhow::Result<Option<Row>> {
    let mut connection = agent.vault.connection().await?;
    let row = foreign_sent::by_receipt(&mut connection, &agent.vault.cipher, receipt).await?;
    row.map(Row::decode).transpose()
}

/// The answer to a receipt that was used, if it was used for these very bytes; a story that waits is posted again.
async fn again(agent: &Agent, row: Row, envelope: &[u8]) -> Result<Shared, NotShared> {
    let given = Digest::of(envelope);
    match row {
        Row::Answered { envelope, shared } if envelope == given => Ok(*shared),
        Row::Sending(sending) if Digest::of(&sending.envelope) == given => Ok(post(agent, *sending).await?),
        Row::Answered { .. } | Row::Sending(_) => Err(NotShared::Receipt(ReceiptRefused::Spent)),
    }
}

/// Asks for what was posted and not answered, after a crash or a broken line (K13). What never arrived, and cannot
/// arrive any more, is answered so.
///
/// # Errors
/// The gateway's, or the store's.
pub(crate) async fn settle(agent: &Agent) -> anyhow::Result<()> {
    let waiting = {
        let mut connection = agent.vault.connection().await?;
        foreign_sent::waiting(&mut connection, &agent.vault.cipher).await?
    };
    for SentRow { receipt, cti, .. } in waiting {
        // Whoever holds it posts, and will have the answer.
        let Ok(_one_at_a_time) = agent.sharing.try_lock() else {
            return Ok(());
        };
        let Some(Row::Sending(sending)) = row(agent, &receipt).await? else {
            continue;
        };
        match agent.gateway.story(cti).await? {
            Some(accepted) => {
                if let Some(acceptance) = verified(agent, &sending, &accepted) {
                    accept(agent, *sending, &accepted, &acceptance).await?;
                }
            }
            None => {
                if let Some(refusal) = gone(&sending.waiting, agent.now_s()) {
                    let shared = Shared {
                        outcome: Ended::Refused,
                        refusal: Some(refusal),
                        ..unanswered(&sending)
                    };
                    finish(agent, *sending, shared, EventKind::Refused).await?;
                }
            }
        }
    }
    Ok(())
}

/// What an app is told of a story that the gateway does not know and cannot take any more; none while it may still come.
fn gone(waiting: &Waiting, now_s: u64) -> Option<RefusalView> {
    if now_s <= waiting.ends_s {
        return None;
    }
    let (code, reason, help) = if record::may_be_forgotten(&waiting.entry, now_s) {
        (
            "forgotten",
            "nobody knows any more whether the gateway had it: it keeps the ids of stories for a day after their end",
            "ask its readers before you share it again",
        )
    } else {
        (
            "never-arrived",
            "the gateway never had it, and its clearance has ended",
            "have the draft checked again, and share it again",
        )
    };
    Some(RefusalView {
        code: code.to_owned(),
        rule: None,
        reason: reason.to_owned(),
        help: help.to_owned(),
        receipt: None,
    })
}

/// Clears sealed bytes under the verdict of a receipt, and posts them; the same again is answered the same.
///
/// # Errors
/// [`NotShared`]; a refusal of the gateway is an answer.
pub(crate) async fn share(
    agent: &Agent,
    app: &App,
    receipt: &SignedReceipt,
    content: Digest,
    sealed: Sealed,
) -> Result<Shared, NotShared> {
    let _one_at_a_time = agent.sharing.lock().await;
    let key = agent.signer.public_key();
    if let Some(id) = receipt.id(&key, app)
        && let Some(row) = row(agent, &id).await?
    {
        return again(agent, row, &sealed.envelope).await;
    }
    let checked = receipt
        .check(&key, app, content, agent.now_s())
        .map_err(NotShared::Receipt)?;
    if agent.link() != Link::Online {
        return Err(NotShared::Offline);
    }
    let list = device_lists::known(agent, app, &sealed.list.to_string())
        .await?
        .ok_or_else(|| {
            problem(
                Exit::Usage,
                "this app has no such list",
                "define it, or ask for it: /v1/app/lists",
            )
        })?;
    if checked.receipt().audience != Some(list.id()) {
        return Err(problem(
            Exit::Usage,
            "the draft was not checked for this list",
            "have it checked for the list that it is sealed for",
        )
        .into());
    }
    Asserted::check_bounds(&sealed.envelope, sealed.ttl_s).map_err(anyhow::Error::from)?;
    spool::ensure_room_for_story(&mut *agent.vault.connection().await?).await?;
    let verdict = agent.verdicts.take(&checked.receipt().id);
    let in_force = agent.policy.in_force()?.plan.policy();
    let Some(verdict) = verdict.filter(|verdict| verdict.permit.policy() == in_force) else {
        return Err(problem(
            Exit::Refused,
            "the verdict is not here any more: the agent was restarted, or has another policy since",
            "have the draft checked again",
        )
        .into());
    };
    let sending = clear(agent, app, &list, verdict, &sealed, checked.receipt().id)?;
    let mut transaction = agent.vault.begin().await?;
    checked
        .spend(&mut transaction)
        .await?
        .map_err(NotShared::Receipt)?;
    foreign_sent::insert(&mut transaction, &agent.vault.cipher, &sending.row, agent.now_s()).await?;
    transaction.commit().await.map_err(anyhow::Error::from)?;
    tracing::info!(story = %sending.row.cti, list = %list.id(), "cleared for an app");
    Ok(post(agent, sending).await?)
}

fn clear(
    agent: &Agent,
    app: &App,
    list: &DeviceList,
    verdict: Verdict,
    sealed: &Sealed,
    receipt: [u8; 16],
) -> anyhow::Result<Sending> {
    let Verdict {
        permit,
        findings,
        event,
        mut entry,
        ..
    } = verdict;
    let now_s = agent.now_s();
    let asserted = Asserted::new(
        permit,
        list.clone(),
        sealed.envelope.clone(),
        sealed.protocol.clone(),
        sealed.ttl_s,
        &mut rand::rng(),
    )?;
    let clearing = Clearing {
        now_s,
        app: app.clone(),
        compliance: &agent.compliance,
        findings: &findings,
        agent_build: agent.build,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let cleared: ClearedAsserted = clear_asserted(asserted, &agent.signer, clearing, &mut rand::rng())?;
    entry.story = Some(cleared.cti());
    if let Some(clearance) = &mut entry.clearance {
        clearance.lifetime_s = sealed.ttl_s;
    }
    let waiting = Waiting {
        list: list.id(),
        ends_s: now_s.saturating_add(CLEARANCE_LIFETIME_S + CLOCK_SKEW_S),
        event,
        entry,
    };
    let parts = [cleared.envelope(), cleared.clearance()];
    let value = frame::encode(&Sent::Waiting(Box::new(waiting.clone())), &parts)?;
    Ok(Sending {
        row: SentRow {
            receipt,
            cti: cleared.cti(),
            app: app.clone(),
            value,
        },
        waiting,
        envelope: cleared.envelope().to_vec(),
        clearance: cleared.clearance().to_vec(),
    })
}

/// Posts the very bytes that were cleared: they count once, however often they are posted (K13).
async fn post(agent: &Agent, sending: Sending) -> anyhow::Result<Shared> {
    let (list, envelope) = (sending.waiting.list, sending.envelope.clone());
    let posting = agent.gateway.post_to_list(list, envelope, &sending.clearance);
    let posted = agent.exports.tracing().within(SpanName::Send, posting).await;
    match posted {
        Ok(accepted) => match verified(agent, &sending, &accepted) {
            Some(acceptance) => accept(agent, sending, &accepted, &acceptance).await,
            None => Ok(unanswered(&sending)),
        },
        // An identity that ended says nothing about the story: an earlier try may have arrived.
        Err(error) if error.is_temporary() => Ok(waits(agent, &sending, &error)),
        Err(CallError::Refused(problem)) => {
            let shared = Shared {
                outcome: Ended::Refused,
                refusal: Some(refusal(&problem, &agent.pins)),
                ..unanswered(&sending)
            };
            finish(agent, sending, shared, EventKind::Refused).await
        }
        Err(error) => Ok(waits(agent, &sending, &error)),
    }
}

fn waits(agent: &Agent, sending: &Sending, error: &CallError) -> Shared {
    tracing::warn!(story = %sending.row.cti, %error, "an app's story was not answered");
    if matches!(error, CallError::Unreachable(_)) {
        agent.set_link(Link::Offline);
    }
    unanswered(sending)
}

fn unanswered(sending: &Sending) -> Shared {
    Shared {
        outcome: Ended::Unanswered,
        story: StoryId(sending.row.cti.to_string()),
        acceptance: None,
        expires_at_s: None,
        refusal: None,
    }
}

/// An acceptance counts only if it is signed, and of this story.
fn verified(agent: &Agent, sending: &Sending, accepted: &Accepted) -> Option<Acceptance> {
    let cti = sending.row.cti;
    let acceptance = Acceptance::verify(&accepted.acceptance.0, &agent.pins.acceptance).ok();
    let acceptance = acceptance.filter(|acceptance| {
        acceptance.cti == cti
            && acceptance.group == sending.waiting.list
            && acceptance.envelope == Digest::of(&sending.envelope)
            && acceptance.clearance == Digest::of(&sending.clearance)
    });
    if acceptance.is_none() {
        agent.alarm(
            &format!("acceptance/{cti}"),
            format!("the gateway's acceptance of story {cti} does not verify with the pinned key, or is of another story"),
        );
    }
    acceptance
}

async fn accept(
    agent: &Agent,
    sending: Sending,
    accepted: &Accepted,
    acceptance: &Acceptance,
) -> anyhow::Result<Shared> {
    agent.clock.saw_signed(acceptance.at_s);
    let shared = Shared {
        outcome: Ended::Accepted,
        acceptance: Some(accepted.acceptance.to_text()),
        expires_at_s: Some(acceptance.expires_s),
        ..unanswered(&sending)
    };
    finish(agent, sending, shared, EventKind::Shared).await
}

/// One transaction: the event, the journal line that shows it, and the answer in the place of what waited.
async fn finish(agent: &Agent, sending: Sending, shared: Shared, kind: EventKind) -> anyhow::Result<Shared> {
    let Waiting { event, mut entry, .. } = sending.waiting;
    entry.outcome = if shared.outcome == Ended::Accepted {
        Outcome::Shared
    } else {
        Outcome::Refused
    };
    let mut transaction = agent.vault.begin().await?;
    if let Some(event) = event {
        let event = spool::append_reserved(
            &mut transaction,
            &agent.vault,
            agent.moment()?,
            Event { kind, ..event },
        )
        .await?;
        entry.reported = answer::shown(&event);
    }
    record::write(agent, &mut transaction, &entry).await?;
    let answered = Sent::Answered {
        envelope: Digest::of(&sending.envelope),
        shared: Box::new(shared.clone()),
    };
    let value = frame::encode(&answered, &[])?;
    foreign_sent::answer(
        &mut transaction,
        &agent.vault.cipher,
        &sending.row.receipt,
        &value,
    )
    .await?;
    transaction.commit().await?;
    agent.changed();
    agent.events_wait.notify_one();
    Ok(shared)
}

/// The gateway's refusal; its receipt counts only if it is signed by the pinned key, and then its words do.
fn refusal(problem: &Problem, pins: &Pins) -> RefusalView {
    let view = answer::refusal(problem, pins);
    let receipt = problem
        .receipt
        .as_ref()
        .filter(|_| view.signed)
        .map(Bytes::to_text);
    RefusalView {
        code: view.code,
        rule: view.rule,
        reason: view.reason,
        help: view.help,
        receipt,
    }
}

fn problem(exit: Exit, message: &str, help: &str) -> LocalProblem {
    LocalProblem::new(exit, message, help)
}

#[cfg(test)]
mod tests {
    use policies::terms::Cti;

    use super::*;

    fn entry() -> ActivityEntry {
        ActivityEntry {
            at_s: 1,
            audience: "Bob".to_owned(),
            outcome: Outcome::Kept,
            action: policies::terms::Action::Allow,
            rules: Vec::new(),
            story: None,
            reported: None,
            clearance: None,
            id: None,
            dispute: None,
        }
    }

    fn sent_row(sent: &Sent, parts: &[&[u8]]) -> SentRow {
        SentRow {
            receipt: [1; 16],
            cti: Cti::from_bytes([2; 16]),
            app: App::parse("courier").unwrap(),
            value: frame::encode(sent, parts).unwrap(),
        }
    }

    /// K13: what waits is kept as the very bytes that were cleared; a damaged row is refused.
    #[test]
    fn a_story_that_waits_survives_the_store() {
        let waiting = Waiting {
            list: AudienceId::from_bytes([3; 16]),
            ends_s: 9,
            event: None,
            entry: entry(),
        };
        let sent = Sent::Waiting(Box::new(waiting));
        let row = Row::decode(sent_row(&sent, &[b"sealed", b"clearance"])).unwrap();
        let Row::Sending(sending) = row else {
            panic!("it does not wait");
        };
        assert_eq!(
            (&*sending.envelope, &*sending.clearance),
            (&b"sealed"[..], &b"clearance"[..])
        );
        assert!(Row::decode(sent_row(&sent, &[b"sealed"])).is_err());
    }

    /// K13: only while the gateway still knows the ids does its not knowing one mean that it never came.
    #[test]
    fn app_is_told_never_arrived_only_while_that_is_known() {
        let waiting = Waiting {
            list: AudienceId::from_bytes([3; 16]),
            ends_s: 400,
            event: None,
            entry: entry(),
        };
        let check = |now_s, code: Option<&str>| {
            let gone = gone(&waiting, now_s);
            assert_eq!(
                gone.as_ref().map(|refusal| refusal.code.as_str()),
                code,
                "{now_s}"
            );
        };
        check(400, None);
        check(401, Some("never-arrived"));
        check(2 * 86_400, Some("never-arrived"));
        check(2 * 86_400 + 1, Some("forgotten"));
    }
}
