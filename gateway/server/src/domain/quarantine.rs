//! One identity in two places (E7): the device is shut out at once, an administrator looks at it and releases or
//! revokes it.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use gateway_api::error::ErrorCode;
use gateway_api::v1::renew::Origin;
use policies::terms::DeviceId;
use serde_json::json;

use super::fault::Fault;
use super::gateway::{Device, Gateway};
use super::record::Kind;
use crate::store::identity;

/// What showed that a device exists twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It asked from another machine.
    Machine,
    /// It asked from a start of its machine that another one had followed.
    Boot,
    /// It renewed from a TLS key that was renewed before.
    KeyGeneration,
}

impl Cause {
    const ALL: [Self; 3] = [Self::Machine, Self::Boot, Self::KeyGeneration];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Boot => "boot",
            Self::KeyGeneration => "key-generation",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == text)
    }

    /// The cause in words.
    pub(crate) const fn sentence(self) -> &'static str {
        match self {
            Self::Machine => "its identity was used on another machine",
            Self::Boot => "its identity was used by two machines in turn",
            Self::KeyGeneration => {
                "its certificate had been renewed before, with another key: by a copy of it, or by itself if files of its \
                 agent's folder were damaged or put back since"
            }
        }
    }
}

/// The devices that are shut out, known without asking the disk.
#[derive(Debug, Default)]
pub(crate) struct Quarantine(RwLock<BTreeMap<DeviceId, Cause>>);

impl Quarantine {
    pub(crate) fn new(devices: BTreeMap<DeviceId, Cause>) -> Self {
        Self(RwLock::new(devices))
    }

    pub(crate) fn cause(&self, device: DeviceId) -> Option<Cause> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&device)
            .copied()
    }

    /// Every device that is shut out.
    pub(crate) fn all(&self) -> BTreeMap<DeviceId, Cause> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn insert(&self, device: DeviceId, cause: Cause) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(device, cause);
    }

    fn remove(&self, device: DeviceId) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&device);
    }
}

/// Shuts a device out: in memory first, so that nothing passes while it is written.
pub(crate) async fn shut_out(gateway: &Gateway, device: &Device, cause: Cause) -> Result<Fault, Fault> {
    gateway.quarantine.insert(device.id, cause);
    let payload = json!({ "device": device.id, "person": device.person, "cause": cause.as_str() });
    let record = gateway.entry(Kind::DeviceQuarantine, Some(device.person), payload)?;
    let mut write = gateway.store.write().await?;
    identity::quarantine(&mut write, device.id, cause, gateway.clock.now_s()).await?;
    gateway.record_with(write, vec![record]).await?;
    gateway.wake.everyone();
    tracing::error!(device = %device.id, cause = cause.as_str(), "device quarantined");
    Ok(fault(cause))
}

/// Lets a device in again; false when it was not shut out.
pub(crate) async fn release(gateway: &Gateway, device: DeviceId) -> Result<bool, Fault> {
    gateway.health.check_writable()?;
    let logged = gateway.directory.device(device).ok_or_else(Fault::not_found)?;
    if gateway.quarantine.cause(device).is_none() {
        return Ok(false);
    }
    let payload = json!({ "device": device, "person": logged.person });
    let record = gateway.entry(Kind::DeviceRelease, Some(logged.person), payload)?;
    let mut write = gateway.store.write().await?;
    identity::release(&mut write, device, gateway.clock.now_s()).await?;
    gateway.record_with(write, vec![record]).await?;
    gateway.quarantine.remove(device);
    Ok(true)
}

/// Compares where the device runs with where it ran, and remembers it.
pub(crate) async fn check_origin(gateway: &Gateway, device: &Device, origin: &Origin) -> Result<(), Fault> {
    let places = gateway.store.origins(device.id).await?;
    if places.last() == Some(origin) || *origin == Origin::default() {
        return Ok(());
    }
    if let Some(cause) = judge(&places, origin) {
        return Err(shut_out(gateway, device, cause).await?);
    }
    gateway
        .store
        .add_origin(device.id, origin, gateway.clock.now_s())
        .await?;
    Ok(())
}

/// A machine keeps its id, and a start of it that is over does not come back. What a platform does not tell says
/// nothing.
fn judge(places: &[Origin], origin: &Origin) -> Option<Cause> {
    let (last, earlier) = places.split_last()?;
    let moved = last.machine.is_some() && origin.machine.is_some() && last.machine != origin.machine;
    let came_back = origin.boot.is_some()
        && last.boot != origin.boot
        && earlier.iter().any(|place| place.boot == origin.boot);
    if moved {
        Some(Cause::Machine)
    } else {
        came_back.then_some(Cause::Boot)
    }
}

/// What a device is told that is shut out.
pub(crate) fn fault(cause: Cause) -> Fault {
    Fault::new(ErrorCode::DeviceQuarantined, cause.sentence())
}

#[cfg(test)]
mod tests {
    use policies::terms::Digest;

    use super::*;

    fn at(machine: Option<u8>, boot: Option<u8>) -> Origin {
        let digest = |byte: u8| Digest::from_bytes([byte; 32]);
        Origin {
            machine: machine.map(digest),
            boot: boot.map(digest),
        }
    }

    /// E7: restarts are none of anybody's business, another machine and a start that comes back are.
    #[test]
    fn two_machines_are_told_from_one_that_restarts() {
        let check = |places: &[Origin], origin, expected| assert_eq!(judge(places, &origin), expected);
        let (a1, a2, b3) = (at(Some(1), Some(1)), at(Some(1), Some(2)), at(Some(2), Some(3)));
        check(&[], a1, None);
        check(&[a1], a2, None);
        check(&[a1], b3, Some(Cause::Machine));
        check(&[a1, a2], a1, Some(Cause::Boot));
        check(
            &[at(None, Some(1)), at(None, Some(2))],
            at(None, Some(1)),
            Some(Cause::Boot),
        );
        check(&[a1], at(None, Some(1)), None);
        check(&[at(None, None)], b3, None);
    }
}
