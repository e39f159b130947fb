//! The bundle's bytes.

use std::collections::BTreeMap;

use ciborium::Value;
use sha2::{Digest as _, Sha256};

use super::{BundleError, Role};
use crate::cbor;
use crate::limits;

/// Manifest, signatures and CBOR around the parts.
const OVERHEAD_BYTES_MAX: usize = 256 * 1024;
const ED25519: &str = "ed25519";

/// One signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    pub(super) role: Role,
    pub(super) key_id: String,
    pub(super) sig: [u8; 64],
}

/// The id of a public key, as [`crate::keys::Ed25519PublicKey::key_id`] has it.
pub(super) fn key_id(public: &[u8; 32]) -> String {
    hex::encode(
        Sha256::digest(public)
            .iter()
            .take(8)
            .copied()
            .collect::<Vec<u8>>(),
    )
}

type Contents = (Vec<u8>, BTreeMap<String, Vec<u8>>, Vec<Signature>);

pub(super) fn write(manifest: &[u8], parts: &BTreeMap<String, Vec<u8>>, signatures: &[Signature]) -> Vec<u8> {
    let text = |text: &str| Value::Text(text.to_owned());
    let parts = parts
        .iter()
        .map(|(path, bytes)| (text(path), Value::Bytes(bytes.clone())));
    let signatures = signatures.iter().map(|signature| {
        Value::Map(vec![
            (text("alg"), text(ED25519)),
            (text("key"), text(&signature.key_id)),
            (text("role"), text(signature.role.as_str())),
            (text("sig"), Value::Bytes(signature.sig.to_vec())),
        ])
    });
    cbor::canonical(&Value::Map(vec![
        (text("manifest"), Value::Bytes(manifest.to_vec())),
        (text("parts"), Value::Map(parts.collect())),
        (text("signatures"), Value::Array(signatures.collect())),
    ]))
}

pub(super) fn read(bytes: &[u8]) -> Result<Contents, BundleError> {
    if bytes.len() > limits::BUNDLE_BYTES_MAX + OVERHEAD_BYTES_MAX {
        return Err(BundleError::TooLarge);
    }
    let mut map = Map::of(cbor::strict_value(bytes).map_err(|_| BundleError::Malformed)?)?;
    let manifest = map
        .take("manifest")?
        .into_bytes()
        .map_err(|_| BundleError::Malformed)?;
    let parts = map
        .take("parts")?
        .into_map()
        .map_err(|_| BundleError::Malformed)?;
    let signatures = map
        .take("signatures")?
        .into_array()
        .map_err(|_| BundleError::Malformed)?;
    map.finish()?;
    if parts.len() > limits::PARTS_MAX || signatures.len() > limits::SIGNATURES_MAX {
        return Err(BundleError::TooLarge);
    }
    let part = |(path, bytes): (Value, Value)| {
        let path = path.into_text().map_err(|_| BundleError::Malformed)?;
        Ok((path, bytes.into_bytes().map_err(|_| BundleError::Malformed)?))
    };
    let parts = parts.into_iter().map(part).collect::<Result<_, _>>()?;
    Ok((
        manifest,
        parts,
        signatures.into_iter().map(signature).collect::<Result<_, _>>()?,
    ))
}

fn signature(value: Value) -> Result<Signature, BundleError> {
    let mut map = Map::of(value)?;
    if map.text("alg")? != ED25519 {
        return Err(BundleError::Malformed);
    }
    let key_id = map.text("key")?;
    let role = map.text("role")?.parse().map_err(|_| BundleError::Malformed)?;
    let sig = map
        .take("sig")?
        .into_bytes()
        .map_err(|_| BundleError::Malformed)?;
    map.finish()?;
    Ok(Signature {
        role,
        key_id,
        sig: sig.try_into().map_err(|_| BundleError::Malformed)?,
    })
}

/// A CBOR map with text keys, taken apart field by field.
pub(super) struct Map(BTreeMap<String, Value>);

impl Map {
    pub(super) fn of(value: Value) -> Result<Self, BundleError> {
        let entries = value.into_map().map_err(|_| BundleError::Malformed)?;
        let entries = entries.into_iter().map(|(key, value)| {
            key.into_text()
                .map(|key| (key, value))
                .map_err(|_| BundleError::Malformed)
        });
        Ok(Self(entries.collect::<Result<_, _>>()?))
    }

    pub(super) fn take(&mut self, key: &str) -> Result<Value, BundleError> {
        self.0.remove(key).ok_or(BundleError::Malformed)
    }

    pub(super) fn text(&mut self, key: &str) -> Result<String, BundleError> {
        self.take(key)?.into_text().map_err(|_| BundleError::Malformed)
    }

    pub(super) fn unsigned(&mut self, key: &str) -> Result<u64, BundleError> {
        let integer = self.take(key)?.as_integer().ok_or(BundleError::Malformed)?;
        integer.try_into().map_err(|_| BundleError::Malformed)
    }

    /// Nothing else may be there.
    pub(super) fn finish(self) -> Result<(), BundleError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(BundleError::Malformed)
        }
    }
}
