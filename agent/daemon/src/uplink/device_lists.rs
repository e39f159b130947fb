//! Device lists of apps that seal by themselves (K17): people resolved to their logged devices, signed with the device
//! key, put in force by the gateway, verified when they come from it.

use std::collections::BTreeSet;

use agent_seal::{DeviceSigner as _, verified_list};
use anyhow::Context as _;
use gateway_api::bytes::Bytes;
use gateway_api::v1::device_lists::Define;
use policies::device_list::{DeviceList, UnverifiedDeviceList};
use policies::terms::{App, AudienceId, DeviceId, PersonId};
use rand::Rng as _;

use super::directory::Follower;
use super::{directory, people};
use crate::agent::Agent;
use crate::compose::share::refused;
use crate::exit::Exit;
use crate::local::wire::LocalProblem;
use crate::vault::Connection;
use crate::vault::device_list::{self, KnownList, ListValue};

/// The list of an app that a text names; none if the app has no such list here.
///
/// # Errors
/// The store's.
pub(crate) async fn known(agent: &Agent, app: &App, text: &str) -> anyhow::Result<Option<DeviceList>> {
    let Ok(id) = text.parse::<AudienceId>() else {
        return Ok(None);
    };
    let mut connection = agent.vault.connection().await?;
    let known = device_list::by_id(&mut connection, &agent.vault.cipher, id).await?;
    known
        .filter(|known| known.app == *app)
        .map(|known| read(&known))
        .transpose()
}

/// Every list of an app, with who defined it.
///
/// # Errors
/// The store's.
pub(crate) async fn all(agent: &Agent, app: &App) -> anyhow::Result<Vec<(DeviceList, PersonId)>> {
    let mut connection = agent.vault.connection().await?;
    let all = device_list::of_app(&mut connection, &agent.vault.cipher, app).await?;
    all.iter()
        .map(|known| Ok((read(known)?, known.value.person)))
        .collect()
}

/// Verified when it was kept.
fn read(known: &KnownList) -> anyhow::Result<DeviceList> {
    let unverified = UnverifiedDeviceList::parse(&known.value.signed.0)
        .context("a device list of the store is damaged\n  help: ask for it again: /v1/app/lists/LIST")?;
    Ok(unverified.danger_unverified())
}

/// Defines a list of the devices of these people and the owner's own, or the next version of one.
///
/// # Errors
/// Nobody is called so, the list is somebody else's, the gateway's, or the store's.
pub(crate) async fn define(
    agent: &Agent,
    app: &App,
    id: Option<AudienceId>,
    wanted: &[String],
) -> anyhow::Result<DeviceList> {
    let mut persons = people::resolve(agent, wanted).await?;
    persons.insert(agent.enrollment.person);
    let (id, version) = match id {
        Some(id) => (id, next_version(agent, app, id).await?),
        None => (new_id(), 1),
    };
    let devices = devices_of(agent, &persons).await?;
    let list = DeviceList::new(id, version, agent.enrollment.device, devices)?;
    let signed = list.finish(&agent.signer.sign(&list.message())?);
    let define = Define {
        list: Bytes(signed.clone()),
    };
    agent
        .gateway
        .define_list(&define)
        .await
        .map_err(|error| refused(error.into()))?;
    let mut connection = agent.vault.connection().await?;
    keep(
        agent,
        &mut connection,
        app,
        &list,
        signed,
        agent.enrollment.person,
    )
    .await?;
    tracing::info!(list = %id, version, devices = list.devices().len(), "device list defined");
    Ok(list)
}

async fn next_version(agent: &Agent, app: &App, id: AudienceId) -> anyhow::Result<u64> {
    let (list, person) = fetch(agent, app, id).await?;
    if person != agent.enrollment.person {
        return Err(usage(
            "this list is somebody else's",
            "ask the person who defined it, or define one of your own",
        ));
    }
    Ok(list.version().saturating_add(1))
}

fn new_id() -> AudienceId {
    let mut id = [0; 16];
    rand::rng().fill_bytes(&mut id);
    AudienceId::from_bytes(id)
}

/// The unrevoked devices of people, as the log has them now.
async fn devices_of(agent: &Agent, persons: &BTreeSet<PersonId>) -> anyhow::Result<BTreeSet<DeviceId>> {
    let mut follower = agent.directory.write().await;
    directory::follow(agent, &mut follower).await?;
    let mut devices = BTreeSet::new();
    for person in persons {
        let own: Vec<DeviceId> = follower
            .directory()
            .devices_of(*person)
            .map(|logged| logged.device)
            .collect();
        if own.is_empty() {
            return Err(usage(
                &format!("{} has no enrolled device yet", agent.name_of(*person)),
                "define the list without them, and its next version when they have one",
            ));
        }
        devices.extend(own);
    }
    Ok(devices)
}

/// The version in force, from the gateway, verified and kept.
///
/// # Errors
/// This device is not on it, it does not verify, the gateway's, or the store's.
pub(crate) async fn fetch(
    agent: &Agent,
    app: &App,
    id: AudienceId,
) -> anyhow::Result<(DeviceList, PersonId)> {
    let state = agent
        .gateway
        .device_list(id)
        .await
        .map_err(|error| refused(error.into()))?;
    let mut follower = agent.directory.write().await;
    let mut verified = verified_list(&state.list.0, follower.directory());
    if verified.as_ref().is_err_and(agent_seal::OpenError::needs_log) {
        directory::follow(agent, &mut follower).await?;
        verified = verified_list(&state.list.0, follower.directory());
    }
    let list = verified.context("the gateway's list does not verify")?;
    if list.id() != id || !list.devices().contains(&agent.enrollment.device) {
        anyhow::bail!("the gateway gave another list than the one that was asked for");
    }
    let mut connection = agent.vault.connection().await?;
    let person = learn(agent, &mut connection, &follower, app, &list, state.list.0).await?;
    Ok((list, person))
}

/// Keeps a verified list that came from elsewhere: who defined it.
///
/// # Errors
/// It contradicts what is known here: another app's, another person's, or an older version under the same number.
pub(crate) async fn learn(
    agent: &Agent,
    connection: &mut Connection,
    follower: &Follower,
    app: &App,
    list: &DeviceList,
    signed: Vec<u8>,
) -> anyhow::Result<PersonId> {
    let person = follower
        .directory()
        .device(list.definer())
        .map(|logged| logged.person)
        .context("the device that defined the list is not in the directory log")?;
    if let Some(known) = device_list::by_id(connection, &agent.vault.cipher, list.id()).await? {
        if known.app != *app {
            anyhow::bail!("the list is another app's");
        }
        if known.value.person != person {
            anyhow::bail!("the list was defined by another person before");
        }
        if known.value.version >= list.version() {
            return Ok(person);
        }
    }
    keep(agent, connection, app, list, signed, person).await?;
    Ok(person)
}

async fn keep(
    agent: &Agent,
    connection: &mut Connection,
    app: &App,
    list: &DeviceList,
    signed: Vec<u8>,
    person: PersonId,
) -> anyhow::Result<()> {
    let known = KnownList {
        id: list.id(),
        app: app.clone(),
        value: ListValue {
            person,
            version: list.version(),
            signed: Bytes(signed),
        },
    };
    device_list::put(connection, &agent.vault.cipher, &known).await
}

/// The other people of a list, for its owner's eyes.
pub(crate) async fn shown_name(agent: &Agent, list: &DeviceList) -> String {
    let follower = agent.directory.read().await;
    let logged = list
        .devices()
        .iter()
        .filter_map(|device| follower.directory().device(*device));
    let persons: BTreeSet<PersonId> = logged.map(|logged| logged.person).collect();
    let others = persons
        .into_iter()
        .filter(|person| *person != agent.enrollment.person)
        .map(|person| agent.name_of(person));
    let names: Vec<String> = others.collect();
    if names.is_empty() {
        "your own devices".to_owned()
    } else {
        names.join(", ")
    }
}

fn usage(message: &str, help: &str) -> anyhow::Error {
    LocalProblem::new(Exit::Usage, message, help).into()
}
