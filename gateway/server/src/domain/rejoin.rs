//! A device that lost its state comes back (K4, M4, M5, M7).
//!
//! ```text
//! signed request -> device-rejoin entry, recorded -> public state of each group -> external commit in place of its leaf
//! ```
//!
//! Nothing here lets anybody in who has no leaf: an entry only admits the device that it names, in the place of its own
//! leaf, once per group, and everybody who follows the log sees it.

use anyhow::Context as _;
use gateway_api::error::ErrorCode;
use gateway_api::v1::rejoin::{RejoinRequest, RejoinResponse, StateMark};
use policies::directory::{DirectoryEntry, LoggedDevice};
use policies::rejoin::request_message;
use serde_json::json;

use super::fault::Fault;
use super::gateway::{Device, Gateway};
use super::record::Kind;
use crate::limits;
use crate::store::rejoin;

/// Logs the rejoin, or finds the entry that a request like this one made before.
pub(crate) async fn log(
    gateway: &Gateway,
    device: &Device,
    request: &RejoinRequest,
) -> Result<RejoinResponse, Fault> {
    gateway.check_open()?;
    let _one_at_a_time = gateway.rejoining.lock().await;
    let logged = gateway.directory.device(device.id).ok_or_else(Fault::not_found)?;
    check_proof(gateway, &logged, request)?;
    let made = logged
        .rejoins
        .iter()
        .find(|rejoin| rejoin.index >= request.directory_size);
    let log_index = match made {
        Some(rejoin) => rejoin.index,
        None => append(gateway, &logged, request.state_lost).await?,
    };
    Ok(RejoinResponse {
        log_index,
        groups: gateway.store.audiences_of(device.id).await?,
    })
}

fn check_proof(gateway: &Gateway, logged: &LoggedDevice, request: &RejoinRequest) -> Result<(), Fault> {
    let message = request_message(
        &gateway.config.tenant,
        logged.device,
        request.directory_size,
        request.state_lost,
    );
    let proof = <&[u8; 64]>::try_from(request.proof.0.as_slice());
    if proof.is_ok_and(|proof| logged.key.verify(&message, proof)) {
        Ok(())
    } else {
        Err(Fault::new(
            ErrorCode::ProofInvalid,
            "the device key did not sign this request",
        ))
    }
}

async fn append(gateway: &Gateway, logged: &LoggedDevice, state_lost: bool) -> Result<u64, Fault> {
    gateway.health.check_writable()?;
    let now_s = gateway.clock.now_s();
    check_rate(logged, now_s)?;
    if state_lost {
        // Before the entry: a request that comes again finds the entry and must not drop what was uploaded since.
        gateway.store.drop_key_packages(logged.device).await?;
    }
    let entry = DirectoryEntry::DeviceRejoin {
        device: logged.device,
        at_s: now_s,
    };
    let payload = json!({
        "device": logged.device,
        "person": logged.person,
        "state_lost": state_lost,
    });
    let log_index = gateway
        .log(entry, Kind::DeviceRejoin, Some(logged.person), payload)
        .await?;
    gateway.wake.everyone();
    tracing::info!(device = %logged.device, log_index, "device rejoins");
    Ok(log_index)
}

/// The log itself is the memory of how often a device came back.
fn check_rate(logged: &LoggedDevice, now_s: u64) -> Result<(), Fault> {
    let since_s = now_s.saturating_sub(limits::REJOIN_WINDOW_S);
    let recent = logged
        .rejoins
        .iter()
        .filter(|rejoin| rejoin.at_s > since_s)
        .count();
    if recent < limits::REJOINS_PER_WINDOW {
        return Ok(());
    }
    Err(Fault::new(
        ErrorCode::RejoinTooOften,
        format!("the device rejoined {recent} times within a day"),
    ))
}

/// Whether the device runs on the state that it was last seen with, or a later one; the mark is raised durably (M7).
pub(crate) async fn check_state(gateway: &Gateway, device: &Device, mark: StateMark) -> Result<(), Fault> {
    check_generation(gateway, device, mark)?;
    let known = gateway.store.state_mark(device.id).await?;
    if known == Some(mark) {
        return Ok(());
    }
    let mut write = gateway.store.write().await?;
    if !rejoin::raise_state_mark(&mut write, device.id, mark).await? {
        return Err(behind());
    }
    write.commit().await?;
    Ok(())
}

/// A state of before the device's last logged rejoin is over, however far it had come.
pub(crate) fn check_generation(gateway: &Gateway, device: &Device, mark: StateMark) -> Result<(), Fault> {
    let logged = gateway
        .directory
        .device(device.id)
        .context("the device is gone")?;
    let last = logged.rejoins.last().map_or(0, |rejoin| rejoin.index);
    if mark.rejoin == last {
        Ok(())
    } else {
        Err(behind())
    }
}

/// What a device is told that runs on an older state than it had.
pub(crate) fn behind() -> Fault {
    Fault::new(
        ErrorCode::StateBehind,
        "the device had a later state than the one that it runs on",
    )
}

#[cfg(test)]
mod tests;
