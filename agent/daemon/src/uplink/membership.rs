//! Bringing an audience to what list and log say before posting (K8, K9): this agent computes the
//! Adds and Removes itself and commits them; the gateway's pending Removes come along.

use std::collections::{BTreeMap, BTreeSet};

use agent_seal::{Member, MembershipChange, StageError, StagedCommit};
use anyhow::{Context as _, bail};
use gateway_api::error::ErrorCode;
use gateway_api::v1::groups::Commit;
use gateway_api::v1::key_packages::{Claim, ClaimedKeyPackage};
use policies::roster::Roster;
use policies::terms::{AudienceId, DeviceId, PersonId};

use super::client::CallError;
use super::{renewal, sync};
use crate::agent::Agent;
use crate::limits::COMMIT_ATTEMPTS_MAX;
use crate::vault::{committing, mls_record};

/// Commits until the audience is settled: keys renewed today, no device too many, no pending removal, every logged
/// device of a listed person in it (save those without a key package, who wait for the next poster).
///
/// # Errors
/// The gateway's, the store's, or that others kept winning every epoch.
pub(crate) async fn settle(agent: &Agent, member: &mut Member, audience: AudienceId) -> anyhow::Result<()> {
    change_roster(agent, member, audience, |_| Ok(None)).await
}

/// Changes the roster, and the devices with it. `edit` is asked again whenever the group moved.
///
/// # Errors
/// As [`settle`], or `edit`'s.
pub(crate) async fn change_roster(
    agent: &Agent,
    member: &mut Member,
    audience: AudienceId,
    edit: impl Fn(&Roster) -> anyhow::Result<Option<Roster>> + Send + Sync,
) -> anyhow::Result<()> {
    for _ in 0..COMMIT_ATTEMPTS_MAX {
        ready(agent, member, audience).await?;
        let roster = edit(&member.audience_state(audience)?.roster)?;
        let change = needed(agent, member, audience, roster).await?;
        let Some(change) = change else { return Ok(()) };
        let staged = {
            let follower = agent.directory.read().await;
            member.stage_membership(audience, &change, follower.directory(), agent.now_s())
        };
        if submit(agent, member, audience, staged).await? == Submitted::Won && change.roster.is_some() {
            // The list changed; once more round for devices that fit the list only from here on.
            return Box::pin(settle(agent, member, audience)).await;
        }
    }
    bail!("the audience changes faster than this device can follow; try again in a moment");
}

/// One commit that renews this device's keys, and nothing else but what is pending (M9, M12).
///
/// # Errors
/// As [`settle`].
pub(crate) async fn renew(agent: &Agent, member: &mut Member, audience: AudienceId) -> anyhow::Result<()> {
    for _ in 0..COMMIT_ATTEMPTS_MAX {
        ready(agent, member, audience).await?;
        let staged = {
            let follower = agent.directory.read().await;
            member.stage_self_update(audience, follower.directory())
        };
        if submit(agent, member, audience, staged).await? == Submitted::Won {
            return Ok(());
        }
    }
    bail!("the audience changes faster than this device can follow; try again in a moment");
}

/// Leaves: off the roster by a commit, then a proposal that another member commits.
///
/// # Errors
/// The last owner cannot leave; the gateway's or the store's.
pub(crate) async fn leave(agent: &Agent, member: &mut Member, audience: AudienceId) -> anyhow::Result<()> {
    for _ in 0..COMMIT_ATTEMPTS_MAX {
        ready(agent, member, audience).await?;
        let staged = {
            let follower = agent.directory.read().await;
            member.stage_leave(audience, follower.directory())
        };
        if submit(agent, member, audience, staged).await? == Submitted::Won {
            let proposal = member.propose_leave(audience)?;
            persist(agent, member).await?;
            let proposal = gateway_api::v1::groups::Proposal {
                proposal: proposal.into(),
            };
            agent.gateway.propose(audience, &proposal).await?;
            return Ok(());
        }
    }
    bail!("the audience changes faster than this device can follow; try again in a moment");
}

/// Up to date, and no unanswered commit of an earlier attempt: one that the log does not show may be on its way still,
/// so the same bytes are sent again until the gateway says what became of them.
async fn ready(agent: &Agent, member: &mut Member, audience: AudienceId) -> anyhow::Result<()> {
    sync::catch_up(agent, member).await?;
    let staged = member
        .audience_state(audience)
        .context("this device is no longer in the audience")?
        .staged;
    let cipher = &agent.vault.cipher;
    let sent = committing::of(&mut *agent.vault.connection().await?, cipher, audience).await?;
    match (sent, staged) {
        (Some(commit), true) => {
            if let Err(refused) = conclude(agent, member, audience, &commit).await? {
                tracing::warn!(group = %audience, %refused, "an earlier commit is given up");
            }
            Ok(())
        }
        (Some(_), false) => committing::remove(&mut *agent.vault.connection().await?, audience).await,
        (None, true) => discard(agent, member, audience).await,
        (None, false) => Ok(()),
    }
}

/// Another commit won the epoch, or none will.
async fn discard(agent: &Agent, member: &mut Member, audience: AudienceId) -> anyhow::Result<()> {
    member.discard_staged(audience)?;
    let mut transaction = agent.vault.begin().await?;
    mls_record::apply(&mut transaction, &agent.vault.cipher, member.take_changes()).await?;
    committing::remove(&mut transaction, audience).await?;
    transaction.commit().await?;
    Ok(())
}

/// The change that list and log ask for; none when the audience is as it should be.
async fn needed(
    agent: &Agent,
    member: &Member,
    audience: AudienceId,
    roster: Option<Roster>,
) -> anyhow::Result<Option<MembershipChange>> {
    let state = member.audience_state(audience)?;
    let listed = roster.as_ref().unwrap_or(&state.roster);
    let (remove, missing) = {
        let follower = agent.directory.read().await;
        let directory = follower.directory();
        let stale = |device: &DeviceId| {
            directory
                .device(*device)
                .is_none_or(|found| found.revoked || !listed.persons.contains(&found.person))
        };
        let remove: Vec<DeviceId> = state
            .members
            .iter()
            .copied()
            .filter(|device| stale(device) && !state.pending_removals.contains(device))
            .collect();
        let missing: Vec<DeviceId> = listed
            .persons
            .iter()
            .flat_map(|person| directory.devices_of(*person))
            .filter(|found| !found.revoked && !state.members.contains(&found.device))
            .map(|found| found.device)
            .collect();
        (remove, missing)
    };
    let claimed = claim(agent, missing).await?;
    let newly_listed: Vec<PersonId> = listed
        .persons
        .difference(&state.roster.persons)
        .copied()
        .collect();
    let add = admissible(agent, member, claimed, &newly_listed).await?;
    let nothing = add.is_empty()
        && remove.is_empty()
        && state.pending_removals.is_empty()
        && !renewal::is_due(renewal::last_s(agent, audience).await?, agent.now_s());
    if nothing && roster.as_ref().is_none_or(|roster| *roster == state.roster) {
        return Ok(None);
    }
    Ok(Some(MembershipChange {
        add,
        remove,
        roster: roster.filter(|roster| *roster != state.roster),
    }))
}

/// The key packages that may be added. One that may not keeps its device out and nobody else; a person who
/// is to be listed and has no device that may be added is an error (K8).
async fn admissible(
    agent: &Agent,
    member: &Member,
    claimed: Vec<ClaimedKeyPackage>,
    newly_listed: &[PersonId],
) -> anyhow::Result<Vec<Vec<u8>>> {
    let follower = agent.directory.read().await;
    let directory = follower.directory();
    let person_of = |device: DeviceId| directory.device(device).map(|logged| logged.person);
    let (mut add, mut entering, mut refused) = (Vec::new(), BTreeSet::new(), BTreeMap::new());
    for claimed in claimed {
        let package = claimed.key_package.0;
        match member.judge_key_package(&package, directory, agent.now_s()) {
            Ok(device) => {
                entering.extend(person_of(device));
                add.push(package);
            }
            Err(reason) => {
                let message = format!(
                    "device {} is kept out of every audience: {reason}",
                    claimed.device
                );
                agent.alarm(&format!("key-package/{}", claimed.device), message);
                refused.extend(person_of(claimed.device).map(|person| (person, reason)));
            }
        }
    }
    for person in newly_listed.iter().filter(|person| !entering.contains(person)) {
        if let Some(reason) = refused.get(person) {
            bail!("{} cannot be added: {reason}", agent.name_of(*person));
        }
    }
    Ok(add)
}

async fn claim(agent: &Agent, devices: Vec<DeviceId>) -> anyhow::Result<Vec<ClaimedKeyPackage>> {
    if devices.is_empty() {
        return Ok(Vec::new());
    }
    let asked = devices.len();
    let claimed = agent.gateway.claim_key_packages(&Claim { devices }).await?;
    tracing::info!(
        asked,
        claimed = claimed.key_packages.len(),
        "key packages claimed"
    );
    Ok(claimed.key_packages)
}

#[derive(Debug, PartialEq, Eq)]
enum Submitted {
    /// The commit won its epoch and is merged.
    Won,
    /// Another commit won: the change is to be computed anew.
    Moved,
}

/// Persists, sends, and follows the log up to the commit, where it is merged in its order: stories
/// of the epoch that it ends are opened before its keys go.
async fn submit(
    agent: &Agent,
    member: &mut Member,
    audience: AudienceId,
    staged: Result<StagedCommit, StageError>,
) -> anyhow::Result<Submitted> {
    let staged = staged?;
    let commit = Commit {
        commit: staged.commit.into(),
        welcome: staged.welcome.map(Into::into),
        group_info: staged.group_info.into(),
        joiners: staged.joiners,
    };
    let (cipher, mut transaction) = (&agent.vault.cipher, agent.vault.begin().await?);
    mls_record::apply(&mut transaction, cipher, member.take_changes()).await?;
    committing::put(&mut transaction, cipher, audience, &commit).await?;
    transaction.commit().await?;
    Ok(conclude(agent, member, audience, &commit).await??)
}

/// Sends a commit that is durable, and settles it by the answer; a refused one is given up. Without a word on this commit
/// it stays: whether it arrived is not known.
async fn conclude(
    agent: &Agent,
    member: &mut Member,
    audience: AudienceId,
    commit: &Commit,
) -> anyhow::Result<Result<Submitted, CallError>> {
    let answer = match agent.gateway.commit(audience, commit).await {
        Err(error) if error.is_temporary() || !matches!(error, CallError::Refused(_)) => {
            return Err(error.into());
        }
        answer => answer,
    };
    // Also after a refusal: an earlier try of these bytes, whose answer never came, may have won.
    sync::catch_up(agent, member).await?;
    let is_staged = member.audience_state(audience)?.staged;
    match answer {
        Ok(committed) if is_staged => bail!(
            "the gateway took a commit and does not show it in the log of the audience (epoch {})",
            committed.epoch
        ),
        Ok(_) => {
            committing::remove(&mut *agent.vault.connection().await?, audience).await?;
            renewal::done(agent, audience).await?;
            Ok(Ok(Submitted::Won))
        }
        Err(error) => {
            discard(agent, member, audience).await?;
            if error.code() == Some(ErrorCode::EpochMoved) {
                Ok(Ok(Submitted::Moved))
            } else {
                Ok(Err(error))
            }
        }
    }
}

/// Writes what changed before any byte leaves (M6).
///
/// # Errors
/// The store's.
pub(crate) async fn persist(agent: &Agent, member: &mut Member) -> anyhow::Result<()> {
    let mut transaction = agent.vault.begin().await?;
    mls_record::apply(&mut transaction, &agent.vault.cipher, member.take_changes()).await?;
    transaction.commit().await?;
    Ok(())
}
