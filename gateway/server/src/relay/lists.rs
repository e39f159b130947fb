//! Device lists in the writer's hands (K17): a version put in force, a story's list checked again, delivery into inboxes.

use gateway_api::error::ErrorCode;
use gateway_api::v1::sync::InboxBody;
use policies::device_list::DeviceList;
use policies::terms::DeviceId;

use crate::domain::fault::Fault;
use crate::limits;
use crate::store::audiences::{self, Audience, AudienceKind};
use crate::store::device_lists::{self, StoredList};
use crate::store::logs::DirectoryLog;
use crate::store::stories::Story;
use crate::store::{Write, inbox};

/// What became of a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Definition {
    InForce,
    /// It was in force before.
    Known,
}

/// Puts a verified list in force, if it is the first version of a new id, or the next one by the same person.
pub(super) async fn define(
    write: &mut Write,
    directory: &DirectoryLog,
    defined: &StoredList,
) -> Result<Definition, Fault> {
    let list = &defined.list;
    check_devices(directory, list)?;
    match audiences::audience(write, list.id()).await? {
        None => check_first(write, defined).await?,
        Some(audience) if audience.kind == AudienceKind::Group => {
            return Err(Fault::new(ErrorCode::GroupExists, "draw another id"));
        }
        Some(audience)
            if audience.epoch == list.version() && audience.tree_hash == list.hash().as_bytes() =>
        {
            return Ok(Definition::Known);
        }
        Some(audience) => check_next(write, defined, &audience).await?,
    }
    device_lists::put(write, defined).await?;
    Ok(Definition::InForce)
}

async fn check_first(write: &mut Write, defined: &StoredList) -> Result<(), Fault> {
    if defined.list.version() != 1 {
        return Err(Fault::new(ErrorCode::ListMoved, "a list begins with version 1"));
    }
    if device_lists::count_of(write, defined.person).await? >= limits::LISTS_PER_PERSON_MAX {
        return Err(refused(format!(
            "a person defines at most {} lists",
            limits::LISTS_PER_PERSON_MAX
        )));
    }
    Ok(())
}

async fn check_next(write: &mut Write, defined: &StoredList, audience: &Audience) -> Result<(), Fault> {
    let list = &defined.list;
    let in_force = device_lists::version_of(write, list.id(), audience.epoch)
        .await?
        .ok_or_else(Fault::not_found)?;
    if in_force.person != defined.person {
        return Err(refused("another person defined this list"));
    }
    if audience.epoch.checked_add(1) != Some(list.version()) {
        return Err(moved(audience.epoch));
    }
    Ok(())
}

/// A story's list is in force, its devices are all admitted, its author among them.
pub(super) async fn check(
    write: &mut Write,
    directory: &DirectoryLog,
    story: &Story,
    audience: &Audience,
) -> Result<(), Fault> {
    if audience.epoch != story.epoch {
        return Err(moved(audience.epoch));
    }
    let stored = device_lists::version_of(write, story.audience, story.epoch)
        .await?
        .ok_or_else(Fault::not_found)?;
    check_author(&stored.list, story.device)?;
    check_unrevoked(directory, &stored.list)
}

/// Whoever posts to a list is on it.
pub(crate) fn check_author(list: &DeviceList, author: DeviceId) -> Result<(), Fault> {
    if list.devices().contains(&author) {
        Ok(())
    } else {
        Err(Fault::new(
            ErrorCode::NotAMember,
            "the device is not on this list",
        ))
    }
}

/// No device of the list was revoked since it was defined: what is sealed for it would be for somebody else's eyes.
pub(crate) fn check_unrevoked(directory: &DirectoryLog, list: &DeviceList) -> Result<(), Fault> {
    check_devices(directory, list)
        .map_err(|_| Fault::new(ErrorCode::ListMoved, "a device of this list has been revoked"))
}

fn check_devices(directory: &DirectoryLog, list: &DeviceList) -> Result<(), Fault> {
    let admitted = directory.read(|directory| {
        let mut devices = list.devices().iter();
        devices.all(|device| directory.device(*device).is_some_and(|logged| !logged.revoked))
    });
    if admitted {
        Ok(())
    } else {
        Err(refused("a device is not in the directory log, or was revoked"))
    }
}

/// Puts a story into the inboxes of its readers; its author has it.
pub(super) async fn deliver(write: &mut Write, story: &Story) -> sqlx::Result<()> {
    let stored = device_lists::version_of(write, story.audience, story.epoch)
        .await?
        .ok_or(sqlx::Error::RowNotFound)?;
    for device in stored
        .list
        .devices()
        .iter()
        .filter(|device| **device != story.device)
    {
        inbox::put_story(write, *device, story.cti, story.at_s).await?;
    }
    Ok(())
}

/// Those who may have fetched it forget it.
pub(super) async fn tell_of_takeback(
    write: &mut Write,
    story: &Story,
    readers: &[DeviceId],
    now_s: u64,
) -> Result<(), Fault> {
    let body = InboxBody::Revoked { cti: story.cti };
    let body = serde_json::to_vec(&body).map_err(anyhow::Error::from)?;
    let others: Vec<DeviceId> = readers
        .iter()
        .copied()
        .filter(|device| *device != story.device)
        .collect();
    Ok(inbox::put_shared(write, &others, &body, now_s).await?)
}

pub(crate) fn moved(version: u64) -> Fault {
    Fault::new(
        ErrorCode::ListMoved,
        format!("version {version} of the list is in force"),
    )
}

fn refused(detail: impl Into<String>) -> Fault {
    Fault::new(ErrorCode::ListRefused, detail)
}
