//! The manifest: what a bundle is, and the digest of each part.

use std::collections::BTreeMap;

use ciborium::Value;

use super::wire::Map;
use super::{BundleError, ManifestFields};
use crate::cbor;
use crate::limits;
use crate::terms::{Digest, TenantId};

/// What the signers sign (B1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Whose policy.
    pub tenant: TenantId,
    /// For which ring.
    pub channel: String,
    /// Rises with every bundle.
    pub version: u64,
    /// The oldest agent that understands it.
    pub min_agent: String,
    /// Unix seconds.
    pub issued_s: u64,
    /// Unix seconds.
    pub expires_s: u64,
    /// The bundle before it.
    pub previous: Option<Digest>,
    /// Its parts, by path.
    pub parts: BTreeMap<String, Part>,
}

/// A part, as the manifest has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// SHA-256.
    pub sha256: Digest,
    /// Size.
    pub size_bytes: u64,
}

impl Part {
    fn of(bytes: &[u8]) -> Self {
        Self {
            sha256: Digest::of(bytes),
            size_bytes: bytes.len() as u64,
        }
    }
}

impl Manifest {
    pub(super) fn of(tenant: TenantId, fields: ManifestFields, parts: &BTreeMap<String, Vec<u8>>) -> Self {
        let ManifestFields {
            channel,
            version,
            min_agent,
            issued_s,
            expires_s,
            previous,
        } = fields;
        let parts = parts
            .iter()
            .map(|(path, bytes)| (path.clone(), Part::of(bytes)))
            .collect();
        Self {
            tenant,
            channel,
            version,
            min_agent,
            issued_s,
            expires_s,
            previous,
            parts,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let text = |text: &str| Value::Text(text.to_owned());
        let bytes = |digest: &Digest| Value::Bytes(digest.as_bytes().to_vec());
        let parts = self.parts.iter().map(|(path, part)| {
            (
                text(path),
                Value::Array(vec![bytes(&part.sha256), part.size_bytes.into()]),
            )
        });
        let fields = [
            ("tenant", text(self.tenant.as_str())),
            ("channel", text(&self.channel)),
            ("version", self.version.into()),
            ("min_agent", text(&self.min_agent)),
            ("issued", self.issued_s.into()),
            ("expires", self.expires_s.into()),
            ("previous", self.previous.as_ref().map_or(Value::Null, bytes)),
            ("parts", Value::Map(parts.collect())),
        ];
        cbor::canonical(&Value::Map(
            fields
                .into_iter()
                .map(|(name, value)| (text(name), value))
                .collect(),
        ))
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BundleError> {
        let value = cbor::strict_value(bytes).map_err(|_| BundleError::Malformed)?;
        let mut map = Map::of(value)?;
        let manifest = Self {
            tenant: TenantId::parse(&map.text("tenant")?).map_err(|_| BundleError::Malformed)?,
            channel: map.text("channel")?,
            version: map.unsigned("version")?,
            min_agent: map.text("min_agent")?,
            issued_s: map.unsigned("issued")?,
            expires_s: map.unsigned("expires")?,
            previous: previous(map.take("previous")?)?,
            parts: parts(map.take("parts")?)?,
        };
        map.finish()?;
        Ok(manifest)
    }

    /// Exactly the parts of the manifest, byte for byte.
    pub(super) fn check_parts(&self, parts: &BTreeMap<String, Vec<u8>>) -> Result<(), BundleError> {
        for (path, expected) in &self.parts {
            let bytes = parts
                .get(path)
                .ok_or_else(|| BundleError::PartMissing(path.clone()))?;
            if Part::of(bytes) != *expected {
                return Err(BundleError::PartChanged(path.clone()));
            }
        }
        match parts.keys().find(|path| !self.parts.contains_key(*path)) {
            Some(path) => Err(BundleError::PartUnknown(path.clone())),
            None => Ok(()),
        }
    }

    pub(super) fn check_times(&self, now_s: u64) -> Result<(), BundleError> {
        let lifetime = self
            .expires_s
            .checked_sub(self.issued_s)
            .ok_or(BundleError::BadTimes)?;
        if lifetime > limits::BUNDLE_LIFETIME_S_MAX
            || self.issued_s > now_s.saturating_add(limits::CLOCK_SKEW_S)
        {
            return Err(BundleError::BadTimes);
        }
        if self.expires_s <= now_s {
            Err(BundleError::Expired)
        } else {
            Ok(())
        }
    }
}

fn array<const N: usize>(value: Value) -> Result<[u8; N], BundleError> {
    let bytes = value.into_bytes().map_err(|_| BundleError::Malformed)?;
    bytes.try_into().map_err(|_| BundleError::Malformed)
}

fn previous(value: Value) -> Result<Option<Digest>, BundleError> {
    if value.is_null() {
        Ok(None)
    } else {
        Ok(Some(Digest::from_bytes(array(value)?)))
    }
}

/// Whether a path stays inside of the folder into which somebody may write it.
fn is_inside(path: &str) -> bool {
    let is_name = |name: &str| !matches!(name, "" | "." | "..") && !name.contains(['\\', ':', '\0']);
    path.split('/').all(is_name)
}

fn parts(value: Value) -> Result<BTreeMap<String, Part>, BundleError> {
    let entries = value.into_map().map_err(|_| BundleError::Malformed)?;
    let part = |(path, value): (Value, Value)| {
        let path = path
            .into_text()
            .ok()
            .filter(|path| is_inside(path))
            .ok_or(BundleError::Malformed)?;
        let fields = value.into_array().map_err(|_| BundleError::Malformed)?;
        let [sha256, size] = <[Value; 2]>::try_from(fields).map_err(|_| BundleError::Malformed)?;
        let size_bytes = size
            .as_integer()
            .and_then(|size| size.try_into().ok())
            .ok_or(BundleError::Malformed)?;
        Ok((
            path,
            Part {
                sha256: Digest::from_bytes(array(sha256)?),
                size_bytes,
            },
        ))
    };
    entries.into_iter().map(part).collect()
}
