//! Creating an audience (K9): the group is made here, persisted, announced to the gateway, and
//! then brought to its list.

use std::collections::BTreeSet;

use agent_seal::Member;
use gateway_api::v1::groups::Create;
use policies::roster::Roster;
use policies::terms::{AudienceId, PersonId};
use rand::Rng as _;

use super::client::CallError;
use super::membership;
use crate::agent::Agent;
use crate::exit::Exit;
use crate::local::wire::LocalProblem;
use crate::vault::audience::{self, Audience, AudienceState};
use crate::vault::{mls_record, renewal};

/// Longest name of an audience, in bytes.
const NAME_BYTES_MAX: usize = 100;

/// Creates an audience of these people and this device's own.
///
/// # Errors
/// The name is taken or unfit; the gateway's or the store's.
pub(crate) async fn create(
    agent: &Agent,
    name: &str,
    people: &BTreeSet<PersonId>,
) -> anyhow::Result<AudienceId> {
    fit(name)?;
    if agent.audience(name).await.is_ok() {
        return Err(LocalProblem::new(
            Exit::Usage,
            format!("you have an audience `{name}` already"),
            "choose another name",
        )
        .into());
    }
    let own = agent.enrollment.person;
    let roster = Roster {
        owners: BTreeSet::from([own]),
        persons: people.iter().copied().chain([own]).collect(),
    };
    let mut id = [0; 16];
    rand::rng().fill_bytes(&mut id);
    let id = AudienceId::from_bytes(id);
    let mut member = agent.sealing.change(&agent.vault).await?;
    let found = found(agent, &mut member, id, name, &roster).await;
    member.settled(found)?;
    tracing::info!(group = %id, people = roster.persons.len(), "audience created");
    agent.changed();
    Ok(id)
}

async fn found(
    agent: &Agent,
    member: &mut Member,
    id: AudienceId,
    name: &str,
    roster: &Roster,
) -> anyhow::Result<()> {
    super::sync::catch_up(agent, member).await?;
    let created = {
        let follower = agent.directory.read().await;
        member.create_audience(id, roster, follower.directory())?
    };
    // Before the gateway hears of it: whenever this agent dies, the audience is here if it is there.
    let entered = Audience {
        id,
        name: Some(name.to_owned()),
        cursor: 0,
        state: AudienceState::Member,
    };
    let cipher = &agent.vault.cipher;
    let mut transaction = agent.vault.begin().await?;
    mls_record::apply(&mut transaction, cipher, member.take_changes()).await?;
    audience::put(&mut transaction, cipher, &entered).await?;
    renewal::put(&mut transaction, id, agent.now_s()).await?;
    transaction.commit().await?;
    let request = Create {
        group_info: created.group_info.into(),
        ratchet_tree: created.ratchet_tree.into(),
    };
    if let Err(error) = agent.gateway.create_group(&request).await {
        if matches!(error, CallError::Refused(_)) {
            take_back(agent, member, id).await?;
        }
        return Err(error.into());
    }
    membership::settle(agent, member, id).await
}

/// The gateway did not take it.
async fn take_back(agent: &Agent, member: &mut Member, id: AudienceId) -> anyhow::Result<()> {
    member.abandon(id)?;
    let mut transaction = agent.vault.begin().await?;
    mls_record::apply(&mut transaction, &agent.vault.cipher, member.take_changes()).await?;
    audience::remove(&mut transaction, id).await?;
    transaction.commit().await?;
    Ok(())
}

fn fit(name: &str) -> Result<(), LocalProblem> {
    let fit = !name.trim().is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name
            .chars()
            .any(|character| character.is_control() || character == '/');
    if fit {
        return Ok(());
    }
    Err(LocalProblem::new(
        Exit::Usage,
        "that is no name for an audience",
        "use up to 100 bytes without `/` and control characters",
    ))
}
