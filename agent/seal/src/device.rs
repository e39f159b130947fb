//! The device key: the long-lived P-256 key that vouches for leaves and signs clearances (K5).
//!
//! [`DeviceSigner`] is the seam behind which a TPM or a Secure Enclave stands; [`FileDeviceKey`] is the
//! implementation whose scalar lies in a file of the daemon.

use std::fmt;

use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use policies::keys::DevicePublicKey;
use policies::terms::{DeviceId, Tier};

/// Bytes of an ES256 signature: `r || s` (RFC 7518, section 3.4).
pub const SIGNATURE_BYTES: usize = 64;

/// Signs with the device key, wherever it lives.
pub trait DeviceSigner {
    /// The device that the directory log lists with this key.
    fn device(&self) -> DeviceId;

    /// The key that the directory log lists.
    fn public_key(&self) -> DevicePublicKey;

    /// ES256 over `message`: SHA-256, then ECDSA on P-256, `r || s`.
    ///
    /// # Errors
    /// The hardware or the store behind the seam did not sign.
    fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], SignerError>;

    /// How well the key is kept; attested in every clearance.
    fn tier(&self) -> Tier;
}

/// Why a device key could not be read or did not sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignerError {
    /// The bytes are no P-256 private key.
    #[error(
        "the device key is no P-256 private key\nhelp: restore the key file from the enrollment, or enrol this device again"
    )]
    NotAKey,
    /// The key exists but did not sign.
    #[error("the device key did not sign\nhelp: unlock the key store and try again")]
    Refused,
}

/// A device key whose scalar is in memory: tier `file`.
///
/// No `Clone`; `Debug` prints the public part; the scalar is overwritten when dropped.
pub struct FileDeviceKey {
    device: DeviceId,
    key: SigningKey,
    public: DevicePublicKey,
}

impl FileDeviceKey {
    /// Draws a fresh key.
    ///
    /// # Errors
    /// [`SignerError::NotAKey`] if `rng` never yields a valid scalar, which an honest source does at once.
    pub fn generate(device: DeviceId, rng: &mut dyn CryptoRng) -> Result<Self, SignerError> {
        const DRAWS_MAX: usize = 16; // a draw fails with probability 2^-32
        let mut scalar = Zeroizing::new([0u8; 32]);
        for _ in 0..DRAWS_MAX {
            rng.fill_bytes(scalar.as_mut());
            if let Ok(key) = Self::from_scalar(device, &scalar) {
                return Ok(key);
            }
        }
        Err(SignerError::NotAKey)
    }

    /// Takes the 32-byte big-endian scalar.
    ///
    /// # Errors
    /// [`SignerError::NotAKey`] if the scalar is zero or not below the order of the curve.
    pub fn from_scalar(device: DeviceId, scalar: &[u8; 32]) -> Result<Self, SignerError> {
        Self::from_key(
            device,
            SigningKey::from_slice(scalar).map_err(|_| SignerError::NotAKey)?,
        )
    }

    /// Reads a PKCS#8 key (RFC 5958) in DER.
    ///
    /// # Errors
    /// [`SignerError::NotAKey`] if the bytes are no PKCS#8 P-256 key.
    pub fn from_pkcs8_der(device: DeviceId, der: &[u8]) -> Result<Self, SignerError> {
        Self::from_key(
            device,
            SigningKey::from_pkcs8_der(der).map_err(|_| SignerError::NotAKey)?,
        )
    }

    /// Writes the key as PKCS#8 in DER, for the daemon's key file and for certificate requests.
    ///
    /// # Errors
    /// [`SignerError::NotAKey`] if the key cannot be encoded.
    pub fn to_pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, SignerError> {
        self.key
            .to_pkcs8_der()
            .map(|document| Zeroizing::new(document.as_bytes().to_vec()))
            .map_err(|_| SignerError::NotAKey)
    }

    fn from_key(device: DeviceId, key: SigningKey) -> Result<Self, SignerError> {
        let public = DevicePublicKey::from_sec1(&key.verifying_key().to_sec1_bytes())
            .map_err(|_| SignerError::NotAKey)?;
        Ok(Self { device, key, public })
    }
}

impl DeviceSigner for FileDeviceKey {
    fn device(&self) -> DeviceId {
        self.device
    }

    fn public_key(&self) -> DevicePublicKey {
        self.public.clone()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], SignerError> {
        let signature: Signature = self.key.try_sign(message).map_err(|_| SignerError::Refused)?;
        Ok(signature.to_bytes().into())
    }

    fn tier(&self) -> Tier {
        Tier::File
    }
}

impl fmt::Debug for FileDeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileDeviceKey")
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: DeviceId = DeviceId::from_bytes([7; 16]);

    fn key() -> FileDeviceKey {
        FileDeviceKey::from_scalar(DEVICE, &[9; 32]).unwrap()
    }

    #[test]
    fn debug_of_a_device_key_prints_the_public_part_only() {
        insta::assert_snapshot!(
            format!("{:?}", key()),
            @"FileDeviceKey { device: DeviceId(07070707070707070707070707070707), .. }"
        );
    }

    #[test]
    fn signature_verifies_with_the_logged_key_and_no_other_message() {
        let signature = key().sign(b"message").unwrap();
        assert!(key().public_key().verify(b"message", &signature));
        assert!(!key().public_key().verify(b"massage", &signature));
    }

    #[test]
    fn key_survives_its_file() {
        let der = key().to_pkcs8_der().unwrap();
        let again = FileDeviceKey::from_pkcs8_der(DEVICE, &der).unwrap();
        assert_eq!(again.sign(b"m").unwrap(), key().sign(b"m").unwrap());
    }

    #[test]
    fn zero_is_no_key() {
        assert_eq!(
            FileDeviceKey::from_scalar(DEVICE, &[0; 32]).err(),
            Some(SignerError::NotAKey)
        );
    }
}
