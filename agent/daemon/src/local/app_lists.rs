//! Device lists of a registered app (K17): whom it seals for.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Json, Path};
use agent_client::wire::{DefineList, Lists};
use agent_client::{Device, List, ListId};
use policies::device_list::DeviceList;
use policies::terms::{AudienceId, PersonId};

use super::apps::AppClient;
use super::server::Failure;
use super::timely::Timely;
use super::wire::LocalProblem;
use crate::agent::Agent;
use crate::compose::facts;
use crate::exit::Exit;
use crate::uplink::{device_lists, people};

/// Every list of the app that is known here.
pub(crate) async fn all(agent: Data<Agent>, client: AppClient) -> Result<Json<Lists>, Failure> {
    let mut lists = Vec::new();
    for (list, person) in device_lists::all(&agent, &client.app).await? {
        lists.push(view(&agent, &list, person).await);
    }
    Ok(Json(Lists { lists }))
}

/// A list of people's devices, or the next version of one.
pub(crate) async fn define(
    agent: Data<Agent>,
    client: AppClient,
    request: Timely<Json<DefineList>>,
) -> Result<Json<List>, Failure> {
    let DefineList { list, people } = request.0.into_inner();
    let id = list.map(|ListId(text)| id(&text)).transpose()?;
    let defined = device_lists::define(&agent, &client.app, id, &people).await;
    let list = defined.map_err(passing)?;
    Ok(Json(view(&agent, &list, agent.enrollment.person).await))
}

/// The version in force, from the gateway.
pub(crate) async fn show(
    agent: Data<Agent>,
    client: AppClient,
    path: Path<String>,
) -> Result<Json<List>, Failure> {
    let fetched = device_lists::fetch(&agent, &client.app, id(&path)?).await;
    let (list, person) = fetched.map_err(passing)?;
    Ok(Json(view(&agent, &list, person).await))
}

pub(super) fn id(text: &str) -> Result<AudienceId, Failure> {
    text.parse().map_err(|_| {
        LocalProblem::new(
            Exit::Usage,
            "the list's id is not one",
            "32 hexadecimal digits, as the agent gave them",
        )
        .into()
    })
}

/// A failure that the same call may not meet later is told apart for apps by its status.
fn passing(error: anyhow::Error) -> Failure {
    if people::is_temporary(&error) {
        return offline();
    }
    error.into()
}

/// The gateway cannot be reached.
pub(super) fn offline() -> Failure {
    let problem = LocalProblem::new(
        Exit::Failed,
        "the gateway cannot be reached",
        "nothing was used up; try again when the device is online",
    );
    Failure::with_status(StatusCode::SERVICE_UNAVAILABLE, problem)
}

async fn view(agent: &Agent, list: &DeviceList, person: PersonId) -> List {
    let follower = agent.directory.read().await;
    let directory = follower.directory();
    let logged = list
        .devices()
        .iter()
        .filter_map(|device| directory.device(*device));
    let devices = logged.map(|logged| Device {
        device: logged.device.to_string(),
        person: logged.person.to_string(),
        name: agent.name_of(logged.person),
        this: logged.device == agent.enrollment.device,
        revoked: logged.revoked,
    });
    List {
        list: ListId(list.id().to_string()),
        version: list.version(),
        class: facts::list_class(directory, list).to_string(),
        own: person == agent.enrollment.person,
        devices: devices.collect(),
    }
}
