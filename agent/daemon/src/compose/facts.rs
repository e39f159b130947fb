//! What rules may know beside the content: audience, author's groups, device, time.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use agent_seal::{DeviceSigner as _, Member};
use policies::decide::Facts;
use policies::device_list::DeviceList;
use policies::directory::Directory;
use policies::terms::{App, AudienceClass, AudienceId, Binding, InvalidName, Label, PersonId};

use crate::agent::{Agent, Link};

/// The app of stories that this agent seals itself.
///
/// # Errors
/// Never: the name is a constant that is one.
pub(crate) fn app() -> Result<App, InvalidName> {
    App::parse("sealgate")
}

/// The facts for an audience, as this device sees it at this moment.
///
/// # Errors
/// This device is not in the audience.
pub(crate) fn for_audience(
    agent: &Agent,
    member: &Member,
    directory: &Directory,
    audience: AudienceId,
    labels: &[Label],
) -> anyhow::Result<Facts> {
    let state = member.audience_state(audience)?;
    let size = u32::try_from(state.roster.persons.len()).unwrap_or(u32::MAX);
    Ok(Facts {
        audience,
        audience_class: class_of(member, directory, audience)?,
        audience_size: size,
        ..for_nobody(agent, labels)?
    })
}

/// The facts for a list of devices, to which an app seals (K17).
///
/// # Errors
/// Never in practice: the app's name is a constant.
pub(crate) fn for_list(
    agent: &Agent,
    directory: &Directory,
    list: &DeviceList,
    labels: &[Label],
) -> anyhow::Result<Facts> {
    let logged = || {
        list.devices()
            .iter()
            .filter_map(|device| directory.device(*device))
    };
    let persons: BTreeSet<PersonId> = logged().map(|device| device.person).collect();
    Ok(Facts {
        audience: list.id(),
        audience_class: list_class(directory, list),
        audience_size: u32::try_from(persons.len()).unwrap_or(u32::MAX),
        binding: Binding::AppAsserted,
        ..for_nobody(agent, labels)?
    })
}

/// `guest` if any device of the list is an outsider's (K9).
pub(crate) fn list_class(directory: &Directory, list: &DeviceList) -> AudienceClass {
    let mut logged = list
        .devices()
        .iter()
        .filter_map(|device| directory.device(*device));
    if logged.any(|device| device.class == AudienceClass::Guest) {
        AudienceClass::Guest
    } else {
        AudienceClass::Internal
    }
}

/// The facts of a draft that is only inspected: for oneself.
///
/// # Errors
/// Never in practice: the app's name is a constant.
pub(crate) fn for_nobody(agent: &Agent, labels: &[Label]) -> anyhow::Result<Facts> {
    let groups = agent
        .people
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .groups
        .iter()
        .cloned()
        .collect();
    Ok(Facts {
        audience: AudienceId::from_bytes([0; 16]),
        audience_class: AudienceClass::Internal,
        audience_size: 1,
        app: app()?,
        tier: agent.signer.tier(),
        binding: Binding::AgentSealed,
        groups,
        labels_added: labels.iter().cloned().collect::<BTreeSet<_>>(),
        now_s: agent.now_s(),
        offline: agent.link() != Link::Online,
    })
}

/// `guest` if any device in the audience, or about to be added, is an outsider's (K9).
///
/// # Errors
/// This device is not in the audience.
pub(crate) fn class_of(
    member: &Member,
    directory: &Directory,
    audience: AudienceId,
) -> anyhow::Result<AudienceClass> {
    let devices = member.audience_state(audience)?.members;
    let missing = member.missing_devices(audience, directory)?;
    let outsider = devices
        .iter()
        .chain(&missing)
        .filter_map(|device| directory.device(*device))
        .any(|device| device.class == AudienceClass::Guest && !device.revoked);
    Ok(if outsider {
        AudienceClass::Guest
    } else {
        AudienceClass::Internal
    })
}
