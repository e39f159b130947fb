//! Devices.

use std::collections::BTreeMap;

use gateway_api::error::ErrorCode;
use gateway_api::v1::enroll::fingerprint;
use policies::directory::LoggedDevice;
use policies::terms::{DeviceId, PersonId};
use serde_json::json;

use super::{Reply, lines};
use crate::domain::fault::Fault;
use crate::domain::gateway::Gateway;
use crate::domain::{enrollment, quarantine};
use crate::store::enrollments::Enrollment;

pub(super) async fn list(gateway: &Gateway) -> Result<Reply, Fault> {
    let names = names(gateway).await?;
    let certificates = gateway.store.newest_certificates().await?;
    let quarantined = gateway.quarantine.all();
    let devices: Vec<LoggedDevice> = gateway
        .directory
        .read(|directory| directory.devices().cloned().collect());
    let name = |device: &LoggedDevice| names.get(&device.person).cloned().unwrap_or_default();
    let json = devices.iter().map(|device| {
        let certificate = certificates.get(&device.device);
        json!({
            "device": device.device, "person": device.person, "name": name(device), "class": device.class,
            "revoked": device.revoked, "log_index": device.index, "added_at_s": device.added_at_s,
            "key_generation": certificate.map(|(generation, _)| generation),
            "certificate_ends_s": certificate.map(|(_, ends_s)| ends_s),
            "quarantine": quarantined.get(&device.device).map(|cause| cause.as_str()),
        })
    });
    let text = devices.iter().map(|device| {
        let state = match quarantined.get(&device.device) {
            _ if device.revoked => "  revoked".to_owned(),
            Some(cause) => format!("  QUARANTINED: {}", cause.sentence()),
            None => String::new(),
        };
        format!("{}  {}{state}", device.device, name(device))
    });
    let text = lines(
        text.collect(),
        "no device is enrolled; make a token with `sealgate token add --person NAME --out FILE`",
    );
    Ok(Reply::new(json!({ "devices": json.collect::<Vec<_>>() }), text))
}

pub(super) async fn names(gateway: &Gateway) -> Result<BTreeMap<PersonId, String>, Fault> {
    let people = gateway.store.people().await?;
    Ok(people
        .into_iter()
        .map(|person| (person.id, person.name))
        .collect())
}

pub(super) async fn release(gateway: &Gateway, device: DeviceId) -> Result<Reply, Fault> {
    let changed = quarantine::release(gateway, device).await?;
    let text = if changed {
        format!(
            "released device {device}; if a copy of it still runs, it is shut out again: revoke it then, and enrol anew"
        )
    } else {
        format!("device {device} was not in quarantine")
    };
    Ok(Reply::new(json!({ "device": device, "changed": changed }), text))
}

/// Devices that spent a token and wait for an administrator (E1).
pub(super) async fn waiting(gateway: &Gateway) -> Result<Reply, Fault> {
    let names = names(gateway).await?;
    let waiting = gateway.store.waiting_enrollments().await?;
    let name = |waiting: &Enrollment| names.get(&waiting.person).cloned().unwrap_or_default();
    let json = waiting.iter().map(|waiting| {
        json!({
            "fingerprint": fingerprint(&waiting.key), "name": name(waiting), "person": waiting.person,
            "class": waiting.class, "token": hex::encode(waiting.token), "at_s": waiting.at_s,
        })
    });
    let text = waiting
        .iter()
        .map(|waiting| format!("{}  {}", fingerprint(&waiting.key), name(waiting)));
    let text = lines(text.collect(), "no device waits for approval");
    Ok(Reply::new(json!({ "waiting": json.collect::<Vec<_>>() }), text))
}

pub(super) async fn decide(gateway: &Gateway, fingerprint: &str, approve: bool) -> Result<Reply, Fault> {
    if !enrollment::decide(gateway, fingerprint, approve).await? {
        return Err(Fault::new(
            ErrorCode::NotFound,
            "no device of this fingerprint waits; compare it with `sealgate device waiting`",
        ));
    }
    let text = if approve {
        "approved; on the device, run the same `sealgate-agent enroll` again"
    } else {
        "denied; the token's use is spent"
    };
    let json = json!({ "fingerprint": fingerprint, "approved": approve });
    Ok(Reply::new(json, text))
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
