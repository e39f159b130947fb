//! The long poll, and what is done with its answer (K15): Welcomes, commits, proposals, stories,
//! each in the order of its log, each persisted with its cursor before the next is asked for.

use agent_seal::{JoinError, Member, ProcessError, Processed};
use gateway_api::v1::sync::{GroupBody, GroupItem, InboxBody, InboxItem, SyncRequest, SyncResponse};
use policies::terms::{AudienceId, DeviceId};

use super::directory::Follower;
use super::{behind, directory, foreign, origin, rejoin, renewal, stories};
use crate::agent::Agent;
use crate::vault::audience::{Audience, AudienceState};
use crate::vault::setting::{self, Setting};
use crate::vault::{Connection, audience, foreign_story, mark, mls_record};

/// Asks with the cursors of now.
///
/// # Errors
/// The gateway's, or the store's.
pub(crate) async fn ask(agent: &Agent, wait_s: u32) -> anyhow::Result<SyncResponse> {
    let mut connection = agent.vault.connection().await?;
    let audiences = audience::all(&mut connection, &agent.vault.cipher).await?;
    let inbox = setting::read_number(&mut connection, &agent.vault.cipher, Setting::InboxCursor).await?;
    let state = mark::read(&mut connection, &agent.vault.cipher).await?;
    drop(connection);
    let request = SyncRequest {
        inbox,
        groups: audiences
            .into_iter()
            .map(|audience| (audience.id, audience.cursor))
            .collect(),
        policy_version: agent.policy.asked_version(),
        directory_size: agent.directory.read().await.asked_size(),
        wait_s,
        state: Some(state),
        origin: origin::of(agent.enrollment.device),
    };
    Ok(agent.gateway.sync(&request).await?)
}

/// Asks, and waits for news. A mark that is too old is asked again while nothing changes here: a request that crossed
/// with a change of this very agent says nothing about the state (M7).
///
/// # Errors
/// As [`ask`].
pub(crate) async fn wait(agent: &Agent, wait_s: u32) -> anyhow::Result<SyncResponse> {
    match ask(agent, wait_s).await {
        Err(error) if rejoin::is_behind(&error) => {
            let _unchanged = agent.sealing.look(&agent.vault).await?;
            ask(agent, 0).await
        }
        answer => answer,
    }
}

/// Applies an answer. Items that were processed in the meantime are passed over.
///
/// # Errors
/// The gateway's (the directory log could not be followed), or the store's. What was applied stays.
pub(crate) async fn apply(agent: &Agent, member: &mut Member, response: SyncResponse) -> anyhow::Result<()> {
    if !response.unknown.is_empty() {
        // Asked again while nobody founds one: the answer may have crossed with its founding.
        for group in ask(agent, 0).await?.unknown {
            lose(agent, member, group).await?;
        }
    }
    let mut follower = agent.directory.write().await;
    if response.directory_size != follower.size() {
        directory::follow(agent, &mut follower).await?;
    }
    agent.behind.told(response.behind);
    for item in response.inbox {
        apply_inbox(agent, member, &mut follower, item).await?;
    }
    for (group, items) in response.groups {
        apply_group(agent, member, &mut follower, group, items).await?;
    }
    Ok(())
}

/// The gateway does not know an audience any more: nothing can be sent to it or come from it (K7).
async fn lose(agent: &Agent, member: &mut Member, group: AudienceId) -> anyhow::Result<()> {
    let cipher = &agent.vault.cipher;
    let mut transaction = agent.vault.begin().await?;
    let known = audience::by_id(&mut transaction, cipher, group).await?;
    let Some(known) = known.filter(|known| known.state == AudienceState::Member) else {
        return Ok(());
    };
    member.abandon(group)?;
    mls_record::apply(&mut transaction, cipher, member.take_changes()).await?;
    audience::set_state(&mut transaction, group, AudienceState::Left).await?;
    let name = known.name.unwrap_or_else(|| group.to_string());
    let told = format!(
        "the gateway does not know audience {name} any more; it may have been restored from a backup of before it. Create it again"
    );
    agent.notice(&mut transaction, &told).await?;
    transaction.commit().await?;
    agent.changed();
    Ok(())
}

/// Brings every log up to date, without waiting.
///
/// # Errors
/// As [`apply`].
pub(crate) async fn catch_up(agent: &Agent, member: &mut Member) -> anyhow::Result<()> {
    loop {
        let response = ask(agent, 0).await?;
        let more = response.more;
        apply(agent, member, response).await?;
        if !more {
            return Ok(());
        }
    }
}

async fn apply_inbox(
    agent: &Agent,
    member: &mut Member,
    follower: &mut Follower,
    item: InboxItem,
) -> anyhow::Result<()> {
    let cipher = &agent.vault.cipher;
    let done = {
        let mut connection = agent.vault.connection().await?;
        setting::read_number(&mut connection, cipher, Setting::InboxCursor).await?
    };
    if item.sequence <= done {
        return Ok(());
    }
    let judged = match &item.body {
        InboxBody::Story {
            list,
            envelope,
            clearance,
            acceptance,
        } => {
            let delivered = foreign::Delivered {
                list: &list.0,
                envelope: &envelope.0,
                clearance: &clearance.0,
                acceptance: &acceptance.0,
            };
            foreign::judge(agent, follower, delivered).await?
        }
        InboxBody::Welcome { .. } | InboxBody::Renew { .. } | InboxBody::Revoked { .. } => Ok(None),
    };
    let is_takeback = matches!(item.body, InboxBody::Revoked { .. });
    let mut transaction = agent.vault.begin().await?;
    match item.body {
        InboxBody::Welcome {
            group,
            welcome,
            ratchet_tree,
            by,
            sequence,
        } => {
            let joined = member.join(&welcome.0, &ratchet_tree.0, follower.directory());
            let known = audience::by_id(&mut transaction, cipher, group).await?;
            let is_in =
                known.is_some_and(|known| known.state == AudienceState::Member && known.cursor >= sequence);
            let is_deaf = matches!(joined, Err(JoinError::Unusable));
            match judge_join(joined, group, by) {
                Ok(()) => enter(agent, &mut transaction, group, sequence).await?,
                // It came in by another way since.
                Err(_) if is_in => {}
                // The others count it in: it joins in place of the leaf that they added (M4).
                Err(_) if is_deaf => behind::deaf(&mut transaction, &agent.vault, group).await?,
                Err(reason) => not_joined(agent, &mut transaction, group, &reason).await?,
            }
        }
        InboxBody::Renew { group } => renewal::asked(agent, group),
        InboxBody::Story { list, envelope, .. } => {
            let kept = match judged {
                Ok(Some(story)) => {
                    foreign::keep(agent, &mut transaction, follower, &story, list.0, &envelope.0).await?
                }
                // This device's own: its app has it.
                Ok(None) => Ok(()),
                Err(reason) => Err(reason),
            };
            if let Err(reason) = kept {
                agent.alarm(
                    "foreign-story",
                    format!("a story for an app is not handed on: {reason}"),
                );
            }
        }
        InboxBody::Revoked { cti } => foreign_story::close(&mut transaction, cti).await?,
    }
    mls_record::apply(&mut transaction, cipher, member.take_changes()).await?;
    setting::write_number(&mut transaction, cipher, Setting::InboxCursor, item.sequence).await?;
    transaction.commit().await?;
    if is_takeback {
        agent.vault.truncate_log().await?;
    }
    agent.changed();
    Ok(())
}

async fn not_joined(
    agent: &Agent,
    connection: &mut Connection,
    group: AudienceId,
    reason: &str,
) -> anyhow::Result<()> {
    let told = format!("audience {group} was not joined: {reason}");
    agent.notice(connection, &told).await?;
    agent.alarm(&format!("join/{group}"), told);
    Ok(())
}

fn judge_join(
    joined: Result<agent_seal::Joined, JoinError>,
    group: AudienceId,
    by: DeviceId,
) -> Result<(), String> {
    let joined = joined.map_err(|error| error.to_string())?;
    if joined.audience != group || joined.by != by {
        return Err("the gateway says something else about it than its Welcome".to_owned());
    }
    Ok(())
}

async fn enter(
    agent: &Agent,
    connection: &mut Connection,
    group: AudienceId,
    sequence: u64,
) -> anyhow::Result<()> {
    let cipher = &agent.vault.cipher;
    let name = audience::by_id(connection, cipher, group)
        .await?
        .and_then(|known| known.name);
    let entered = Audience {
        id: group,
        name,
        cursor: sequence,
        state: AudienceState::Member,
    };
    audience::put(connection, cipher, &entered).await?;
    behind::joined(connection, &agent.vault, group).await?;
    agent
        .notice(connection, &format!("you were added to audience {group}"))
        .await?;
    tracing::info!(%group, "joined");
    Ok(())
}

async fn apply_group(
    agent: &Agent,
    member: &mut Member,
    follower: &mut Follower,
    group: AudienceId,
    items: Vec<GroupItem>,
) -> anyhow::Result<()> {
    for item in items {
        let known = {
            let mut connection = agent.vault.connection().await?;
            audience::by_id(&mut connection, &agent.vault.cipher, group).await?
        };
        match known {
            Some(known) if item.sequence <= known.cursor => {}
            Some(known) if known.state == AudienceState::Member => {
                apply_item(agent, member, follower, &known, item).await?;
            }
            // Left, or never joined: acknowledged unread, or it would be delivered for ever.
            Some(known) => {
                pass_over(
                    agent,
                    Audience {
                        cursor: item.sequence,
                        ..known
                    },
                )
                .await?
            }
            None => {
                let (name, state) = (None, AudienceState::Left);
                pass_over(
                    agent,
                    Audience {
                        id: group,
                        name,
                        cursor: item.sequence,
                        state,
                    },
                )
                .await?;
            }
        }
    }
    Ok(())
}

async fn pass_over(agent: &Agent, audience: Audience) -> anyhow::Result<()> {
    let mut connection = agent.vault.connection().await?;
    audience::put(&mut connection, &agent.vault.cipher, &audience).await
}

async fn apply_item(
    agent: &Agent,
    member: &mut Member,
    follower: &mut Follower,
    known: &Audience,
    item: GroupItem,
) -> anyhow::Result<()> {
    match item.body {
        GroupBody::Commit { message } | GroupBody::Proposal { message } => {
            let processed = process(agent, member, follower, known.id, &message.0).await?;
            handshake(agent, member, follower, known.id, item.sequence, processed).await
        }
        GroupBody::Story {
            envelope,
            clearance,
            acceptance,
        } => {
            let delivered = stories::Delivered {
                sequence: item.sequence,
                envelope: envelope.0,
                clearance: clearance.0,
                acceptance: acceptance.0,
            };
            stories::receive(agent, member, follower, known, delivered).await
        }
        GroupBody::Revoked { cti } => stories::forget(agent, known.id, item.sequence, cti).await,
    }
}

/// Processes a handshake message; one that names an unlogged device is tried once more after
/// fetching the directory log (K8).
async fn process(
    agent: &Agent,
    member: &mut Member,
    follower: &mut Follower,
    group: AudienceId,
    message: &[u8],
) -> anyhow::Result<Result<Processed, ProcessError>> {
    let first = member.process(group, message, follower.directory());
    if !matches!(first, Err(ProcessError::Refused(_))) {
        return Ok(first);
    }
    directory::follow(agent, follower).await?;
    Ok(member.process(group, message, follower.directory()))
}

async fn handshake(
    agent: &Agent,
    member: &mut Member,
    follower: &Follower,
    group: AudienceId,
    sequence: u64,
    processed: Result<Processed, ProcessError>,
) -> anyhow::Result<()> {
    let mut transaction = agent.vault.begin().await?;
    match processed {
        Ok(Processed::CommitApplied {
            epoch,
            added,
            removed,
            ..
        }) => {
            tracing::info!(%group, epoch, added = added.len(), removed = removed.len(), "commit applied");
            tell_of_members(agent, &mut transaction, follower, group, &added).await?;
        }
        Ok(Processed::Rejoined { epoch, device }) => {
            tracing::info!(%group, epoch, %device, "a device joined again");
            tell_of_rejoin(agent, &mut transaction, follower, group, device).await?;
        }
        Ok(Processed::ProposalStored { removes }) => tracing::info!(%group, %removes, "removal proposed"),
        Ok(Processed::Removed) => {
            audience::set_state(&mut transaction, group, AudienceState::Left).await?;
            let told = format!("you are no longer in audience {group}");
            agent.notice(&mut transaction, &told).await?;
            tracing::info!(%group, "removed from the audience");
        }
        Ok(Processed::Story { .. }) => agent.alarm(
            &format!("log/{group}"),
            format!("the log of audience {group} holds a story in place of a commit"),
        ),
        // Applied already: the gateway shows a device its own commit too.
        Err(ProcessError::WrongEpoch { found, current }) if found < current => {
            tracing::debug!(%group, found, current, "passed over");
        }
        Err(error) => agent.alarm(
            &format!("log/{group}"),
            format!(
                "a message in the log of audience {group} was refused: {}",
                why(&error)
            ),
        ),
    }
    mls_record::apply(&mut transaction, &agent.vault.cipher, member.take_changes()).await?;
    audience::set_cursor(&mut transaction, group, sequence).await?;
    transaction.commit().await?;
    agent.changed();
    Ok(())
}

/// Why a message of an audience's log cannot be taken. A later epoch than the device's own means that a commit was
/// withheld from it: the log is shown in order (M2).
pub(crate) fn why(error: &ProcessError) -> String {
    if let ProcessError::WrongEpoch { found, current } = error
        && found > current
    {
        return format!(
            "the gateway did not show this device the commit that began epoch {}; tell your security team, then run \
             `sealgate-agent rejoin` to read on",
            current.saturating_add(1)
        );
    }
    error.to_string()
}

/// K4: members hear of each device that lost its state and put a fresh leaf in the place of its old one.
async fn tell_of_rejoin(
    agent: &Agent,
    connection: &mut Connection,
    follower: &Follower,
    group: AudienceId,
    device: DeviceId,
) -> anyhow::Result<()> {
    let person = follower
        .directory()
        .device(device)
        .map(|logged| agent.name_of(logged.person));
    let person = person.unwrap_or_else(|| "an unknown person".to_owned());
    let told = format!("{person}'s device {device} lost its state and joined audience {group} again");
    agent.notice(connection, &told).await
}

/// K8: members hear of each new device in their audience.
async fn tell_of_members(
    agent: &Agent,
    connection: &mut Connection,
    follower: &Follower,
    group: AudienceId,
    added: &[DeviceId],
) -> anyhow::Result<()> {
    for device in added.iter().filter(|device| **device != agent.enrollment.device) {
        let person = follower
            .directory()
            .device(*device)
            .map(|logged| agent.name_of(logged.person));
        let person = person.unwrap_or_else(|| "an unknown person".to_owned());
        let told = format!("{person} joined audience {group} with device {device}");
        agent.notice(connection, &told).await?;
    }
    Ok(())
}
