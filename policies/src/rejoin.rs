//! A device that lost its MLS state, or is too far behind, joins its audiences again (K4, M4): first a
//! `device-rejoin` entry in the directory log, then one external commit per audience.
//!
//! The entry admits **one** external commit per audience. Which entry a leaf came in by is written in the leaf
//! itself, as an extension, so that everybody who holds the tree, the gateway and later joiners too, answers the
//! question "was this entry used here before?" alike and without a memory of their own.

use crate::directory::LoggedDevice;
use crate::terms::{DeviceId, TenantId};

/// Leaf extension with the index of the `device-rejoin` entry (private use range of RFC 9420, section 17.3).
pub const EXTENSION_TYPE: u16 = 0xF5E2;

const CONTEXT: &[u8] = b"sealgate/rejoin/1";

/// Why a leaf does not come in by an external commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejoinRefused {
    /// The extension is not eight bytes.
    #[error("the leaf's rejoin extension cannot be read")]
    Malformed,
    /// The leaf names no entry, or one that is not a `device-rejoin` of its device.
    #[error("no device-rejoin entry of device {0} in the directory log admits this leaf")]
    Unlogged(DeviceId),
    /// The entry, or a later one, let this device in before.
    #[error("the device-rejoin entry of device {0} was used in this audience before")]
    Used(DeviceId),
}

/// The extension's bytes.
#[must_use]
pub const fn encode(entry: u64) -> [u8; 8] {
    entry.to_be_bytes()
}

/// Reads [`encode`].
///
/// # Errors
/// [`RejoinRefused::Malformed`].
pub fn decode(bytes: &[u8]) -> Result<u64, RejoinRefused> {
    bytes
        .try_into()
        .map(u64::from_be_bytes)
        .map_err(|_| RejoinRefused::Malformed)
}

/// Whether the device may replace its leaf, which came in by `before`, by one that names `after`.
///
/// Any logged entry above the last one used counts, not only the latest: whoever has read further in the log must
/// not refuse what others merged.
///
/// # Errors
/// [`RejoinRefused`].
pub fn admit(logged: &LoggedDevice, before: Option<u64>, after: Option<u64>) -> Result<(), RejoinRefused> {
    let entry = after
        .filter(|entry| logged.rejoins.iter().any(|rejoin| rejoin.index == *entry))
        .ok_or(RejoinRefused::Unlogged(logged.device))?;
    if before.is_some_and(|before| before >= entry) {
        return Err(RejoinRefused::Used(logged.device));
    }
    Ok(())
}

/// The bytes that the device key signs to ask for an entry: `"sealgate/rejoin/1"`, then tenant (with its length,
/// u16 big-endian), device, the entries of the directory log that the device has followed (u64), and whether its
/// MLS state is lost (one byte).
///
/// The size makes the request idempotent and a replay harmless: a gateway whose log holds a `device-rejoin` of the
/// device at or behind that size answers with it and logs nothing.
#[must_use]
pub fn request_message(
    tenant: &TenantId,
    device: DeviceId,
    directory_size: u64,
    state_lost: bool,
) -> Vec<u8> {
    let mut message = CONTEXT.to_vec();
    let tenant = tenant.as_str().as_bytes();
    message.extend(u16::try_from(tenant.len()).unwrap_or(u16::MAX).to_be_bytes());
    message.extend(tenant);
    message.extend(device.as_bytes());
    message.extend(directory_size.to_be_bytes());
    message.push(u8::from(state_lost));
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::{Directory, DirectoryEntry};
    use crate::terms::{AudienceClass, PersonId};

    const DEVICE: DeviceId = DeviceId::from_bytes([3; 16]);

    /// The device as a log of its device-add and two rejoins (entries 1 and 2) has it.
    fn logged() -> LoggedDevice {
        let key = p256::ecdsa::SigningKey::from_slice(&[3; 32]).unwrap();
        let point = key.verifying_key().to_sec1_point(true);
        let add = DirectoryEntry::DeviceAdd {
            device: DEVICE,
            person: PersonId::from_bytes([7; 16]),
            key: point.as_bytes().try_into().unwrap(),
            class: AudienceClass::Internal,
            at_s: 1,
        };
        let rejoin = |at_s| DirectoryEntry::DeviceRejoin { device: DEVICE, at_s };
        let mut directory = Directory::new();
        for (index, entry) in [add, rejoin(5), rejoin(6)].iter().enumerate() {
            directory.apply(index as u64, entry).unwrap();
        }
        directory.device(DEVICE).unwrap().clone()
    }

    /// M4, K4
    #[test]
    fn entry_admits_one_leaf_and_no_earlier_entry_follows_it() {
        let logged = logged();
        let used = Err(RejoinRefused::Used(DEVICE));
        assert_eq!(admit(&logged, None, Some(1)), Ok(()));
        assert_eq!(admit(&logged, None, Some(2)), Ok(()));
        assert_eq!(admit(&logged, Some(1), Some(2)), Ok(()));
        assert_eq!(admit(&logged, Some(1), Some(1)), used);
        assert_eq!(admit(&logged, Some(2), Some(1)), used);
    }

    /// M4, K8
    #[test]
    fn leaf_without_an_entry_of_its_own_device_is_not_admitted() {
        let unlogged = Err(RejoinRefused::Unlogged(DEVICE));
        assert_eq!(admit(&logged(), None, None), unlogged);
        assert_eq!(admit(&logged(), None, Some(0)), unlogged);
        assert_eq!(admit(&logged(), None, Some(3)), unlogged);
    }

    #[test]
    fn extension_survives_the_wire() {
        assert_eq!(decode(&encode(77)), Ok(77));
        assert_eq!(decode(b"short"), Err(RejoinRefused::Malformed));
    }

    #[test]
    fn request_binds_everything_that_it_says() {
        let tenant = TenantId::parse("acme").unwrap();
        let other = TenantId::parse("other").unwrap();
        let message = request_message(&tenant, DEVICE, 9, true);
        assert_ne!(message, request_message(&other, DEVICE, 9, true));
        assert_ne!(
            message,
            request_message(&tenant, DeviceId::from_bytes([4; 16]), 9, true)
        );
        assert_ne!(message, request_message(&tenant, DEVICE, 8, true));
        assert_ne!(message, request_message(&tenant, DEVICE, 9, false));
    }
}
