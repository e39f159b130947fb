//! Creating an audience (K9): the group is made here, persisted, announced to the gateway, and
//! then brought to its list.

use std::collections::BTreeSet;

use agent_seal::Member;
use gateway_api::v1::groups::Create;
use policies::roster::Roster;
use policies::terms::{AudienceId, PersonId};
use rand::Rng as _;

use super::membership;
use crate::agent::Agent;
use crate::exit::Exit;
use crate::local::wire::LocalProblem;
use crate::vault::audience::{self, Audience, AudienceState};
use crate::vault::renewal;

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
    membership::persist(agent, member).await?;
    let request = Create {
        group_info: created.group_info.into(),
        ratchet_tree: created.ratchet_tree.into(),
    };
    let state = agent.gateway.create_group(&request).await?;
    let entered = Audience {
        id,
        name: Some(name.to_owned()),
        cursor: state.sequence,
        state: AudienceState::Member,
    };
    let mut transaction = agent.vault.begin().await?;
    audience::put(&mut transaction, &agent.vault.cipher, &entered).await?;
    renewal::put(&mut transaction, id, agent.now_s()).await?;
    transaction.commit().await?;
    membership::settle(agent, member, id).await
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
