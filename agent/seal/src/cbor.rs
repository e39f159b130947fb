//! Small canonical CBOR maps with integer keys, on top of the strict reader of `policies::cbor`.

use std::collections::BTreeMap;

use ciborium::Value;
use policies::cbor::{canonical, strict_value};

/// The bytes are not the map that was expected. Which field is not said: content must not reach an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Encodes a map with integer keys canonically.
pub(crate) fn encode(fields: Vec<(u8, Value)>) -> Vec<u8> {
    canonical(&map(fields))
}

/// A map value with integer keys.
pub(crate) fn map(fields: Vec<(u8, Value)>) -> Value {
    Value::Map(
        fields
            .into_iter()
            .map(|(key, value)| (Value::Integer(key.into()), value))
            .collect(),
    )
}

/// The fields of a map, taken one by one; [`Fields::finish`] refuses leftovers.
pub(crate) struct Fields(BTreeMap<u8, Value>);

impl Fields {
    /// Parses strict CBOR: one map, small integer keys.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::from_value(strict_value(bytes).map_err(|_| Malformed)?)
    }

    /// Takes a map apart.
    pub(crate) fn from_value(value: Value) -> Result<Self, Malformed> {
        let entries = value.into_map().map_err(|_| Malformed)?;
        let mut fields = BTreeMap::new();
        for (key, value) in entries {
            let key = key.into_integer().map_err(|_| Malformed)?;
            let key = u8::try_from(key).map_err(|_| Malformed)?;
            if fields.insert(key, value).is_some() {
                return Err(Malformed);
            }
        }
        Ok(Self(fields))
    }

    pub(crate) fn value(&mut self, key: u8) -> Result<Value, Malformed> {
        self.0.remove(&key).ok_or(Malformed)
    }

    pub(crate) fn bytes(&mut self, key: u8) -> Result<Vec<u8>, Malformed> {
        self.value(key)?.into_bytes().map_err(|_| Malformed)
    }

    pub(crate) fn array<const N: usize>(&mut self, key: u8) -> Result<[u8; N], Malformed> {
        self.bytes(key)?.try_into().map_err(|_| Malformed)
    }

    pub(crate) fn text(&mut self, key: u8) -> Result<String, Malformed> {
        self.value(key)?.into_text().map_err(|_| Malformed)
    }

    pub(crate) fn unsigned(&mut self, key: u8) -> Result<u64, Malformed> {
        let integer = self.value(key)?.into_integer().map_err(|_| Malformed)?;
        u64::try_from(integer).map_err(|_| Malformed)
    }

    pub(crate) fn list(&mut self, key: u8) -> Result<Vec<Value>, Malformed> {
        self.value(key)?.into_array().map_err(|_| Malformed)
    }

    /// Refuses fields that nobody asked for.
    pub(crate) fn finish(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}
