//! Freshness: the gateway's online key says that a bundle is still the latest (B4). It can hold back a newer one
//! for no longer than a timestamp lives, and it can never make a bundle.

use ciborium::Value;
use ed25519_dalek::{Signer as _, SigningKey};

use crate::cbor;
use crate::keys::Ed25519PublicKey;
use crate::terms::Digest;

const CONTEXT: &[u8] = b"sealgate/timestamp/1";

/// Why a timestamp is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimestampError {
    /// Not our CBOR.
    #[error("the timestamp cannot be read")]
    Malformed,
    /// Not signed by the pinned key.
    #[error("the timestamp is not signed by the gateway's timestamp key")]
    Signature,
}

/// At `at_s`, `bundle` was the latest; after `expires_s` this says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp {
    /// The bundle.
    pub bundle: Digest,
    /// Unix seconds.
    pub at_s: u64,
    /// Unix seconds.
    pub expires_s: u64,
}

impl Timestamp {
    /// Canonical CBOR `[payload, signature]` over `"sealgate/timestamp/1" || payload`.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> Vec<u8> {
        let fields = vec![
            Value::Bytes(self.bundle.as_bytes().to_vec()),
            self.at_s.into(),
            self.expires_s.into(),
        ];
        let payload = cbor::canonical(&Value::Array(fields));
        let signature = key.sign(&[CONTEXT, &payload].concat()).to_bytes().to_vec();
        cbor::canonical(&Value::Array(vec![
            Value::Bytes(payload),
            Value::Bytes(signature),
        ]))
    }

    /// Reads and verifies received bytes. Whether it is of our bundle and not expired is the caller's to compare.
    ///
    /// # Errors
    /// [`TimestampError`].
    pub fn parse_verify(bytes: &[u8], key: &Ed25519PublicKey) -> Result<Self, TimestampError> {
        let value = cbor::strict_value(bytes).map_err(|_| TimestampError::Malformed)?;
        let parts = value.into_array().map_err(|_| TimestampError::Malformed)?;
        let [Value::Bytes(payload), Value::Bytes(signature)] = parts.as_slice() else {
            return Err(TimestampError::Malformed);
        };
        let signature = signature
            .as_slice()
            .try_into()
            .map_err(|_| TimestampError::Malformed)?;
        if !key.verify(&[CONTEXT, payload].concat(), signature) {
            return Err(TimestampError::Signature);
        }
        let fields = cbor::strict_value(payload).map_err(|_| TimestampError::Malformed)?;
        let fields = fields.into_array().map_err(|_| TimestampError::Malformed)?;
        let [Value::Bytes(bundle), Value::Integer(at), Value::Integer(expires)] = fields.as_slice() else {
            return Err(TimestampError::Malformed);
        };
        let seconds =
            |value: &ciborium::value::Integer| u64::try_from(*value).map_err(|_| TimestampError::Malformed);
        let bundle = bundle
            .as_slice()
            .try_into()
            .map_err(|_| TimestampError::Malformed)?;
        Ok(Self {
            bundle: Digest::from_bytes(bundle),
            at_s: seconds(at)?,
            expires_s: seconds(expires)?,
        })
    }
}
