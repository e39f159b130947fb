//! The credential of an MLS leaf (K5): the device key vouches for the leaf's signature key. openmls does not
//! validate it, so members and gateway both do, before anything is merged.

use ciborium::Value;

use crate::cbor;
use crate::keys::DevicePublicKey;
use crate::terms::{DeviceId, TenantId};

const CONTEXT: &[u8] = b"sealgate/leaf/1";

/// Why a leaf is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// The credential is not the CBOR that we write.
    #[error("the leaf's credential cannot be read")]
    Malformed,
    /// The device is not in the directory log, or revoked.
    #[error("the leaf's device {0} is not in the directory log")]
    UnknownDevice(DeviceId),
    /// The device key did not sign this leaf key.
    #[error("device {0} did not sign this leaf")]
    Signature(DeviceId),
}

/// The bytes that the device key signs: `"sealgate/leaf/1"`, then tenant, device, cipher suite (u16) and leaf
/// key, each with its length (u16, big-endian).
#[must_use]
pub fn leaf_message(tenant: &TenantId, device: DeviceId, suite: u16, leaf_key: &[u8]) -> Vec<u8> {
    let mut message = CONTEXT.to_vec();
    let suite = suite.to_be_bytes();
    for part in [tenant.as_str().as_bytes(), device.as_bytes(), &suite, leaf_key] {
        message.extend(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
        message.extend(part);
    }
    message
}

/// The identity of a BasicCredential: canonical CBOR `[device, signature]`.
#[must_use]
pub fn credential_bytes(device: DeviceId, signature: &[u8; 64]) -> Vec<u8> {
    cbor::canonical(&Value::Array(vec![
        Value::Bytes(device.as_bytes().to_vec()),
        Value::Bytes(signature.to_vec()),
    ]))
}

/// The device that a credential names, not yet verified.
///
/// # Errors
/// [`LeafError::Malformed`].
pub fn credential_device(credential: &[u8]) -> Result<DeviceId, LeafError> {
    Ok(parse(credential)?.0)
}

/// Verifies that the device named by `credential` signed `leaf_key`; `lookup` gives the key of a device that
/// is in the directory log and not revoked.
///
/// # Errors
/// [`LeafError`].
pub fn verify_leaf(
    tenant: &TenantId,
    suite: u16,
    credential: &[u8],
    leaf_key: &[u8],
    lookup: impl Fn(DeviceId) -> Option<DevicePublicKey>,
) -> Result<DeviceId, LeafError> {
    let (device, signature) = parse(credential)?;
    let key = lookup(device).ok_or(LeafError::UnknownDevice(device))?;
    let message = leaf_message(tenant, device, suite, leaf_key);
    if key.verify(&message, &signature) {
        Ok(device)
    } else {
        Err(LeafError::Signature(device))
    }
}

fn parse(credential: &[u8]) -> Result<(DeviceId, [u8; 64]), LeafError> {
    let value = cbor::strict_value(credential).map_err(|_| LeafError::Malformed)?;
    let fields = value.into_array().map_err(|_| LeafError::Malformed)?;
    let [Value::Bytes(device), Value::Bytes(signature)] = fields.as_slice() else {
        return Err(LeafError::Malformed);
    };
    let device = device.as_slice().try_into().map_err(|_| LeafError::Malformed)?;
    let signature = signature
        .as_slice()
        .try_into()
        .map_err(|_| LeafError::Malformed)?;
    Ok((DeviceId::from_bytes(device), signature))
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::SigningKey;
    use p256::ecdsa::signature::Signer as _;

    use super::*;

    fn device() -> (DeviceId, SigningKey, DevicePublicKey) {
        let key = SigningKey::from_slice(&[3; 32]).unwrap();
        let public = DevicePublicKey::from_sec1(key.verifying_key().to_sec1_point(true).as_bytes()).unwrap();
        (DeviceId::from_bytes([9; 16]), key, public)
    }

    fn credential(tenant: &TenantId, leaf_key: &[u8]) -> Vec<u8> {
        let (id, key, _) = device();
        let signature: p256::ecdsa::Signature = key.sign(&leaf_message(tenant, id, 1, leaf_key));
        credential_bytes(id, &signature.to_bytes().into())
    }

    /// K5
    #[test]
    fn leaf_signed_by_its_logged_device_is_admitted() {
        let tenant = TenantId::parse("acme").unwrap();
        let (id, _, public) = device();
        let admitted = verify_leaf(&tenant, 1, &credential(&tenant, b"leaf"), b"leaf", |_| {
            Some(public.clone())
        });
        assert_eq!(admitted, Ok(id));
    }

    /// K5, K8
    #[test]
    fn leaf_of_another_key_suite_tenant_or_unlogged_device_is_refused() {
        let tenant = TenantId::parse("acme").unwrap();
        let other = TenantId::parse("other").unwrap();
        let (id, _, public) = device();
        let bytes = credential(&tenant, b"leaf");
        let lookup = |_| Some(public.clone());
        assert_eq!(
            verify_leaf(&tenant, 1, &bytes, b"elsewhere", lookup),
            Err(LeafError::Signature(id))
        );
        assert_eq!(
            verify_leaf(&tenant, 2, &bytes, b"leaf", lookup),
            Err(LeafError::Signature(id))
        );
        assert_eq!(
            verify_leaf(&other, 1, &bytes, b"leaf", lookup),
            Err(LeafError::Signature(id))
        );
        assert_eq!(
            verify_leaf(&tenant, 1, &bytes, b"leaf", |_| None),
            Err(LeafError::UnknownDevice(id))
        );
        assert_eq!(
            verify_leaf(&tenant, 1, b"rubbish", b"leaf", lookup),
            Err(LeafError::Malformed)
        );
    }
}
