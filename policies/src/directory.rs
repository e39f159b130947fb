//! The directory log (K4): devices and bundles, one entry each, append-only. Everybody who decides whether a
//! device or a bundle counts folds the same entries.

use std::collections::BTreeMap;

use ciborium::Value;

use crate::cbor;
use crate::keys::DevicePublicKey;
use crate::terms::{AudienceClass, DeviceId, Digest, PersonId};

/// Why an entry is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// Not the CBOR that we write.
    #[error("the directory entry cannot be read")]
    Malformed,
    /// The entry's index is not the next one.
    #[error("the directory entry has index {found}, expected {expected}")]
    OutOfOrder {
        /// What was expected.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// A device is added twice, or changed before it was added.
    #[error("the directory entry does not fit the state of device {0}")]
    Device(DeviceId),
    /// A bundle's version does not rise.
    #[error("the directory entry lists bundle version {0} after a higher one")]
    Version(u64),
}

/// One entry of the directory log. People are opaque.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectoryEntry {
    /// A device was enrolled.
    DeviceAdd {
        /// The device.
        device: DeviceId,
        /// Whose it is.
        person: PersonId,
        /// Its P-256 key, SEC1 compressed.
        key: [u8; 33],
        /// Whether it is an outsider's.
        class: AudienceClass,
        /// Unix seconds.
        at_s: u64,
    },
    /// A device was revoked, for good.
    DeviceRevoke {
        /// The device.
        device: DeviceId,
        /// Unix seconds.
        at_s: u64,
    },
    /// A device has another key.
    KeyRotate {
        /// The device.
        device: DeviceId,
        /// Its P-256 key, SEC1 compressed.
        key: [u8; 33],
        /// Unix seconds.
        at_s: u64,
    },
    /// A device lost its state and joins its audiences again; the old leaf is removed.
    DeviceRejoin {
        /// The device.
        device: DeviceId,
        /// Unix seconds.
        at_s: u64,
    },
    /// A bundle was published.
    PolicyBundle {
        /// Its version.
        version: u64,
        /// SHA-256 of its manifest.
        digest: Digest,
        /// Unix seconds.
        at_s: u64,
    },
    /// A hash list was published.
    HashList {
        /// Its SHA-256.
        digest: Digest,
        /// Unix seconds.
        at_s: u64,
    },
    /// A release of the agent was published.
    AgentRelease {
        /// Its SHA-256.
        digest: Digest,
        /// Unix seconds.
        at_s: u64,
    },
}

impl DirectoryEntry {
    /// Canonical CBOR: an array that starts with the kind's name.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
        let (kind, fields): (&str, Vec<Value>) = match self {
            Self::DeviceAdd {
                device,
                person,
                key,
                class,
                at_s,
            } => (
                "device-add",
                vec![
                    bytes(device.as_bytes()),
                    bytes(person.as_bytes()),
                    bytes(key),
                    Value::Text(class.as_str().to_owned()),
                    (*at_s).into(),
                ],
            ),
            Self::DeviceRevoke { device, at_s } => {
                ("device-revoke", vec![bytes(device.as_bytes()), (*at_s).into()])
            }
            Self::KeyRotate { device, key, at_s } => (
                "key-rotate",
                vec![bytes(device.as_bytes()), bytes(key), (*at_s).into()],
            ),
            Self::DeviceRejoin { device, at_s } => {
                ("device-rejoin", vec![bytes(device.as_bytes()), (*at_s).into()])
            }
            Self::PolicyBundle {
                version,
                digest,
                at_s,
            } => (
                "policy-bundle",
                vec![(*version).into(), bytes(digest.as_bytes()), (*at_s).into()],
            ),
            Self::HashList { digest, at_s } => ("hash-list", vec![bytes(digest.as_bytes()), (*at_s).into()]),
            Self::AgentRelease { digest, at_s } => {
                ("agent-release", vec![bytes(digest.as_bytes()), (*at_s).into()])
            }
        };
        let mut all = vec![Value::Text(kind.to_owned())];
        all.extend(fields);
        cbor::canonical(&Value::Array(all))
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`DirectoryError::Malformed`] for anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, DirectoryError> {
        let value = cbor::strict_value(bytes).map_err(|_| DirectoryError::Malformed)?;
        let fields = value.into_array().map_err(|_| DirectoryError::Malformed)?;
        let (kind, fields) = fields.split_first().ok_or(DirectoryError::Malformed)?;
        let kind = kind.as_text().ok_or(DirectoryError::Malformed)?;
        match (kind, fields) {
            ("device-add", [device, person, key, class, at]) => Ok(Self::DeviceAdd {
                device: DeviceId::from_bytes(array(device)?),
                person: PersonId::from_bytes(array(person)?),
                key: array(key)?,
                class: class
                    .as_text()
                    .and_then(|text| text.parse().ok())
                    .ok_or(DirectoryError::Malformed)?,
                at_s: unsigned(at)?,
            }),
            ("device-revoke", [device, at]) => Ok(Self::DeviceRevoke {
                device: DeviceId::from_bytes(array(device)?),
                at_s: unsigned(at)?,
            }),
            ("key-rotate", [device, key, at]) => Ok(Self::KeyRotate {
                device: DeviceId::from_bytes(array(device)?),
                key: array(key)?,
                at_s: unsigned(at)?,
            }),
            ("device-rejoin", [device, at]) => Ok(Self::DeviceRejoin {
                device: DeviceId::from_bytes(array(device)?),
                at_s: unsigned(at)?,
            }),
            ("policy-bundle", [version, digest, at]) => Ok(Self::PolicyBundle {
                version: unsigned(version)?,
                digest: Digest::from_bytes(array(digest)?),
                at_s: unsigned(at)?,
            }),
            ("hash-list", [digest, at]) => Ok(Self::HashList {
                digest: Digest::from_bytes(array(digest)?),
                at_s: unsigned(at)?,
            }),
            ("agent-release", [digest, at]) => Ok(Self::AgentRelease {
                digest: Digest::from_bytes(array(digest)?),
                at_s: unsigned(at)?,
            }),
            _ => Err(DirectoryError::Malformed),
        }
    }
}

fn array<const N: usize>(value: &Value) -> Result<[u8; N], DirectoryError> {
    value
        .as_bytes()
        .and_then(|bytes| bytes.as_slice().try_into().ok())
        .ok_or(DirectoryError::Malformed)
}

fn unsigned(value: &Value) -> Result<u64, DirectoryError> {
    value
        .as_integer()
        .and_then(|integer| u64::try_from(integer).ok())
        .ok_or(DirectoryError::Malformed)
}

/// A device as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedDevice {
    /// The device.
    pub device: DeviceId,
    /// Whose it is.
    pub person: PersonId,
    /// Its key.
    pub key: DevicePublicKey,
    /// Whether it is an outsider's.
    pub class: AudienceClass,
    /// Index of its device-add entry.
    pub index: u64,
    /// Unix seconds of that entry.
    pub added_at_s: u64,
    /// Whether it was revoked.
    pub revoked: bool,
    /// Its `device-rejoin` entries, in order (M4).
    pub rejoins: Vec<LoggedRejoin>,
}

/// A `device-rejoin` entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedRejoin {
    /// Its index.
    pub index: u64,
    /// Unix seconds.
    pub at_s: u64,
}

/// The state that the entries of a directory log add up to.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    size: u64,
    devices: BTreeMap<DeviceId, LoggedDevice>,
    bundles: BTreeMap<Digest, (u64, u64)>,
    highest_version: u64,
}

impl Directory {
    /// The state before any entry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Folds the next entry in.
    ///
    /// # Errors
    /// [`DirectoryError`]; the state is unchanged then.
    pub fn apply(&mut self, index: u64, entry: &DirectoryEntry) -> Result<(), DirectoryError> {
        if index != self.size {
            return Err(DirectoryError::OutOfOrder {
                expected: self.size,
                found: index,
            });
        }
        match entry {
            DirectoryEntry::DeviceAdd {
                device,
                person,
                key,
                class,
                at_s,
            } => {
                let key = DevicePublicKey::from_sec1(key).map_err(|_| DirectoryError::Device(*device))?;
                if self.devices.contains_key(device) {
                    return Err(DirectoryError::Device(*device));
                }
                let logged = LoggedDevice {
                    device: *device,
                    person: *person,
                    key,
                    class: *class,
                    index,
                    added_at_s: *at_s,
                    revoked: false,
                    rejoins: Vec::new(),
                };
                self.devices.insert(*device, logged);
            }
            DirectoryEntry::DeviceRevoke { device, .. } => self.current(*device)?.revoked = true,
            DirectoryEntry::KeyRotate { device, key, .. } => {
                let key = DevicePublicKey::from_sec1(key).map_err(|_| DirectoryError::Device(*device))?;
                self.current(*device)?.key = key;
            }
            DirectoryEntry::DeviceRejoin { device, at_s } => {
                let rejoin = LoggedRejoin { index, at_s: *at_s };
                self.current(*device)?.rejoins.push(rejoin);
            }
            DirectoryEntry::PolicyBundle { version, digest, .. } => {
                if *version <= self.highest_version {
                    return Err(DirectoryError::Version(*version));
                }
                self.highest_version = *version;
                self.bundles.insert(*digest, (index, *version));
            }
            DirectoryEntry::HashList { .. } | DirectoryEntry::AgentRelease { .. } => {}
        }
        self.size += 1;
        Ok(())
    }

    fn current(&mut self, device: DeviceId) -> Result<&mut LoggedDevice, DirectoryError> {
        self.devices
            .get_mut(&device)
            .filter(|logged| !logged.revoked)
            .ok_or(DirectoryError::Device(device))
    }

    /// Entries folded in.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// A device, revoked or not.
    #[must_use]
    pub fn device(&self, device: DeviceId) -> Option<&LoggedDevice> {
        self.devices.get(&device)
    }

    /// The key of a device that is in the log and not revoked.
    #[must_use]
    pub fn key_in_force(&self, device: DeviceId) -> Option<DevicePublicKey> {
        self.devices
            .get(&device)
            .filter(|logged| !logged.revoked)
            .map(|logged| logged.key.clone())
    }

    /// The devices of a person that are not revoked.
    pub fn devices_of(&self, person: PersonId) -> impl Iterator<Item = &LoggedDevice> {
        self.devices
            .values()
            .filter(move |logged| logged.person == person && !logged.revoked)
    }

    /// Every device, in order of id.
    pub fn devices(&self) -> impl Iterator<Item = &LoggedDevice> {
        self.devices.values()
    }

    /// Index and version of a published bundle.
    #[must_use]
    pub fn bundle(&self, digest: &Digest) -> Option<(u64, u64)> {
        self.bundles.get(digest).copied()
    }

    /// The highest version of a published bundle; 0 for none.
    #[must_use]
    pub const fn highest_version(&self) -> u64 {
        self.highest_version
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(n: u8) -> DirectoryEntry {
        let key = p256::ecdsa::SigningKey::from_slice(&[n; 32]).unwrap();
        let point = key.verifying_key().to_sec1_point(true);
        DirectoryEntry::DeviceAdd {
            device: DeviceId::from_bytes([n; 16]),
            person: PersonId::from_bytes([7; 16]),
            key: point.as_bytes().try_into().unwrap(),
            class: AudienceClass::Internal,
            at_s: 1,
        }
    }

    fn revoke(n: u8) -> DirectoryEntry {
        DirectoryEntry::DeviceRevoke {
            device: DeviceId::from_bytes([n; 16]),
            at_s: 2,
        }
    }

    #[test]
    fn entries_survive_the_wire() {
        let digest = Digest::of(b"x");
        let key = [2; 33];
        let device = DeviceId::from_bytes([1; 16]);
        for entry in [
            add(1),
            revoke(1),
            DirectoryEntry::KeyRotate { device, key, at_s: 3 },
            DirectoryEntry::DeviceRejoin { device, at_s: 4 },
            DirectoryEntry::PolicyBundle {
                version: 1,
                digest,
                at_s: 5,
            },
            DirectoryEntry::HashList { digest, at_s: 6 },
            DirectoryEntry::AgentRelease { digest, at_s: 7 },
        ] {
            assert_eq!(DirectoryEntry::decode(&entry.encode()), Ok(entry));
        }
    }

    /// K8: a device counts from its entry on, until it is revoked.
    #[test]
    fn revoked_device_has_no_key_in_force() {
        let mut directory = Directory::new();
        directory.apply(0, &add(1)).unwrap();
        directory.apply(1, &add(2)).unwrap();
        directory.apply(2, &revoke(1)).unwrap();
        assert!(directory.key_in_force(DeviceId::from_bytes([1; 16])).is_none());
        assert_eq!(directory.devices_of(PersonId::from_bytes([7; 16])).count(), 1);
    }

    #[test]
    fn entries_that_do_not_fit_are_refused() {
        let mut directory = Directory::new();
        directory.apply(0, &add(1)).unwrap();
        assert_eq!(
            directory.apply(2, &add(2)),
            Err(DirectoryError::OutOfOrder {
                expected: 1,
                found: 2
            })
        );
        assert_eq!(
            directory.apply(1, &add(1)),
            Err(DirectoryError::Device(DeviceId::from_bytes([1; 16])))
        );
        assert!(directory.apply(1, &revoke(9)).is_err());
        let bundle = |version| DirectoryEntry::PolicyBundle {
            version,
            digest: Digest::of(b"x"),
            at_s: 5,
        };
        directory.apply(1, &bundle(2)).unwrap();
        assert_eq!(directory.apply(2, &bundle(2)), Err(DirectoryError::Version(2)));
        assert_eq!(directory.size(), 2);
    }
}
