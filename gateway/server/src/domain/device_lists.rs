//! Defining a device list (K17): signed by the device that asks, of logged devices alone. Which version may follow is
//! decided where it is put in force (`relay`).

use gateway_api::bytes::Bytes;
use gateway_api::error::ErrorCode;
use gateway_api::v1::device_lists::DeviceListState;
use policies::device_list::{DeviceList, UnverifiedDeviceList};
use policies::terms::{AudienceClass, AudienceId};
use serde_json::json;

use super::fault::Fault;
use super::gateway::{Device, Gateway};
use super::record::{Kind, listed};
use crate::relay::ListChange;
use crate::store::device_lists::StoredList;

/// Verifies a list, records it and puts it in force; a list that is in force already is answered again.
pub(crate) async fn define(
    gateway: &Gateway,
    device: &Device,
    signed: Vec<u8>,
) -> Result<DeviceListState, Fault> {
    gateway.check_open()?;
    let list = verify(gateway, device, &signed)?;
    let class = class_of(gateway, &list);
    let payload = json!({
        "audience": list.id(),
        "device": device.id,
        "list_version": list.version(),
        "list_hash": list.hash(),
        "audience_class": class,
        "devices": listed(list.devices()),
    });
    let record = gateway.entry(Kind::Audience, Some(device.person), payload)?;
    let state = DeviceListState {
        list: Bytes(signed.clone()),
        class,
    };
    let list = StoredList {
        list,
        person: device.person,
        class,
        signed,
    };
    gateway.relay.define_list(ListChange { list, record }).await?;
    Ok(state)
}

/// The version in force, for a device that is on it.
pub(crate) async fn list_of(gateway: &Gateway, device: &Device, id: AudienceId) -> Result<StoredList, Fault> {
    let stored = gateway.store.device_list(id).await?;
    stored
        .filter(|stored| stored.list.devices().contains(&device.id))
        .ok_or_else(|| Fault::new(ErrorCode::NotAMember, "the device is not on this list"))
}

fn verify(gateway: &Gateway, device: &Device, signed: &[u8]) -> Result<DeviceList, Fault> {
    let refused = |detail: String| Fault::new(ErrorCode::ListRefused, detail);
    let unverified = UnverifiedDeviceList::parse(signed).map_err(|error| refused(error.to_string()))?;
    if unverified.definer() != device.id {
        return Err(refused("another device defines this list".to_owned()));
    }
    let key = gateway
        .directory
        .read(|directory| directory.key_in_force(device.id));
    let key = key.ok_or_else(|| Fault::new(ErrorCode::DeviceRevoked, "this device has been revoked"))?;
    unverified
        .verify(&key)
        .map_err(|error| refused(error.to_string()))
}

/// `guest` if any device is an outsider's (K9); a device that is not logged is refused later on.
fn class_of(gateway: &Gateway, list: &DeviceList) -> AudienceClass {
    let has_guest = gateway.directory.read(|directory| {
        let mut logged = list
            .devices()
            .iter()
            .filter_map(|device| directory.device(*device));
        logged.any(|logged| logged.class == AudienceClass::Guest)
    });
    if has_guest {
        AudienceClass::Guest
    } else {
        AudienceClass::Internal
    }
}
