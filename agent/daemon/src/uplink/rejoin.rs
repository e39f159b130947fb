//! The way back after a loss (M4, M5, M7, K4).
//!
//! ```text
//! state lost, or an old copy put back ─► `sealgate-agent rejoin` ─┐   device-rejoin entry   fresh state, where it was lost
//! behind the commits that are kept    ─► by itself ───────────────┴─► (signed, logged) ───► one external commit per audience
//! ```
//! Each step is durable with what it changes: an agent that dies goes on with it at its next connection (M6).
//! Journal, drafts, events and names stay. Stories of before are not seen (K10).

use std::collections::BTreeSet;

use agent_seal::{DeviceSigner as _, Member, RejoinError};
use anyhow::bail;
use gateway_api::error::ErrorCode;
use gateway_api::v1::rejoin::{ExternalCommit, RejoinRequest, RejoinResponse};
use policies::rejoin::request_message;
use policies::terms::AudienceId;

use super::client::CallError;
use super::{behind, directory, key_packages};
use crate::agent::{Agent, fresh_member};
use crate::limits::COMMIT_ATTEMPTS_MAX;
use crate::vault::audience::{self, Audience, AudienceState};
use crate::vault::cipher::StateCipher;
use crate::vault::rejoining::{self, Begun, Loss, Rejoining};
use crate::vault::{Connection, committing, leaf_key, mark, mls_record};

const ALARM: &str = "state";

/// What became of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    /// Index of the entry in the directory log.
    pub log_index: u64,
    /// Audiences that this device is in again.
    pub joined: Vec<AudienceId>,
    /// Audiences that a member must let it into again, since the key of its old leaf is lost.
    pub waiting: Vec<AudienceId>,
}

/// How one audience was joined again.
enum Way {
    Joined,
    /// Removed, and added anew by a member.
    Waits,
    /// Not one of its audiences any more.
    Over,
}

/// The gateway, or this device itself, found that the state is not the one that it had.
pub(crate) fn due(agent: &Agent, why: &str) {
    agent.alarm(
        ALARM,
        format!("{why}: nothing is sent or received, drafts are kept. Run: sealgate-agent rejoin"),
    );
}

/// Whether an error says that the state is older than one that the gateway has seen (M7).
pub(crate) fn is_behind(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<CallError>())
        .any(|error| error.code() == Some(ErrorCode::StateBehind))
}

/// Joins again, from the beginning.
///
/// # Errors
/// The gateway's: it cannot be reached, or the device rejoined too often; the store's.
pub(crate) async fn rejoin(agent: &Agent, loss: Loss) -> anyhow::Result<Outcome> {
    let mut member = agent.sealing.change(&agent.vault).await?;
    let outcome = carry_on(agent, &mut member, Begun::of(loss)).await;
    let outcome = member.settled(outcome)?;
    finish(agent, outcome).await
}

/// Whether the gateway refuses to log a rejoin, or to let this device in.
pub(crate) fn is_refused(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<CallError>())
        .any(|error| matches!(error, CallError::Refused(_)) && !error.is_temporary())
}

/// Says that the gateway refuses it.
pub(crate) fn alarm_refused(agent: &Agent, error: &anyhow::Error) {
    agent.alarm(
        ALARM,
        format!("a rejoin is due, and was refused: {error:#}; it is tried again by itself"),
    );
}

/// Sends again what was on its way when the agent ended, and goes on with the rejoin that is due. A refusal is an alarm,
/// and keeps nothing else from going on.
///
/// # Errors
/// As [`rejoin`].
pub(crate) async fn resume(agent: &Agent) -> anyhow::Result<()> {
    let mut member = agent.sealing.change(&agent.vault).await?;
    let resumed = resume_with(agent, &mut member).await;
    match member.settled(resumed) {
        Ok(Some(outcome)) => finish(agent, outcome).await.map(|_| ()),
        Ok(None) => Ok(()),
        Err(error) if is_refused(&error) => {
            alarm_refused(agent, &error);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

async fn resume_with(agent: &Agent, member: &mut Member) -> anyhow::Result<Option<Outcome>> {
    let cipher = &agent.vault.cipher;
    let waiting = rejoining::all(&mut *agent.vault.connection().await?, cipher).await?;
    for Rejoining { audience, request } in waiting {
        let commit: ExternalCommit = serde_json::from_slice(&request)?;
        if send(agent, member, audience, &commit).await?.is_none()
            && let Some(entry) = member.rejoined_by()
        {
            enter_again(agent, member, audience, entry).await?;
        }
    }
    let begun = rejoining::begun(&mut *agent.vault.connection().await?, cipher).await?;
    match begun {
        Some(begun) => carry_on(agent, member, begun).await.map(Some),
        None => Ok(None),
    }
}

/// Goes on where it stopped: each step is durable with what it changes.
async fn carry_on(agent: &Agent, member: &mut Member, begun: Begun) -> anyhow::Result<Outcome> {
    let (log_index, left) = match begun.entry {
        Some(entry) => (entry, begun.left),
        None => stand_under_entry(agent, member, begun).await?,
    };
    let mut outcome = Outcome {
        log_index,
        ..Outcome::default()
    };
    for group in left {
        match enter_again(agent, member, group, log_index).await? {
            Way::Joined => outcome.joined.push(group),
            Way::Waits => outcome.waiting.push(group),
            Way::Over => {}
        }
        let mut connection = agent.vault.connection().await?;
        rejoining::strike(&mut connection, &agent.vault.cipher, group).await?;
    }
    rejoining::end(&mut *agent.vault.connection().await?, &agent.vault.cipher).await?;
    Ok(outcome)
}

/// Has the rejoin logged, and puts the state under the entry; the entry, and the audiences to join.
async fn stand_under_entry(
    agent: &Agent,
    member: &mut Member,
    mut begun: Begun,
) -> anyhow::Result<(u64, BTreeSet<AudienceId>)> {
    let answer = log(agent, &mut begun).await?;
    begun.entry = Some(answer.log_index);
    begun.left = match &begun.loss {
        Loss::State => answer.groups.into_iter().collect(),
        Loss::Behind(behind) => answer
            .groups
            .into_iter()
            .filter(|group| behind.contains(group))
            .collect(),
    };
    match begun.loss {
        Loss::State => start_anew(agent, member, answer.log_index, &begun).await?,
        Loss::Behind(_) => note_entry(agent, member, answer.log_index, &begun).await?,
    }
    Ok((answer.log_index, begun.left))
}

/// The entry of the directory log, which must then be there. The question is durable before it is asked.
async fn log(agent: &Agent, begun: &mut Begun) -> anyhow::Result<RejoinResponse> {
    let mut follower = agent.directory.write().await;
    directory::follow(agent, &mut follower).await?;
    let directory_size = *begun.asked_at.get_or_insert(follower.size());
    let cipher = &agent.vault.cipher;
    rejoining::begin(&mut *agent.vault.connection().await?, cipher, begun).await?;
    let (tenant, device) = (&agent.enrollment.tenant, agent.enrollment.device);
    let state_lost = begun.loss == Loss::State;
    let message = request_message(tenant, device, directory_size, state_lost);
    let request = RejoinRequest {
        directory_size,
        state_lost,
        proof: agent.signer.sign(&message)?.to_vec().into(),
    };
    let answer = match agent.gateway.rejoin(&request).await {
        Err(error @ CallError::Refused(_)) if !error.is_temporary() => {
            let mut connection = agent.vault.connection().await?;
            match begun.loss {
                // It stays due: without a rejoin this device is in no audience any more.
                Loss::State => rejoining::begin(&mut connection, cipher, &Begun::of(Loss::State)).await?,
                Loss::Behind(_) => rejoining::end(&mut connection, cipher).await?,
            }
            return Err(error.into());
        }
        answer => answer?,
    };
    directory::follow(agent, &mut follower).await?;
    let logged = follower.directory().device(device);
    let is_logged = logged.is_some_and(|logged| {
        logged
            .rejoins
            .iter()
            .any(|rejoin| rejoin.index == answer.log_index)
    });
    if !is_logged {
        bail!("the gateway says that it logged the rejoin, and its directory log does not hold it");
    }
    Ok(answer)
}

/// A fresh MLS state; what is not MLS stays. The audiences come back one by one.
async fn start_anew(agent: &Agent, member: &mut Member, entry: u64, begun: &Begun) -> anyhow::Result<()> {
    let cipher = &agent.vault.cipher;
    let mut fresh = fresh_member(
        &agent.paths,
        cipher,
        &agent.enrollment,
        &agent.pins,
        &agent.signer,
    )?;
    fresh.set_rejoined_by(entry)?;
    leaf_key::keep(&agent.paths, cipher, &fresh)?;
    let mut transaction = agent.vault.begin().await?;
    mls_record::clear(&mut transaction).await?;
    rejoining::clear(&mut transaction).await?;
    committing::clear(&mut transaction).await?;
    audience::leave_all(&mut transaction).await?;
    stand(&mut transaction, cipher, entry, begun).await?;
    mls_record::apply(&mut transaction, cipher, fresh.take_changes()).await?;
    transaction.commit().await?;
    *member = fresh;
    Ok(())
}

async fn note_entry(agent: &Agent, member: &mut Member, entry: u64, begun: &Begun) -> anyhow::Result<()> {
    let cipher = &agent.vault.cipher;
    member.set_rejoined_by(entry)?;
    let mut transaction = agent.vault.begin().await?;
    stand(&mut transaction, cipher, entry, begun).await?;
    mls_record::apply(&mut transaction, cipher, member.take_changes()).await?;
    transaction.commit().await?;
    Ok(())
}

async fn stand(
    connection: &mut Connection,
    cipher: &StateCipher,
    entry: u64,
    begun: &Begun,
) -> anyhow::Result<()> {
    mark::begin(connection, cipher, entry).await?;
    rejoining::begin(connection, cipher, begun).await
}

async fn enter_again(
    agent: &Agent,
    member: &mut Member,
    group: AudienceId,
    entry: u64,
) -> anyhow::Result<Way> {
    for _ in 0..COMMIT_ATTEMPTS_MAX {
        let public = match agent.gateway.public_state(group).await {
            Ok(public) => public,
            Err(error) => return turned_away(agent, group, error).await,
        };
        let made = {
            let follower = agent.directory.read().await;
            let (info, tree) = (&public.group_info.0, &public.ratchet_tree.0);
            member.rejoin(group, info, tree, follower.directory(), entry)
        };
        let rejoined = match made {
            Ok(rejoined) => rejoined,
            Err(error) => return not_made(agent, group, error).await,
        };
        let commit = ExternalCommit {
            commit: rejoined.commit.into(),
            group_info: rejoined.group_info.into(),
        };
        keep(agent, member, group, &commit).await?;
        if let Some(way) = send(agent, member, group, &commit).await? {
            return Ok(way);
        }
    }
    bail!("audience {group} changes faster than this device can follow; try again in a moment");
}

/// State and commit are durable before a byte leaves (M6). Until the answer the device counts as outside.
async fn keep(
    agent: &Agent,
    member: &mut Member,
    group: AudienceId,
    commit: &ExternalCommit,
) -> anyhow::Result<()> {
    let cipher = &agent.vault.cipher;
    let rejoining = Rejoining {
        audience: group,
        request: serde_json::to_vec(commit)?,
    };
    let mut transaction = agent.vault.begin().await?;
    mls_record::apply(&mut transaction, cipher, member.take_changes()).await?;
    rejoining::put(&mut transaction, cipher, &rejoining).await?;
    committing::remove(&mut transaction, group).await?;
    audience::set_state(&mut transaction, group, AudienceState::Left).await?;
    transaction.commit().await?;
    Ok(())
}

/// Sends an external commit; none where another commit won the epoch. One that did not get in is forgotten.
async fn send(
    agent: &Agent,
    member: &mut Member,
    group: AudienceId,
    commit: &ExternalCommit,
) -> anyhow::Result<Option<Way>> {
    let answered = agent.gateway.external_commit(group, commit).await;
    let cipher = &agent.vault.cipher;
    match answered {
        Ok(committed) => {
            let mut transaction = agent.vault.begin().await?;
            enter(agent, &mut transaction, group, committed.sequence).await?;
            rejoining::remove(&mut transaction, group).await?;
            rejoining::strike(&mut transaction, cipher, group).await?;
            let told = format!("this device joined audience {group} again; stories of before are not shown");
            agent.notice(&mut transaction, &told).await?;
            transaction.commit().await?;
            agent.changed();
            Ok(Some(Way::Joined))
        }
        Err(error @ CallError::Refused(_)) if !error.is_temporary() => {
            member.abandon(group)?;
            let mut transaction = agent.vault.begin().await?;
            mls_record::apply(&mut transaction, cipher, member.take_changes()).await?;
            rejoining::remove(&mut transaction, group).await?;
            transaction.commit().await?;
            if error.code() == Some(ErrorCode::EpochMoved) {
                Ok(None)
            } else {
                refused(agent, group, error).await.map(Some)
            }
        }
        // Whether it arrived is not known: the same bytes are sent again.
        Err(error) => Err(error.into()),
    }
}

async fn enter(
    agent: &Agent,
    connection: &mut Connection,
    group: AudienceId,
    cursor: u64,
) -> anyhow::Result<()> {
    let cipher = &agent.vault.cipher;
    let known = audience::by_id(connection, cipher, group).await?;
    let entered = Audience {
        id: group,
        name: known.and_then(|known| known.name),
        cursor,
        state: AudienceState::Member,
    };
    audience::put(connection, cipher, &entered).await?;
    behind::joined(connection, &agent.vault, group).await
}

/// The gateway does not give the public state.
async fn turned_away(agent: &Agent, group: AudienceId, error: CallError) -> anyhow::Result<Way> {
    match error.code() {
        Some(ErrorCode::GroupInfoMissing) => ask_readmission(agent, group).await,
        Some(ErrorCode::NotAMember) => Ok(Way::Over),
        Some(_) | None => refused(agent, group, error).await,
    }
}

/// What will not be granted later either is an alarm, and keeps no other audience waiting.
async fn refused(agent: &Agent, group: AudienceId, error: CallError) -> anyhow::Result<Way> {
    if error.is_temporary() || !matches!(error, CallError::Refused(_)) {
        return Err(error.into());
    }
    not_joined(agent, group, &error).await?;
    Ok(Way::Over)
}

async fn not_joined(
    agent: &Agent,
    group: AudienceId,
    why: &(dyn std::error::Error + Sync),
) -> anyhow::Result<()> {
    let told = format!("audience {group} was not joined again: {why}");
    agent.notice(&mut *agent.vault.connection().await?, &told).await?;
    agent.alarm(&format!("join/{group}"), told);
    Ok(())
}

/// No external commit can be made. An audience that is not to be believed is an alarm, and keeps no other waiting.
async fn not_made(agent: &Agent, group: AudienceId, error: RejoinError) -> anyhow::Result<Way> {
    match error {
        RejoinError::OtherLeafKey => ask_readmission(agent, group).await,
        RejoinError::NotAMember | RejoinError::Unlisted => Ok(Way::Over),
        RejoinError::Refused(_) | RejoinError::Unusable => {
            not_joined(agent, group, &error).await?;
            Ok(Way::Over)
        }
        RejoinError::Member(error) => Err(error.into()),
    }
}

async fn ask_readmission(agent: &Agent, group: AudienceId) -> anyhow::Result<Way> {
    agent.gateway.readmission(group).await?;
    let told = format!("the next member who posts to audience {group} lets this device in again");
    agent.notice(&mut *agent.vault.connection().await?, &told).await?;
    Ok(Way::Waits)
}

/// Nothing is due any more.
async fn finish(agent: &Agent, outcome: Outcome) -> anyhow::Result<Outcome> {
    key_packages::replenish(agent).await?;
    agent.all_clear(ALARM);
    agent.changed();
    tracing::info!(
        joined = outcome.joined.len(),
        waiting = outcome.waiting.len(),
        "rejoined"
    );
    Ok(outcome)
}
