//! The way back after a loss (M4, M5, M7, K4).
//!
//! ```text
//! state lost, or an old copy put back ─► `sealgate-agent rejoin` ─┐   device-rejoin entry   fresh state, where it was lost
//! behind the commits that are kept    ─► by itself ───────────────┴─► (signed, logged) ───► one external commit per audience
//! ```
//! Journal, drafts, events and names stay. Stories of before are not seen (K10).

use std::collections::BTreeSet;

use agent_seal::{DeviceSigner as _, Member, RejoinError};
use anyhow::bail;
use gateway_api::error::ErrorCode;
use gateway_api::v1::rejoin::{ExternalCommit, RejoinRequest, RejoinResponse};
use policies::rejoin::request_message;
use policies::terms::AudienceId;

use super::client::CallError;
use super::{directory, key_packages};
use crate::agent::{Agent, fresh_member};
use crate::limits::COMMIT_ATTEMPTS_MAX;
use crate::vault::audience::{self, Audience, AudienceState};
use crate::vault::rejoining::{self, Rejoining};
use crate::vault::setting::{self, Setting};
use crate::vault::{Connection, leaf_key, mark, mls_record};

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

/// Which audiences, and what of the state is left.
#[derive(Debug, Clone)]
pub(crate) enum Loss {
    /// The MLS state is gone, damaged or old: it is made anew, and every audience is joined again.
    State,
    /// The state is sound; these audiences' logs no longer reach back to it.
    Behind(BTreeSet<AudienceId>),
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

/// Joins again.
///
/// # Errors
/// The gateway's: it cannot be reached, or the device rejoined too often; the store's.
pub(crate) async fn rejoin(agent: &Agent, loss: Loss) -> anyhow::Result<Outcome> {
    let mut member = agent.sealing.change(&agent.vault).await?;
    let outcome = join_again(agent, &mut member, &loss).await;
    let outcome = member.settled(outcome)?;
    key_packages::replenish(agent).await?;
    finish(agent).await?;
    tracing::info!(
        joined = outcome.joined.len(),
        waiting = outcome.waiting.len(),
        "rejoined"
    );
    Ok(outcome)
}

async fn join_again(agent: &Agent, member: &mut Member, loss: &Loss) -> anyhow::Result<Outcome> {
    let answer = log(agent, loss).await?;
    let groups: Vec<AudienceId> = match loss {
        Loss::State => {
            start_anew(agent, member, answer.log_index).await?;
            answer.groups
        }
        Loss::Behind(behind) => {
            note_entry(agent, member, answer.log_index).await?;
            answer
                .groups
                .into_iter()
                .filter(|group| behind.contains(group))
                .collect()
        }
    };
    let mut outcome = Outcome {
        log_index: answer.log_index,
        ..Outcome::default()
    };
    for group in groups {
        match enter_again(agent, member, group, answer.log_index).await? {
            Way::Joined => outcome.joined.push(group),
            Way::Waits => outcome.waiting.push(group),
            Way::Over => {}
        }
    }
    Ok(outcome)
}

/// Sends again what was on its way when the agent ended, and goes on where it stopped.
///
/// # Errors
/// As [`rejoin`].
pub(crate) async fn resume(agent: &Agent) -> anyhow::Result<()> {
    let mut member = agent.sealing.change(&agent.vault).await?;
    let sent = send_waiting(agent, &mut member).await;
    member.settled(sent)?;
    let due = {
        let mut connection = agent.vault.connection().await?;
        setting::read_number(&mut connection, &agent.vault.cipher, Setting::RejoinDue).await?
    };
    if due != 0 {
        rejoin(agent, Loss::State).await?;
    }
    Ok(())
}

async fn send_waiting(agent: &Agent, member: &mut Member) -> anyhow::Result<()> {
    let waiting = {
        let mut connection = agent.vault.connection().await?;
        rejoining::all(&mut connection, &agent.vault.cipher).await?
    };
    for Rejoining { audience, request } in waiting {
        let commit: ExternalCommit = serde_json::from_slice(&request)?;
        if !send(agent, member, audience, &commit).await?
            && let Some(entry) = member.rejoined_by()
        {
            enter_again(agent, member, audience, entry).await?;
        }
    }
    Ok(())
}

/// The entry of the directory log, which must then be there.
async fn log(agent: &Agent, loss: &Loss) -> anyhow::Result<RejoinResponse> {
    let mut follower = agent.directory.write().await;
    directory::follow(agent, &mut follower).await?;
    let (tenant, device) = (&agent.enrollment.tenant, agent.enrollment.device);
    let (directory_size, state_lost) = (follower.size(), matches!(loss, Loss::State));
    let message = request_message(tenant, device, directory_size, state_lost);
    let request = RejoinRequest {
        directory_size,
        state_lost,
        proof: agent.signer.sign(&message)?.to_vec().into(),
    };
    let answer = agent.gateway.rejoin(&request).await?;
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
async fn start_anew(agent: &Agent, member: &mut Member, entry: u64) -> anyhow::Result<()> {
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
    audience::leave_all(&mut transaction).await?;
    mark::begin(&mut transaction, cipher, entry).await?;
    mls_record::apply(&mut transaction, cipher, fresh.take_changes()).await?;
    transaction.commit().await?;
    *member = fresh;
    Ok(())
}

async fn note_entry(agent: &Agent, member: &mut Member, entry: u64) -> anyhow::Result<()> {
    let cipher = &agent.vault.cipher;
    member.set_rejoined_by(entry)?;
    let mut transaction = agent.vault.begin().await?;
    mark::begin(&mut transaction, cipher, entry).await?;
    mls_record::apply(&mut transaction, cipher, member.take_changes()).await?;
    transaction.commit().await?;
    Ok(())
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
        if send(agent, member, group, &commit).await? {
            return Ok(Way::Joined);
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
    audience::set_state(&mut transaction, group, AudienceState::Left).await?;
    transaction.commit().await?;
    Ok(())
}

/// Sends an external commit; whether it won its epoch. One that did not is forgotten.
async fn send(
    agent: &Agent,
    member: &mut Member,
    group: AudienceId,
    commit: &ExternalCommit,
) -> anyhow::Result<bool> {
    let answered = agent.gateway.external_commit(group, commit).await;
    let cipher = &agent.vault.cipher;
    match answered {
        Ok(committed) => {
            let mut transaction = agent.vault.begin().await?;
            enter(agent, &mut transaction, group, committed.sequence).await?;
            rejoining::remove(&mut transaction, group).await?;
            let told = format!("this device joined audience {group} again; stories of before are not shown");
            agent.notice(&mut transaction, &told).await?;
            transaction.commit().await?;
            agent.changed();
            Ok(true)
        }
        Err(CallError::Refused(problem)) => {
            member.abandon(group)?;
            let mut transaction = agent.vault.begin().await?;
            mls_record::apply(&mut transaction, cipher, member.take_changes()).await?;
            rejoining::remove(&mut transaction, group).await?;
            transaction.commit().await?;
            if problem.code == ErrorCode::EpochMoved {
                Ok(false)
            } else {
                Err(CallError::Refused(problem).into())
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
    audience::put(connection, cipher, &entered).await
}

/// The gateway does not give the public state.
async fn turned_away(agent: &Agent, group: AudienceId, error: CallError) -> anyhow::Result<Way> {
    match error.code() {
        Some(ErrorCode::GroupInfoMissing) => ask_readmission(agent, group).await,
        Some(ErrorCode::NotAMember) => Ok(Way::Over),
        Some(_) | None => Err(error.into()),
    }
}

/// No external commit can be made. An audience that is not to be believed is an alarm, and keeps no other waiting.
async fn not_made(agent: &Agent, group: AudienceId, error: RejoinError) -> anyhow::Result<Way> {
    match error {
        RejoinError::OtherLeafKey => ask_readmission(agent, group).await,
        RejoinError::NotAMember | RejoinError::Unlisted => Ok(Way::Over),
        RejoinError::Refused(_) | RejoinError::Unusable => {
            agent.alarm(
                &format!("join/{group}"),
                format!("audience {group} was not joined again: {error}"),
            );
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
async fn finish(agent: &Agent) -> anyhow::Result<()> {
    let mut connection = agent.vault.connection().await?;
    setting::write_number(&mut connection, &agent.vault.cipher, Setting::RejoinDue, 0).await?;
    agent.all_clear(ALARM);
    agent.changed();
    Ok(())
}
