//! After a bulk add the tree is cold: a commit of the poster pays for each leaf, 82 KB at 1,000 devices. Self-updates,
//! one in each subtree beside the poster's way to the root, largest first, bring it to a key per subtree (M9). The
//! gateway sees the tree, so it asks: one online device at a time, the next when a commit has come or none came in time.
//!
//! ```text
//! bulk add ─► ask a device of the largest subtree ─► its commit ─► ask one of the next ─► ... ─► smallest, done
//!                                     none in time ─────┘      (each subtree once per bulk add, whoever answers)
//! ```

use gateway_api::v1::sync::InboxBody;
use policies::terms::{AudienceId, DeviceId};

use super::fault::Fault;
use super::gateway::Gateway;
use super::membership::Group;
use crate::limits;
use crate::store::inbox;
use crate::store::warm_ups::{self, WarmUp};

/// After a commit of `by` that added so many devices. The caller holds the group's lock.
pub(crate) async fn after_commit(
    gateway: &Gateway,
    group: &Group,
    by: DeviceId,
    added: usize,
) -> Result<(), Fault> {
    let audience = group.id()?;
    let mut warm_up = gateway.store.warm_up(audience).await?;
    if added >= limits::BULK_ADD_DEVICES_MIN {
        warm_up = Some(WarmUp {
            audience,
            device: by,
            level: u32::BITS,
            asked_s: 0,
        });
    }
    match warm_up {
        Some(warm_up) => ask_next(gateway, group, warm_up).await,
        None => Ok(()),
    }
}

/// Goes on where the device that was asked did not answer in time.
pub(crate) async fn go_on(gateway: &Gateway) -> Result<(), Fault> {
    let before_s = gateway.clock.now_s().saturating_sub(limits::WARM_UP_PATIENCE_S);
    for waiting in gateway.store.waiting_warm_ups(before_s).await? {
        let lock = gateway.group_lock(waiting.audience);
        let _changing = lock.lock().await;
        // Again: a commit may have moved it on while this waited.
        let Some(warm_up) = gateway.store.warm_up(waiting.audience).await? else {
            continue;
        };
        if warm_up != waiting {
            continue;
        }
        let state = gateway.store.audience_state(warm_up.audience).await?;
        let state = state.ok_or_else(Fault::not_found)?;
        let group = Group::load(warm_up.audience, &state)?;
        ask_next(gateway, &group, warm_up).await?;
    }
    Ok(())
}

/// Asks the next online device, or ends the warm-up when no subtree is left.
async fn ask_next(gateway: &Gateway, group: &Group, warm_up: WarmUp) -> Result<(), Fault> {
    let now_s = gateway.clock.now_s();
    let members = group.members()?;
    let chosen = choose(&members, warm_up.device, warm_up.level, |device| {
        gateway.wake.is_online(device, now_s)
    });
    let mut write = gateway.store.write().await?;
    let Some((level, device)) = chosen else {
        warm_ups::remove(&mut write, warm_up.audience).await?;
        return Ok(write.commit().await?);
    };
    let asked = WarmUp {
        level,
        asked_s: now_s,
        ..warm_up
    };
    warm_ups::put(&mut write, &asked).await?;
    ask(&mut write, warm_up.audience, device, now_s).await?;
    write.commit().await?;
    gateway.wake.devices([&device]);
    tracing::info!(audience = %warm_up.audience, level, "a device was asked to renew its keys");
    Ok(())
}

async fn ask(
    write: &mut crate::store::Write,
    group: AudienceId,
    device: DeviceId,
    now_s: u64,
) -> Result<(), Fault> {
    let body = serde_json::to_vec(&InboxBody::Renew { group }).map_err(anyhow::Error::from)?;
    Ok(inbox::put(write, device, &body, now_s).await?)
}

/// The largest subtree below `level` beside the way of `poster` in which somebody is online, by its height, and who. A
/// subtree of one leaf needs nobody: its key is the leaf's own.
fn choose(
    members: &[(u32, DeviceId)],
    poster: DeviceId,
    level: u32,
    is_online: impl Fn(DeviceId) -> bool,
) -> Option<(u32, DeviceId)> {
    let (own_leaf, _) = members.iter().find(|(_, device)| *device == poster)?;
    let last_leaf = members.iter().map(|(leaf, _)| *leaf).max()?;
    let height = u32::BITS - last_leaf.leading_zeros();
    (1..height.min(level)).rev().find_map(|level| {
        let beside = (own_leaf >> level) ^ 1;
        let of_subtree = members.iter().filter(|(leaf, _)| leaf >> level == beside);
        let devices: Vec<DeviceId> = of_subtree.map(|(_, device)| *device).collect();
        if devices.len() < 2 {
            return None;
        }
        let online = devices.into_iter().find(|device| is_online(*device))?;
        Some((level, online))
    })
}

#[cfg(test)]
mod tests;
