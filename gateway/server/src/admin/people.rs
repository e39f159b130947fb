//! People and directory groups.

use gateway_api::error::ErrorCode;
use policies::terms::{DeviceId, GroupName, PersonId};
use serde_json::json;

use super::{Reply, lines};
use crate::domain::erasure;
use crate::domain::fault::Fault;
use crate::domain::gateway::Gateway;
use crate::domain::random;
use crate::domain::record::{Kind, listed};
use crate::limits;
use crate::store::enrollments;
use crate::store::people::{self, Person};

pub(super) async fn add(
    gateway: &Gateway,
    name: &str,
    address: Option<&str>,
    groups: &[GroupName],
) -> Result<Reply, Fault> {
    let count = name.chars().count();
    if count == 0 || count > limits::NAME_CHARS_MAX || name.chars().any(char::is_control) {
        return Err(Fault::bad_request(format!(
            "a name has 1 to {} characters",
            limits::NAME_CHARS_MAX
        )));
    }
    let id = PersonId::from_bytes(random::bytes()?);
    let mut write = gateway.store.write().await?;
    if !people::add(&mut write, id, name, address, groups, gateway.clock.now_s()).await? {
        return Err(Fault::bad_request(
            "somebody of this name is in the directory; add something that tells them apart",
        ));
    }
    // The record says who by id alone: names live in the directory (K28).
    let payload = json!({ "person": id, "added": true, "groups": listed(groups) });
    let record = gateway.entry(Kind::Person, Some(id), payload)?;
    gateway.record_with(write, vec![record]).await?;
    reload(gateway).await?;
    Ok(Reply::new(json!({ "person": id }), format!("added person {id}")))
}

pub(super) async fn list(gateway: &Gateway) -> Result<Reply, Fault> {
    let people = gateway.store.people().await?;
    let groups = gateway.store.groups().await?;
    let of = |person: &Person| -> Vec<&GroupName> {
        groups
            .iter()
            .filter(|(_, people)| people.contains(&person.id))
            .map(|(name, _)| name)
            .collect()
    };
    let json = people.iter().map(|person| {
        json!({
            "person": person.id, "name": person.name, "address": person.address, "groups": of(person),
            "revoked": person.revoked_s.is_some(),
        })
    });
    let text = people.iter().map(|person| {
        let groups: Vec<&str> = of(person).into_iter().map(GroupName::as_str).collect();
        let revoked = if person.revoked_s.is_some() {
            "  revoked"
        } else {
            ""
        };
        format!("{}  {}  {}{revoked}", person.id, person.name, groups.join(","))
    });
    let text = lines(
        text.collect(),
        "nobody is in the directory; add somebody with `sealgate person add NAME`",
    );
    Ok(Reply::new(json!({ "people": json.collect::<Vec<_>>() }), text))
}

/// Devices first, the person last: what a failure leaves undone can be done by asking again. A device of theirs that is
/// on its way is denied (E1).
pub(super) async fn revoke(gateway: &Gateway, name: &str) -> Result<Reply, Fault> {
    let person = find(gateway, name).await?;
    // No certificate is issued meanwhile.
    let _alone = gateway.issuing.lock().await;
    let mut devices = revoke_devices(gateway, person.id).await?;
    let mut write = gateway.store.write().await?;
    people::revoke(&mut write, person.id, gateway.clock.now_s()).await?;
    let denied = enrollments::deny_all(&mut write, person.id).await?;
    let payload = json!({ "person": person.id, "revoked": true, "denied_enrollments": denied });
    let record = gateway.entry(Kind::Person, Some(person.id), payload)?;
    gateway.record_with(write, vec![record]).await?;
    // One whose request was given up may have been logged in between.
    devices.extend(revoke_devices(gateway, person.id).await?);
    reload(gateway).await?;
    let text = format!(
        "revoked person {} and {} of their devices",
        person.id,
        devices.len()
    );
    Ok(Reply::new(
        json!({ "person": person.id, "devices": devices }),
        text,
    ))
}

/// Nobody can read any more what the ledger holds about a person (W1). Recorded first, so that a restore of older keys
/// destroys them again (K27).
pub(super) async fn erase(gateway: &Gateway, name: &str) -> Result<Reply, Fault> {
    let person = gateway.store.person_by_name(name).await?;
    let unknown = || {
        Fault::new(
            ErrorCode::NotFound,
            "nobody of this name is, or was, in the directory",
        )
    };
    let person = person.ok_or_else(unknown)?.id;
    let shredded = erasure::erase(gateway, person).await?;
    Ok(Reply::new(
        json!({ "person": person, "keys": shredded }),
        format!(
            "destroyed {shredded} keys: what the ledger holds about person {person} until now cannot be read any more"
        ),
    ))
}

async fn revoke_devices(gateway: &Gateway, person: PersonId) -> Result<Vec<DeviceId>, Fault> {
    let devices: Vec<DeviceId> = gateway
        .directory
        .read(|directory| directory.devices_of(person).map(|logged| logged.device).collect());
    for device in &devices {
        gateway.revoke_device(*device).await?;
    }
    Ok(devices)
}

pub(super) async fn add_group(
    gateway: &Gateway,
    name: &GroupName,
    people: &[String],
) -> Result<Reply, Fault> {
    let mut members = Vec::with_capacity(people.len());
    for person in people {
        members.push(find(gateway, person).await?.id);
    }
    let mut write = gateway.store.write().await?;
    let added = people::add_group(&mut write, name, gateway.clock.now_s()).await?;
    if !added && members.is_empty() {
        return Err(Fault::bad_request("a group of this name exists"));
    }
    for member in &members {
        people::join_group(&mut write, *member, name).await?;
    }
    let payload = json!({ "group": name, "members": listed(&members), "added": true });
    let record = gateway.entry(Kind::Group, None, payload)?;
    gateway.record_with(write, vec![record]).await?;
    reload(gateway).await?;
    let text = format!("group {} has {} more people", name.as_str(), members.len());
    Ok(Reply::new(json!({ "group": name, "members": members }), text))
}

pub(super) async fn list_groups(gateway: &Gateway) -> Result<Reply, Fault> {
    let groups = gateway.store.groups().await?;
    let json = groups
        .iter()
        .map(|(name, people)| json!({ "group": name, "people": people }));
    let text = groups
        .iter()
        .map(|(name, people)| format!("{}  {} people", name.as_str(), people.len()));
    let text = lines(
        text.collect(),
        "there are no groups; make one with `sealgate group add NAME`",
    );
    Ok(Reply::new(json!({ "groups": json.collect::<Vec<_>>() }), text))
}

pub(super) async fn revoke_group(gateway: &Gateway, name: &GroupName) -> Result<Reply, Fault> {
    let mut write = gateway.store.write().await?;
    if !people::remove_group(&mut write, name).await? {
        return Err(Fault::new(ErrorCode::NotFound, "there is no group of this name"));
    }
    let record = gateway.entry(Kind::Group, None, json!({ "group": name, "revoked": true }))?;
    gateway.record_with(write, vec![record]).await?;
    reload(gateway).await?;
    Ok(Reply::new(
        json!({ "group": name }),
        format!("removed group {}", name.as_str()),
    ))
}

/// A living person, by name.
pub(super) async fn find(gateway: &Gateway, name: &str) -> Result<Person, Fault> {
    let person = gateway
        .store
        .person_by_name(name)
        .await?
        .filter(|person| person.revoked_s.is_none());
    person.ok_or_else(|| Fault::new(ErrorCode::NotEnrolled, "nobody of this name is in the directory"))
}

/// Groups are `g` lines of the sharing rules: a change is in force at once (P22).
async fn reload(gateway: &Gateway) -> Result<(), Fault> {
    gateway.reload_policy().await?;
    Ok(())
}
