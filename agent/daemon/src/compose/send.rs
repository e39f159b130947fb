//! Sealing and posting: every state change is durable before a byte leaves (M6), and what was
//! sealed and not answered is asked for by `cti` before it is sealed again (K13).

use agent_seal::{
    Cleared, Clearing, Composition, DeviceSigner as _, DraftFile, DraftParts, Member, SealError, Sealed,
    clear, seal,
};
use anyhow::bail;
use gateway_api::error::ErrorCode;
use gateway_api::receipt::Acceptance;
use gateway_api::v1::events::EventKind;
use gateway_api::v1::rejoin::StateMark;
use gateway_api::v1::stories::Accepted;
use policies::decide::Facts;
use policies::terms::{AudienceId, Cti, Digest, ItemKind};
use telemetry::SpanName;

use super::judge::Judged;
use super::record::{self, Record};
use super::share::Offline;
use super::{answer, draft, facts, pending, report};
use crate::agent::Agent;
use crate::limits::{SEAL_ATTEMPTS_MAX, STORY_TTL_S};
use crate::local::wire::{ActivityEntry, ClearanceView, Outcome, RefusalView, ShareHeader};
use crate::spool;
use crate::uplink::client::CallError;
use crate::uplink::membership;
use crate::vault::audience::Audience;
use crate::vault::claim::{self, ClaimId};
use crate::vault::{self, mark, mls_record, outgoing};

/// A sealed story on its way; kept until it is answered.
pub(crate) struct Sending {
    pub cti: Cti,
    pub epoch: u64,
    pub blobs: Vec<Digest>,
}

/// How sending ended.
pub(crate) enum Sent {
    Accepted {
        sending: Sending,
        acceptance: Acceptance,
    },
    /// The gateway refused the sealed story.
    Refused { cti: Cti, refusal: RefusalView },
    /// The policy holds it after all, for the audience as it is now.
    Held(Outcome),
    /// Sealed, and no answer: it may have arrived.
    Unanswered { cti: Cti },
}

/// Settles the audience, decides for it as it then is, seals and posts. Stories of an audience leave in the order in
/// which they were sealed, one that was not answered first: readers destroy the keys of what is overtaken (RFC 9420,
/// 9.2).
///
/// # Errors
/// The gateway's before anything was sealed; the store's.
pub(crate) async fn send(
    agent: &Agent,
    audience: &Audience,
    judged: &Judged,
    header: &ShareHeader,
    offline: Offline,
) -> anyhow::Result<(Sent, Facts)> {
    let _turn = agent.turn(audience.id).await;
    pending::settle_earlier(agent, audience.id).await?;
    for _ in 0..SEAL_ATTEMPTS_MAX {
        let (attempt, facts) = attempt(agent, audience, judged, header, offline).await?;
        let (epoch, cleared, record) = match attempt {
            Attempt::Sealed {
                epoch,
                cleared,
                record,
            } => (epoch, cleared, record),
            Attempt::Held(outcome) => return Ok((Sent::Held(outcome), facts)),
            Attempt::Unsettled => continue,
        };
        tracing::info!(story = %cleared.cti(), group = %audience.id, epoch, "sealed");
        let posting = post(agent, epoch, &cleared, &record);
        match agent.exports.tracing().within(SpanName::Send, posting).await {
            Posted::Done(sent) => return Ok((sent, facts)),
            Posted::Moved(cti) => forget(agent, cti, record.claim).await?,
        }
    }
    bail!("the audience changes faster than this device can follow; try again in a moment");
}

enum Attempt {
    Sealed {
        epoch: u64,
        cleared: Box<Cleared>,
        record: Box<Record>,
    },
    Held(Outcome),
    /// Something came in between: settle again.
    Unsettled,
}

/// One round under the lock of the MLS state: settle, decide, seal, persist.
async fn attempt(
    agent: &Agent,
    audience: &Audience,
    judged: &Judged,
    header: &ShareHeader,
    offline: Offline,
) -> anyhow::Result<(Attempt, Facts)> {
    let mut member = agent.sealing.change(&agent.vault).await?;
    let attempted = attempt_with(agent, &mut member, audience, judged, header, offline).await;
    member.settled(attempted)
}

async fn attempt_with(
    agent: &Agent,
    member: &mut Member,
    audience: &Audience,
    judged: &Judged,
    header: &ShareHeader,
    offline: Offline,
) -> anyhow::Result<(Attempt, Facts)> {
    membership::settle(agent, member, audience.id).await?;
    let follower = agent.directory.read().await;
    let directory = follower.directory();
    let facts = facts::for_audience(agent, member, directory, audience.id, &header.labels)?;
    let permit = match judged.permit(&facts, header) {
        Ok(permit) => permit,
        Err(outcome) => return Ok((Attempt::Held(outcome), facts)),
    };
    let clearance = answer::clearance(agent, &permit, &facts, header);
    let event = report::event(
        agent,
        EventKind::Shared,
        &judged.first_verdict(&facts),
        &facts,
        &judged.first,
        header.reason.as_deref(),
    )?;
    spool::ensure_room_for_story(&mut *agent.vault.connection().await?).await?;
    let composition = Composition {
        audience_name: audience.name.clone().unwrap_or_default(),
        created_s: facts.now_s,
        ttl_s: header.ttl_s.unwrap_or(STORY_TTL_S),
    };
    let tracing = agent.exports.tracing();
    let sealing = tracing.within_now(SpanName::Seal, || {
        seal(
            member,
            permit,
            &parts(judged),
            composition,
            directory,
            &mut rand::rng(),
        )
    });
    let sealed = match sealing {
        Ok(sealed) => sealed,
        Err(SealError::DevicesToRemove(_) | SealError::RemovalPending | SealError::Unanswered) => {
            return Ok((Attempt::Unsettled, facts));
        }
        Err(error) => return Err(error.into()),
    };
    let epoch = sealed.epoch();
    let cleared = Box::new(clear_story(agent, judged, &facts, sealed)?);
    let record = Box::new(Record {
        audience: audience.id,
        envelope: Digest::of(cleared.envelope()),
        clearance: Digest::of(cleared.clearance()),
        event,
        claim: offline.claim(),
        entry: waits(audience, judged, &facts, cleared.cti(), clearance),
    });
    let frame = draft::to_frame(header, judged.authored())?;
    persist(agent, member, &cleared, &record, &frame, offline).await?;
    let sealed = Attempt::Sealed {
        epoch,
        cleared,
        record,
    };
    Ok((sealed, facts))
}

/// The journal line of a story that is sealed and not answered yet.
fn waits(
    audience: &Audience,
    judged: &Judged,
    facts: &Facts,
    cti: Cti,
    clearance: ClearanceView,
) -> ActivityEntry {
    let verdict = judged.first_verdict(facts);
    ActivityEntry {
        at_s: facts.now_s,
        audience: audience.name.clone().unwrap_or_else(|| audience.id.to_string()),
        outcome: Outcome::Kept,
        action: verdict.action(),
        rules: verdict.rules().iter().map(|fired| fired.rule.clone()).collect(),
        story: Some(cti),
        reported: None,
        clearance: Some(clearance),
        id: None,
        dispute: None,
    }
}

fn clear_story(agent: &Agent, judged: &Judged, facts: &Facts, sealed: Sealed) -> anyhow::Result<Cleared> {
    let evidence = judged.second.as_ref().unwrap_or(&judged.first);
    let clearing = Clearing {
        now_s: facts.now_s,
        app: facts.app.clone(),
        compliance: &agent.compliance,
        findings: &evidence.findings,
        agent_build: agent.build,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    Ok(clear(sealed, &agent.signer, clearing, &mut rand::rng())?)
}

/// State, draft, event and journal line, in one transaction, before any byte leaves (M6, S1).
async fn persist(
    agent: &Agent,
    member: &mut Member,
    cleared: &Cleared,
    record: &Record,
    frame: &[u8],
    offline: Offline,
) -> anyhow::Result<()> {
    let mut transaction = agent.vault.begin().await?;
    let cti = cleared.cti();
    mls_record::apply(&mut transaction, &agent.vault.cipher, member.take_changes()).await?;
    record::keep(agent, &mut transaction, record, frame, cleared).await?;
    match offline {
        Offline::Keep => {}
        Offline::Kept(id) => vault::pending::link(&mut transaction, id, cti).await?,
        Offline::Claimed(id) => {
            claim::update(&mut transaction, &agent.vault.cipher, id, |claim| {
                claim.story = Some(cti);
            })
            .await?;
        }
    }
    transaction.commit().await?;
    Ok(())
}

/// The very buffers that were inspected.
fn parts(judged: &Judged) -> DraftParts<'_> {
    let kinds = judged
        .second
        .as_ref()
        .unwrap_or(&judged.first)
        .items
        .iter()
        .skip(1)
        .map(|item| item.kind);
    let kinds = kinds.chain(std::iter::repeat(ItemKind::Other));
    let files = judged.draft.files().iter().zip(kinds);
    DraftParts {
        text: judged.draft.text(),
        files: files
            .map(|(file, kind)| DraftFile {
                name: &file.name,
                kind,
                bytes: &file.bytes,
            })
            .collect(),
    }
}

enum Posted {
    Done(Sent),
    /// Sealed for an epoch that is over.
    Moved(Cti),
}

async fn post(agent: &Agent, epoch: u64, cleared: &Cleared, record: &Record) -> Posted {
    let cti = cleared.cti();
    match transmit(agent, record.audience, cleared).await {
        Ok(accepted) => {
            let Some(acceptance) = verify(agent, cti, record, &accepted) else {
                return Posted::Done(Sent::Unanswered { cti });
            };
            let sending = Sending {
                cti,
                epoch,
                blobs: cleared.blobs().iter().map(|blob| blob.digest).collect(),
            };
            Posted::Done(Sent::Accepted { sending, acceptance })
        }
        Err(error)
            if matches!(
                error.code(),
                Some(ErrorCode::EpochMoved | ErrorCode::RemovalPending)
            ) =>
        {
            Posted::Moved(cti)
        }
        // A state that was overtaken or an identity that ended says nothing about the story: it is kept.
        Err(error) if error.is_temporary() => {
            tracing::warn!(story = %cti, %error, "the story was not answered");
            Posted::Done(Sent::Unanswered { cti })
        }
        Err(CallError::Refused(problem)) => {
            let refusal = answer::refusal(&problem, &agent.pins);
            Posted::Done(Sent::Refused { cti, refusal })
        }
        Err(error) => {
            tracing::warn!(story = %cti, %error, "the story was not answered");
            Posted::Done(Sent::Unanswered { cti })
        }
    }
}

async fn transmit(agent: &Agent, audience: AudienceId, cleared: &Cleared) -> Result<Accepted, CallError> {
    for blob in cleared.blobs() {
        agent.gateway.put_blob(blob.digest, blob.bytes.clone()).await?;
    }
    post_sealed(agent, audience, cleared.envelope(), cleared.clearance()).await
}

/// Posts with the state's mark. A mark that is too old is read and sent again while nothing changes here: it may have
/// crossed with a change of this very agent (M7).
pub(crate) async fn post_sealed(
    agent: &Agent,
    audience: AudienceId,
    envelope: &[u8],
    clearance: &[u8],
) -> Result<Accepted, CallError> {
    let state = state_mark(agent).await?;
    let posted = agent
        .gateway
        .post_story(audience, envelope.to_vec(), clearance, state)
        .await;
    match posted {
        Err(error) if error.code() == Some(ErrorCode::StateBehind) => {
            let _unchanged = agent.sealing.look(&agent.vault).await.map_err(CallError::State)?;
            let state = state_mark(agent).await?;
            agent
                .gateway
                .post_story(audience, envelope.to_vec(), clearance, state)
                .await
        }
        posted => posted,
    }
}

/// Without a mark nothing is posted: it would look like an agent that does not count.
async fn state_mark(agent: &Agent) -> Result<StateMark, CallError> {
    let read = async {
        let mut connection = agent.vault.connection().await?;
        mark::read(&mut connection, &agent.vault.cipher).await
    };
    read.await.map_err(CallError::State)
}

/// An acceptance counts only if it is signed, and of this story; any other answer is none.
pub(crate) fn verify(agent: &Agent, cti: Cti, record: &Record, accepted: &Accepted) -> Option<Acceptance> {
    let verified = Acceptance::verify(&accepted.acceptance.0, &agent.pins.acceptance);
    let Some(acceptance) = verified.ok().filter(|acceptance| record.is_of(cti, acceptance)) else {
        agent.alarm(
            &format!("acceptance/{cti}"),
            format!("the gateway's acceptance of story {cti} does not verify with the pinned key, or is of another story"),
        );
        return None;
    };
    agent.clock.saw_signed(acceptance.at_s);
    Some(acceptance)
}

/// A sealing that came to nothing is not asked for again.
async fn forget(agent: &Agent, cti: Cti, claimed: Option<ClaimId>) -> anyhow::Result<()> {
    let mut transaction = agent.vault.begin().await?;
    outgoing::remove(&mut transaction, cti).await?;
    if let Some(id) = claimed {
        claim::update(&mut transaction, &agent.vault.cipher, id, |claim| {
            claim.story = None;
        })
        .await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// The tier that clearances of this device attest.
pub(crate) fn tier(agent: &Agent) -> policies::terms::Tier {
    agent.signer.tier()
}
