//! Key packages: what others need to add this device while it is offline.

use openmls::prelude::tls_codec::{Deserialize as _, Serialize as _};
use openmls::prelude::{
    Capabilities, CredentialType, ExtensionType, KeyPackage, KeyPackageBuilder, Lifetime, MlsMessageBodyIn,
    MlsMessageIn, MlsMessageOut, OpenMlsProvider as _, ProtocolVersion,
};
use openmls_rust_crypto::OpenMlsRustCrypto;

use super::rejoin::leaf_extensions;
use super::{Member, MemberError};
use crate::identity::{LeafRefused, SUITE};
use crate::limits::{CLOCK_SKEW_S, KEY_PACKAGE_LIFETIME_S, KEY_PACKAGES_MAX, MLS_MESSAGE_BYTES_MAX};

/// GroupContext extension that holds the roster (K8), from the private range of RFC 9420, section 17.3.
pub const ROSTER_EXTENSION: u16 = policies::roster::EXTENSION_TYPE;

impl Member {
    /// Makes `count` one-time key packages, each a serialised `MLSMessage`, to be uploaded once persisted.
    ///
    /// # Errors
    /// [`MemberError::TooMany`] beyond [`KEY_PACKAGES_MAX`]; [`MemberError::Crypto`] if the library refuses.
    pub fn key_packages(&mut self, count: usize, now_s: u64) -> Result<Vec<Vec<u8>>, MemberError> {
        if count > KEY_PACKAGES_MAX {
            return Err(MemberError::TooMany {
                max: KEY_PACKAGES_MAX,
            });
        }
        (0..count)
            .map(|_| self.key_package(KeyPackage::builder(), now_s))
            .collect()
    }

    /// Makes the key package that is handed out when the one-time ones have run out.
    ///
    /// # Errors
    /// [`MemberError::Crypto`] if the library refuses.
    pub fn last_resort_key_package(&mut self, now_s: u64) -> Result<Vec<u8>, MemberError> {
        self.key_package(KeyPackage::builder().mark_as_last_resort(), now_s)
    }

    fn key_package(&self, builder: KeyPackageBuilder, now_s: u64) -> Result<Vec<u8>, MemberError> {
        let lifetime = Lifetime::init(
            now_s.saturating_sub(CLOCK_SKEW_S),
            now_s.saturating_add(KEY_PACKAGE_LIFETIME_S),
        );
        let bundle = builder
            .key_package_lifetime(lifetime)
            .leaf_node_capabilities(capabilities())
            .leaf_node_extensions(leaf_extensions(self.rejoined_by())?)
            .build(
                SUITE,
                &self.provider,
                &self.identity.leaf,
                self.identity.credential.clone(),
            )
            .map_err(|_| MemberError::Crypto)?;
        MlsMessageOut::from(bundle.into_key_package())
            .tls_serialize_detached()
            .map_err(|_| MemberError::Crypto)
    }
}

/// What every leaf of this tenant can do: one version, one suite, the roster and rejoin extensions, basic
/// credentials.
pub(super) fn capabilities() -> Capabilities {
    Capabilities::new(
        Some(&[ProtocolVersion::Mls10]),
        Some(&[SUITE]),
        Some(&[
            ExtensionType::Unknown(ROSTER_EXTENSION),
            ExtensionType::LastResort,
            super::rejoin::extension_type(),
        ]),
        Some(&[]),
        Some(&[CredentialType::Basic]),
    )
}

/// Parses a key package and verifies its own signatures and its MLS lifetime; whose it is comes after.
pub(super) fn parse(provider: &OpenMlsRustCrypto, bytes: &[u8]) -> Result<KeyPackage, LeafRefused> {
    if bytes.len() > MLS_MESSAGE_BYTES_MAX {
        return Err(LeafRefused::Malformed);
    }
    let message = MlsMessageIn::tls_deserialize_exact(bytes).map_err(|_| LeafRefused::Malformed)?;
    let MlsMessageBodyIn::KeyPackage(key_package) = message.extract() else {
        return Err(LeafRefused::Malformed);
    };
    key_package
        .validate(provider.crypto(), ProtocolVersion::Mls10)
        .map_err(|_| LeafRefused::Malformed)
}
