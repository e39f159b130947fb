//! Publication of a bundle: verified against the pinned roots, newer than any before, in the directory log before it is
//! in force (K6, R2, B3).

use std::collections::BTreeMap;

use gateway_api::error::ErrorCode;
use policies::bundle::UnverifiedBundle;
use policies::directory::{Directory, DirectoryEntry, LoggedDevice};
use policies::terms::DeviceId;
use serde_json::json;

use super::{Reply, devices};
use crate::domain::fault::Fault;
use crate::domain::gateway::Gateway;
use crate::domain::policy;
use crate::domain::record::Kind;
use crate::limits;
use crate::store::bundles::{PolicyState, StoredBundle};

pub(super) async fn publish(gateway: &Gateway, bytes: Vec<u8>) -> Result<Reply, Fault> {
    let refused = |detail: String| Fault::new(ErrorCode::BundleRefused, detail);
    if bytes.len() > limits::BUNDLE_BYTES_MAX {
        return Err(refused(format!(
            "the bundle is larger than {} bytes",
            limits::BUNDLE_BYTES_MAX
        )));
    }
    gateway.check_open()?;
    let _publishing = gateway.publishing.lock().await;
    let now_s = gateway.clock.now_s();
    let trust = policy::trust(&gateway.config)?;
    let groups = policy::groups_by_person(&gateway.store).await?;
    let floor = gateway
        .store
        .newest_bundles()
        .await?
        .first()
        .map_or(0, |bundle| bundle.version);
    let unverified = UnverifiedBundle::parse(&bytes).map_err(|error| refused(error.to_string()))?;
    let (version, digest) = (unverified.version(), unverified.digest());
    if version <= floor {
        return Err(refused(format!(
            "version {version} is not newer than version {floor}, which was published before"
        )));
    }
    // Verified and compiled at the index that its entry will have; logged only then.
    // A crash may have left it logged and not in force: then its entries stand already, in both logs.
    let logged = gateway.directory.read(|directory| directory.bundle(&digest));
    let log_index = logged.map_or_else(|| gateway.directory.size(), |(index, _)| index);
    let highest = gateway.directory.read(Directory::highest_version);
    if version < highest {
        return Err(refused(format!(
            "version {version} is older than version {highest} of the directory log; publish that one again"
        )));
    }
    let prospective = StoredBundle {
        version,
        digest,
        log_index,
        activated_s: now_s,
        bytes,
    };
    policy::activate(prospective.clone(), &trust, &groups, now_s)
        .await
        .map_err(|error| refused(format!("{error:#}")))?;
    let log_index = match logged {
        Some((index, _)) => index,
        None => {
            let entry = DirectoryEntry::PolicyBundle {
                version,
                digest,
                at_s: now_s,
            };
            let payload = json!({ "version": version, "digest": digest });
            gateway.log(entry, Kind::Bundle, None, payload).await?
        }
    };
    gateway
        .store
        .add_bundle(&StoredBundle {
            log_index,
            ..prospective
        })
        .await?;
    gateway.reload_policy().await?;
    gateway.wake.everyone();
    let json = json!({ "version": version, "digest": digest, "log_index": log_index });
    Ok(Reply::new(
        json,
        format!("version {version} is in force, entry {log_index} of the directory log"),
    ))
}

/// Which bundle decides on which device, and what became of the newest (B10).
pub(super) async fn status(gateway: &Gateway) -> Result<Reply, Fault> {
    let version = gateway.policy.load().version();
    let names = devices::names(gateway).await?;
    let states: BTreeMap<DeviceId, PolicyState> = gateway
        .store
        .policy_states()
        .await?
        .into_iter()
        .map(|state| (state.device, state))
        .collect();
    let living: Vec<LoggedDevice> = gateway.directory.read(|directory| {
        let living = directory.devices().filter(|device| !device.revoked);
        living.cloned().collect()
    });
    let rows = living.iter().map(|device| {
        let name = names.get(&device.person).cloned().unwrap_or_default();
        (device.device, name, states.get(&device.device))
    });
    let json = rows.clone().map(|(device, name, state)| {
        json!({
            "device": device, "name": name,
            "active": state.map_or(0, |state| state.ack.active),
            "version": state.map(|state| state.ack.version),
            "state": state.map(|state| state.ack.state),
            "reason": state.and_then(|state| state.ack.reason),
            "at_s": state.map(|state| state.at_s),
        })
    });
    let text = rows
        .clone()
        .map(|(device, name, state)| match state.map(|state| state.ack) {
            None => format!("{device}  {name}  nothing heard"),
            Some(ack) => {
                let reason = ack
                    .reason
                    .map_or_else(String::new, |reason| format!(" ({})", reason.as_str()));
                let (active, version, state) = (ack.active, ack.version, ack.state.as_str());
                format!("{device}  {name}  version {active} decides; version {version} {state}{reason}")
            }
        });
    let mut shown = vec![format!("version {version} is in force at the gateway")];
    shown.extend(text);
    let json = json!({ "version": version, "devices": json.collect::<Vec<_>>() });
    Ok(Reply::new(json, shown.join("\n")))
}
