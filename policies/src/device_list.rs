//! A device list: the audience of an app that seals by itself (K17). The device that defines it signs it, so that
//! nobody, the gateway included, can put a device on it.
//!
//! ```text
//! payload = canonical CBOR [id, version, definer, [device, ...]]        devices in rising order, each once
//! message = "sealgate/device-list/1" || payload                         hash = SHA-256(message)
//! signed  = canonical CBOR [payload, signature]                         ES256 by the definer's device key
//! ```
//!
//! A clearance names the list by id, version and hash. Versions rise by one; each is defined by a device of the person
//! who defined the first, which the readers of the directory log check.

use std::collections::BTreeSet;

use ciborium::Value;

use crate::cbor;
use crate::keys::DevicePublicKey;
use crate::limits::{LIST_BYTES_MAX, LIST_DEVICES_MAX};
use crate::terms::{AudienceId, DeviceId, Digest};

const DOMAIN: &[u8] = b"sealgate/device-list/1";

/// Why a device list is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceListError {
    /// Not a signed list in deterministic form.
    #[error("the device list is not one in deterministic form")]
    Malformed,
    /// Nobody, or more devices than a list holds.
    #[error("a device list holds 1 to {LIST_DEVICES_MAX} devices")]
    Size,
    /// The device that defines it is not on it.
    #[error("the device that defines a list must be on it")]
    DefinerMissing,
    /// Not signed by the device that defines it.
    #[error("the device list is not signed by the device that defines it")]
    Signature,
}

/// Who receives what an app seals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceList {
    id: AudienceId,
    version: u64,
    definer: DeviceId,
    devices: BTreeSet<DeviceId>,
}

impl DeviceList {
    /// A list, to be signed.
    ///
    /// # Errors
    /// [`DeviceListError::Size`], [`DeviceListError::DefinerMissing`].
    pub fn new(
        id: AudienceId,
        version: u64,
        definer: DeviceId,
        devices: BTreeSet<DeviceId>,
    ) -> Result<Self, DeviceListError> {
        if devices.is_empty() || devices.len() > LIST_DEVICES_MAX {
            return Err(DeviceListError::Size);
        }
        if !devices.contains(&definer) {
            return Err(DeviceListError::DefinerMissing);
        }
        Ok(Self {
            id,
            version,
            definer,
            devices,
        })
    }

    /// The audience's id; the same in every version.
    #[must_use]
    pub const fn id(&self) -> AudienceId {
        self.id
    }

    /// From 1, one more with each change.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The device that defined and signed this version.
    #[must_use]
    pub const fn definer(&self) -> DeviceId {
        self.definer
    }

    /// The devices, the definer's among them.
    #[must_use]
    pub const fn devices(&self) -> &BTreeSet<DeviceId> {
        &self.devices
    }

    /// What the definer's device key signs.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        [DOMAIN, &self.payload()].concat()
    }

    /// What a clearance names the list by.
    #[must_use]
    pub fn hash(&self) -> Digest {
        Digest::of(&self.message())
    }

    /// The signed bytes, with an ES256 signature (r || s) over [`Self::message`].
    #[must_use]
    pub fn finish(&self, signature: &[u8; 64]) -> Vec<u8> {
        cbor::canonical(&Value::Array(vec![
            Value::Bytes(self.payload()),
            Value::Bytes(signature.to_vec()),
        ]))
    }

    fn payload(&self) -> Vec<u8> {
        let devices = self.devices.iter();
        cbor::canonical(&Value::Array(vec![
            Value::Bytes(self.id.as_bytes().to_vec()),
            self.version.into(),
            Value::Bytes(self.definer.as_bytes().to_vec()),
            Value::Array(
                devices
                    .map(|device| Value::Bytes(device.as_bytes().to_vec()))
                    .collect(),
            ),
        ]))
    }

    fn from_payload(payload: &[u8]) -> Result<Self, DeviceListError> {
        let [id, version, definer, devices] = list(cbor::strict_value(payload).ok())?;
        let version = version
            .as_integer()
            .and_then(|version| u64::try_from(version).ok());
        let listed = devices.into_array().map_err(|_| DeviceListError::Malformed)?;
        let count = listed.len();
        let devices: BTreeSet<DeviceId> = listed
            .into_iter()
            .map(|device| Ok(DeviceId::from_bytes(bytes(device)?)))
            .collect::<Result<_, DeviceListError>>()?;
        if devices.len() != count {
            return Err(DeviceListError::Malformed);
        }
        let read = Self::new(
            AudienceId::from_bytes(bytes(id)?),
            version.ok_or(DeviceListError::Malformed)?,
            DeviceId::from_bytes(bytes(definer)?),
            devices,
        )?;
        // One list, one form: devices in another order would be the same list under another hash.
        if read.payload() == payload {
            Ok(read)
        } else {
            Err(DeviceListError::Malformed)
        }
    }
}

/// A list that was read, its signature not yet checked.
#[derive(Debug)]
pub struct UnverifiedDeviceList {
    list: DeviceList,
    signature: [u8; 64],
}

impl UnverifiedDeviceList {
    /// Reads received bytes strictly.
    ///
    /// # Errors
    /// [`DeviceListError`]: anything but a signed list in its one form.
    pub fn parse(signed: &[u8]) -> Result<Self, DeviceListError> {
        if signed.len() > LIST_BYTES_MAX {
            return Err(DeviceListError::Size);
        }
        let [payload, signature] = list(cbor::strict_value(signed).ok())?;
        let payload = payload.into_bytes().map_err(|_| DeviceListError::Malformed)?;
        Ok(Self {
            list: DeviceList::from_payload(&payload)?,
            signature: bytes(signature)?,
        })
    }

    /// The device that it says defined it.
    #[must_use]
    pub const fn definer(&self) -> DeviceId {
        self.list.definer
    }

    /// What it says, for who verified it before it was stored.
    #[must_use]
    pub fn danger_unverified(self) -> DeviceList {
        self.list
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// [`DeviceListError::Signature`].
    pub fn verify(self, key: &DevicePublicKey) -> Result<DeviceList, DeviceListError> {
        if key.verify(&self.list.message(), &self.signature) {
            Ok(self.list)
        } else {
            Err(DeviceListError::Signature)
        }
    }
}

fn list<const N: usize>(value: Option<Value>) -> Result<[Value; N], DeviceListError> {
    value
        .and_then(|value| value.into_array().ok())
        .and_then(|items| items.try_into().ok())
        .ok_or(DeviceListError::Malformed)
}

fn bytes<const N: usize>(value: Value) -> Result<[u8; N], DeviceListError> {
    value
        .into_bytes()
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(DeviceListError::Malformed)
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::SigningKey;
    use p256::ecdsa::signature::Signer as _;

    use super::*;

    fn key() -> (SigningKey, DevicePublicKey) {
        let key = SigningKey::from_slice(&[5; 32]).unwrap();
        let public = DevicePublicKey::from_sec1(key.verifying_key().to_sec1_point(true).as_bytes()).unwrap();
        (key, public)
    }

    fn devices(ids: impl IntoIterator<Item = u8>) -> BTreeSet<DeviceId> {
        ids.into_iter().map(|id| DeviceId::from_bytes([id; 16])).collect()
    }

    fn sample() -> DeviceList {
        let id = AudienceId::from_bytes([7; 16]);
        DeviceList::new(id, 2, DeviceId::from_bytes([1; 16]), devices([3, 1, 2])).unwrap()
    }

    fn signed(list: &DeviceList) -> Vec<u8> {
        let signature: p256::ecdsa::Signature = key().0.sign(&list.message());
        list.finish(&signature.to_bytes().into())
    }

    /// K17
    #[test]
    fn device_list_survives_the_wire() {
        let read = UnverifiedDeviceList::parse(&signed(&sample())).unwrap();
        assert_eq!(read.definer(), DeviceId::from_bytes([1; 16]));
        assert_eq!(read.verify(&key().1).unwrap(), sample());
    }

    /// The bytes that other implementations must make of the same list.
    #[test]
    fn payload_and_hash_are_as_published() {
        insta::assert_snapshot!(hex::encode(sample().payload()), @"84500707070707070707070707070707070702500101010101010101010101010101010183500101010101010101010101010101010150020202020202020202020202020202025003030303030303030303030303030303");
        insta::assert_snapshot!(sample().hash(), @"4698440e68ea812944f038bc8653272c910fd86f2daa6af878d1dcfe51d31688");
    }

    #[test]
    fn any_changed_byte_of_a_device_list_is_refused() {
        let bytes = signed(&sample());
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            let accepted = UnverifiedDeviceList::parse(&changed).and_then(|read| read.verify(&key().1));
            assert!(accepted.is_err(), "byte {index}");
        }
    }

    #[test]
    fn device_list_in_another_order_or_with_a_device_twice_is_refused() {
        let device = |id: u8| Value::Bytes(vec![id; 16]);
        let payload = |devices: Vec<Value>| {
            cbor::canonical(&Value::Array(vec![
                Value::Bytes(vec![7; 16]),
                2.into(),
                device(1),
                Value::Array(devices),
            ]))
        };
        assert!(DeviceList::from_payload(&payload(vec![device(1), device(2)])).is_ok());
        for devices in [vec![device(2), device(1)], vec![device(1), device(1)]] {
            assert_eq!(
                DeviceList::from_payload(&payload(devices)),
                Err(DeviceListError::Malformed)
            );
        }
    }

    #[test]
    fn device_list_without_its_definer_or_too_long_is_refused() {
        let make = |devices| {
            DeviceList::new(
                AudienceId::from_bytes([7; 16]),
                1,
                DeviceId::from_bytes([1; 16]),
                devices,
            )
            .unwrap_err()
        };
        assert_eq!(make(devices([])), DeviceListError::Size);
        assert_eq!(make(devices([2])), DeviceListError::DefinerMissing);
        let many = (0..=LIST_DEVICES_MAX as u128).map(|id| DeviceId::from_bytes(id.to_be_bytes()));
        assert_eq!(make(many.collect()), DeviceListError::Size);
    }

    #[test]
    fn longest_device_list_fits_its_bound() {
        let ids = (0..LIST_DEVICES_MAX as u128).map(|id| DeviceId::from_bytes(id.to_be_bytes()));
        let definer = DeviceId::from_bytes(0_u128.to_be_bytes());
        let longest =
            DeviceList::new(AudienceId::from_bytes([7; 16]), u64::MAX, definer, ids.collect()).unwrap();
        assert!(UnverifiedDeviceList::parse(&signed(&longest)).is_ok());
    }
}
