//! `audience create|add|remove|leave|list`, with the roster shown (M13).

use actix_web::web::{Data, Json};
use policies::roster::Roster;
use policies::terms::{AudienceClass, PersonId};

use super::server::Failure;
use super::timely::Timely;
use super::wire::{AudienceChange, AudienceView, AudiencesAnswer, RosterView};
use crate::agent::Agent;
use crate::compose::facts;
use crate::uplink::people::resolve;
use crate::uplink::{audiences, membership};
use crate::vault::audience::{self, Audience, AudienceState};

/// All audiences of this device.
pub(crate) async fn list(agent: Data<Agent>) -> Result<Json<AudiencesAnswer>, Failure> {
    Ok(Json(AudiencesAnswer {
        audiences: views(&agent).await?,
        notes: Vec::new(),
    }))
}

/// Creates or changes one.
pub(crate) async fn change(
    agent: Data<Agent>,
    change: Timely<Json<AudienceChange>>,
) -> Result<Json<AudiencesAnswer>, Failure> {
    let name = match change.0.into_inner() {
        AudienceChange::Create { name, people } => {
            let people = resolve(&agent, &people).await?;
            audiences::create(&agent, &name, &people).await?;
            name
        }
        AudienceChange::Add { name, people } => {
            let people = resolve(&agent, &people).await?;
            edit(&agent, &name, |roster| {
                roster.persons.extend(people.iter().copied())
            })
            .await?;
            name
        }
        AudienceChange::Remove { name, people } => {
            let people = resolve(&agent, &people).await?;
            edit(&agent, &name, |roster| {
                roster.persons.retain(|person| !people.contains(person));
                roster.owners.retain(|person| !people.contains(person));
            })
            .await?;
            name
        }
        AudienceChange::Leave { name } => {
            let audience = agent.audience(&name).await?;
            let mut member = agent.sealing.change(&agent.vault).await?;
            let left = membership::leave(&agent, &mut member, audience.id).await;
            member.settled(left)?;
            name
        }
    };
    let views = views(&agent).await?;
    let changed: Vec<AudienceView> = views.into_iter().filter(|view| view.name == name).collect();
    let notes = changed.iter().flat_map(notes).collect();
    Ok(Json(AudiencesAnswer {
        audiences: changed,
        notes,
    }))
}

async fn edit(agent: &Agent, name: &str, change: impl Fn(&mut Roster) + Send + Sync) -> anyhow::Result<()> {
    let audience = agent.audience(name).await?;
    let mut member = agent.sealing.change(&agent.vault).await?;
    let changed = membership::change_roster(agent, &mut member, audience.id, |roster| {
        let mut edited = roster.clone();
        change(&mut edited);
        Ok((edited != *roster).then_some(edited))
    })
    .await;
    member.settled(changed)
}

/// What to know about an audience: who is listed and has no device in it yet.
fn notes(view: &AudienceView) -> Vec<String> {
    let absent = view.people.iter().filter(|person| person.devices == 0);
    absent
        .map(|person| {
            format!(
                "{} has no device in it yet; it is added before the next story after it is enrolled",
                person.name
            )
        })
        .collect()
}

async fn views(agent: &Agent) -> anyhow::Result<Vec<AudienceView>> {
    let known = {
        let mut connection = agent.vault.connection().await?;
        audience::all(&mut connection, &agent.vault.cipher).await?
    };
    let mut views = Vec::with_capacity(known.len());
    for audience in known {
        views.push(view(agent, audience).await?);
    }
    Ok(views)
}

async fn view(agent: &Agent, known: Audience) -> anyhow::Result<AudienceView> {
    let name = known.name.unwrap_or_else(|| known.id.to_string());
    if known.state == AudienceState::Left {
        return Ok(AudienceView {
            audience: known.id,
            name,
            class: AudienceClass::Internal,
            epoch: 0,
            state: "left".to_owned(),
            people: Vec::new(),
        });
    }
    let member = agent.sealing.look(&agent.vault).await?;
    let follower = agent.directory.read().await;
    let directory = follower.directory();
    let state = member.audience_state(known.id)?;
    let devices_of = |person: PersonId| {
        let own = state
            .members
            .iter()
            .filter_map(|device| directory.device(*device));
        u32::try_from(
            own.filter(|device| device.person == person && !device.revoked)
                .count(),
        )
        .unwrap_or(u32::MAX)
    };
    let roster_view = |person: &PersonId| RosterView {
        person: *person,
        name: agent.name_of(*person),
        owner: state.roster.owners.contains(person),
        devices: devices_of(*person),
    };
    Ok(AudienceView {
        audience: known.id,
        name,
        class: facts::class_of(&member, directory, known.id)?,
        epoch: state.epoch,
        state: "member".to_owned(),
        people: state.roster.persons.iter().map(roster_view).collect(),
    })
}
