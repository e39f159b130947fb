//! Devices.

use std::collections::BTreeMap;

use policies::directory::LoggedDevice;
use policies::terms::{DeviceId, PersonId};
use serde_json::json;

use super::{Reply, lines};
use crate::domain::fault::Fault;
use crate::domain::gateway::Gateway;

pub(super) async fn list(gateway: &Gateway) -> Result<Reply, Fault> {
    let people = gateway.store.people().await?;
    let names: BTreeMap<PersonId, String> = people
        .into_iter()
        .map(|person| (person.id, person.name))
        .collect();
    let devices: Vec<LoggedDevice> = gateway
        .directory
        .read(|directory| directory.devices().cloned().collect());
    let name = |device: &LoggedDevice| names.get(&device.person).cloned().unwrap_or_default();
    let json = devices.iter().map(|device| {
        json!({
            "device": device.device, "person": device.person, "name": name(device), "class": device.class,
            "revoked": device.revoked, "log_index": device.index, "added_at_s": device.added_at_s,
        })
    });
    let text = devices.iter().map(|device| {
        let revoked = if device.revoked { "  revoked" } else { "" };
        format!("{}  {}{revoked}", device.device, name(device))
    });
    let text = lines(
        text.collect(),
        "no device is enrolled; make a token with `sealgate token add --person NAME --out FILE`",
    );
    Ok(Reply::new(json!({ "devices": json.collect::<Vec<_>>() }), text))
}

pub(super) async fn revoke(gateway: &Gateway, device: DeviceId) -> Result<Reply, Fault> {
    let changed = gateway.revoke_device(device).await?;
    let text = if changed {
        format!("revoked device {device}")
    } else {
        format!("device {device} was revoked before")
    };
    Ok(Reply::new(json!({ "device": device, "changed": changed }), text))
}
