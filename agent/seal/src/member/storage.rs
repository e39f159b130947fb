//! The records behind a member: openmls' values and two kinds of our own, as key and value bytes.

use std::collections::BTreeMap;
use std::fmt;

use openmls::prelude::OpenMlsProvider as _;
use openmls_rust_crypto::OpenMlsRustCrypto;
use policies::terms::{AudienceId, Digest};
use zeroize::{Zeroize as _, Zeroizing};

use super::MemberError;

/// Key of the identity's record.
pub(super) const IDENTITY: &[u8] = b"sealgate/identity/1";

/// Key of the record of the `device-rejoin` entry under which the state was made anew.
pub(super) const REJOINED: &[u8] = b"sealgate/rejoined/1";

const AUDIENCE: &[u8] = b"sealgate/audience/1/";

/// One record to write or to delete.
pub struct RecordChange {
    /// The record's key: labels and public identifiers, no secret.
    pub key: Vec<u8>,
    /// The value to store, encrypted, or `None` to delete the record.
    pub value: Option<Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for RecordChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordChange")
            .field("key_bytes", &self.key.len())
            .field("value_bytes", &self.value.as_ref().map(|value| value.len()))
            .finish()
    }
}

/// Key of the record that says that this device is in `audience`.
pub(super) fn audience_key(audience: AudienceId) -> Vec<u8> {
    [AUDIENCE, audience.as_bytes()].concat()
}

/// The audiences that the record keys name.
pub(super) fn audiences<'a>(keys: impl Iterator<Item = &'a Vec<u8>>) -> Vec<AudienceId> {
    keys.filter_map(|key| key.strip_prefix(AUDIENCE))
        .filter_map(|id| <[u8; 16]>::try_from(id).ok())
        .map(AudienceId::from_bytes)
        .collect()
}

pub(super) fn put(provider: &OpenMlsRustCrypto, key: &[u8], value: Vec<u8>) -> Result<(), MemberError> {
    let mut values = provider
        .storage()
        .values
        .write()
        .map_err(|_| MemberError::State)?;
    values.insert(key.to_vec(), value);
    Ok(())
}

/// The entry in the [`REJOINED`] record.
pub(super) fn rejoined_by(provider: &OpenMlsRustCrypto) -> Option<u64> {
    let values = provider
        .storage()
        .values
        .read()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let entry = values.get(REJOINED)?;
    policies::rejoin::decode(entry).ok()
}

/// Puts stored records back; returns their digests, as what the shell already has.
pub(super) fn fill(
    provider: &OpenMlsRustCrypto,
    records: &BTreeMap<Vec<u8>, Zeroizing<Vec<u8>>>,
) -> Result<BTreeMap<Vec<u8>, Digest>, MemberError> {
    let mut values = provider
        .storage()
        .values
        .write()
        .map_err(|_| MemberError::State)?;
    let mut taken = BTreeMap::new();
    for (key, value) in records {
        values.insert(key.clone(), value.to_vec());
        taken.insert(key.clone(), Digest::of(value));
    }
    Ok(taken)
}

/// The difference between the values and what was taken; afterwards it is all taken.
pub(super) fn changes(
    provider: &OpenMlsRustCrypto,
    taken: &mut BTreeMap<Vec<u8>, Digest>,
) -> Vec<RecordChange> {
    // A poisoned lock still holds the values of the last whole write.
    let values = provider
        .storage()
        .values
        .read()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut changes = Vec::new();
    for (key, value) in values.iter() {
        let digest = Digest::of(value);
        if taken.get(key) != Some(&digest) {
            taken.insert(key.clone(), digest);
            changes.push(RecordChange {
                key: key.clone(),
                value: Some(Zeroizing::new(value.clone())),
            });
        }
    }
    taken.retain(|key, _| {
        let kept = values.contains_key(key);
        if !kept {
            changes.push(RecordChange {
                key: key.clone(),
                value: None,
            });
        }
        kept
    });
    changes
}

/// Removes every record that names the group: what openmls' own deletion leaves are the epoch's key pairs.
pub(super) fn remove_group(provider: &OpenMlsRustCrypto, audience: AudienceId) -> Result<(), MemberError> {
    let mut values = provider
        .storage()
        .values
        .write()
        .map_err(|_| MemberError::State)?;
    // openmls writes identifiers into record keys as JSON lists of bytes.
    let bytes: Vec<String> = audience.as_bytes().iter().map(u8::to_string).collect();
    let named = format!("[{}]", bytes.join(","));
    let own = audience_key(audience);
    values.retain(|key, value| {
        let of_group = *key == own || contains(key, named.as_bytes());
        if of_group {
            value.zeroize();
        }
        !of_group
    });
    Ok(())
}

/// A copy of every record, for the one operation of openmls that cannot be undone otherwise.
pub(super) fn snapshot(
    provider: &OpenMlsRustCrypto,
) -> Result<BTreeMap<Vec<u8>, Zeroizing<Vec<u8>>>, MemberError> {
    let values = provider.storage().values.read().map_err(|_| MemberError::State)?;
    Ok(values
        .iter()
        .map(|(key, value)| (key.clone(), Zeroizing::new(value.clone())))
        .collect())
}

/// Puts a [`snapshot`] back.
pub(super) fn restore(
    provider: &OpenMlsRustCrypto,
    kept: &BTreeMap<Vec<u8>, Zeroizing<Vec<u8>>>,
) -> Result<(), MemberError> {
    wipe(provider);
    let mut values = provider
        .storage()
        .values
        .write()
        .map_err(|_| MemberError::State)?;
    values.clear();
    for (key, value) in kept {
        values.insert(key.clone(), value.to_vec());
    }
    Ok(())
}

/// Overwrites every value.
pub(super) fn wipe(provider: &OpenMlsRustCrypto) {
    let mut values = provider
        .storage()
        .values
        .write()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    for value in values.values_mut() {
        value.zeroize();
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
