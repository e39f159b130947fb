//! Who a leaf is: an Ed25519 leaf key, vouched for by a logged device key (K5), and the check of every leaf met.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use ciborium::Value;
use openmls::prelude::tls_codec::Serialize as _;
use openmls::prelude::{
    BasicCredential, Ciphersuite, Credential, CredentialWithKey, LeafNode, SignatureScheme,
};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::MemoryStorage;
use policies::directory::{Directory, LoggedDevice};
use policies::keys::Ed25519PublicKey;
use policies::leaf;
use policies::terms::{DeviceId, PersonId, TenantId};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::cbor;
use crate::device::DeviceSigner;
use crate::member::MemberError;

/// The one cipher suite (M8): X25519, AES-128-GCM, SHA-256, Ed25519.
pub(crate) const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;

/// The number of the one cipher suite in the registry of RFC 9420, section 17.1.
pub const SUITE_ID: u16 = 0x0001;

/// Bytes of a leaf key: the seed of RFC 8032.
const LEAF_KEY_BYTES: usize = 32;

/// The credential under which the gateway's Ed25519 key stands in the external-senders extension.
pub const GATEWAY_SENDER: &[u8] = b"sealgate/gateway/1";

/// Why a leaf was not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeafRefused {
    /// The credential is not the one of K5.
    #[error("a leaf's credential is not a device credential")]
    Malformed,
    /// No device-add entry in the log as far as it is known here (K8).
    #[error(
        "device {0} is not in the directory log\nhelp: fetch the log and try again; if it stays, somebody invented a device"
    )]
    Unlogged(DeviceId),
    /// The logged device key did not sign this leaf key.
    #[error("the leaf key of device {0} is not signed by its logged device key")]
    Unvouched(DeviceId),
    /// The device was revoked.
    #[error("device {0} is revoked")]
    Revoked(DeviceId),
    /// The device's person is not in the roster of the audience.
    #[error("person {0} is not in the roster of this audience")]
    Unlisted(PersonId),
    /// An update tried to turn one device's leaf into another's.
    #[error("the leaf of device {was} became one of device {is}")]
    Changed {
        /// The device that holds the leaf.
        was: DeviceId,
        /// The device that the update names.
        is: DeviceId,
    },
    /// Two leaves of one device.
    #[error("device {0} would hold two leaves")]
    Twice(DeviceId),
    /// The leaf cannot read the roster, or speaks another suite.
    #[error(
        "the key package of device {0} lacks what this tenant's audiences need\nhelp: update the agent on that device"
    )]
    Incapable(DeviceId),
    /// The key package is older than our limit or not yet valid (K11).
    #[error(
        "the key package of device {0} is too old or not yet valid\nhelp: let the device run so that it uploads fresh ones"
    )]
    Stale(DeviceId),
}

/// This device's own identity, as kept in its state.
pub(crate) struct Identity {
    pub(crate) tenant: TenantId,
    pub(crate) device: DeviceId,
    pub(crate) gateway: Ed25519PublicKey,
    pub(crate) leaf: SignatureKeyPair,
    pub(crate) credential: CredentialWithKey,
}

impl Identity {
    /// Draws a leaf key and has the device key vouch for it.
    pub(crate) fn create(
        tenant: TenantId,
        gateway: Ed25519PublicKey,
        signer: &dyn DeviceSigner,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, MemberError> {
        let mut seed = Zeroizing::new([0u8; LEAF_KEY_BYTES]);
        rng.fill_bytes(seed.as_mut());
        Self::from_leaf_key(tenant, gateway, signer, seed.as_ref())
    }

    /// Takes a leaf key that was kept, and has the device key vouch for it.
    pub(crate) fn from_leaf_key(
        tenant: TenantId,
        gateway: Ed25519PublicKey,
        signer: &dyn DeviceSigner,
        seed: &[u8],
    ) -> Result<Self, MemberError> {
        let public = Ed25519KeyPair::from_seed_unchecked(seed)
            .map_err(|_| MemberError::LeafKey)?
            .public_key()
            .as_ref()
            .to_vec();
        let leaf = SignatureKeyPair::from_raw(SignatureScheme::ED25519, seed.to_vec(), public);
        Self::vouched(tenant, gateway, signer, leaf)
    }

    /// The seed of the leaf key. openmls gives it out in its TLS encoding alone, which begins with the seed and one
    /// byte of its length (RFC 9420, section 2.1.2).
    pub(crate) fn leaf_key(&self) -> Result<Zeroizing<Vec<u8>>, MemberError> {
        let encoded = self.leaf.tls_serialize_detached().map(Zeroizing::new);
        let encoded = encoded.map_err(|_| MemberError::Crypto)?;
        let seed = encoded.get(1..=LEAF_KEY_BYTES).ok_or(MemberError::Crypto)?;
        Ok(Zeroizing::new(seed.to_vec()))
    }

    fn vouched(
        tenant: TenantId,
        gateway: Ed25519PublicKey,
        signer: &dyn DeviceSigner,
        leaf: SignatureKeyPair,
    ) -> Result<Self, MemberError> {
        let device = signer.device();
        let public = leaf.to_public_vec();
        let message = leaf::leaf_message(&tenant, device, SUITE_ID, &public);
        let signature = signer.sign(&message)?;
        let identity = leaf::credential_bytes(device, &signature);
        Ok(Self {
            tenant,
            device,
            gateway,
            leaf,
            credential: credential_with_key(identity, public),
        })
    }

    /// The public half as a record; the leaf key has its own.
    pub(crate) fn to_record(&self) -> Vec<u8> {
        cbor::encode(vec![
            (1, Value::Text(self.tenant.as_str().to_owned())),
            (2, Value::Bytes(self.device.as_bytes().to_vec())),
            (3, Value::Bytes(self.gateway.to_bytes().to_vec())),
            (4, Value::Bytes(self.leaf.public().to_vec())),
            (5, Value::Bytes(credential_identity(&self.credential.credential))),
        ])
    }

    /// Reads [`Identity::to_record`] and the leaf key beside it.
    pub(crate) fn from_record(record: &[u8], storage: &MemoryStorage) -> Result<Self, MemberError> {
        let mut fields = cbor::Fields::parse(record).map_err(|_| MemberError::State)?;
        let tenant = fields.text(1).map_err(|_| MemberError::State)?;
        let device: [u8; 16] = fields.array(2).map_err(|_| MemberError::State)?;
        let gateway: [u8; 32] = fields.array(3).map_err(|_| MemberError::State)?;
        let public = fields.bytes(4).map_err(|_| MemberError::State)?;
        let identity = fields.bytes(5).map_err(|_| MemberError::State)?;
        fields.finish().map_err(|_| MemberError::State)?;
        let leaf =
            SignatureKeyPair::read(storage, &public, SignatureScheme::ED25519).ok_or(MemberError::State)?;
        Ok(Self {
            tenant: TenantId::parse(&tenant).map_err(|_| MemberError::State)?,
            device: DeviceId::from_bytes(device),
            gateway: Ed25519PublicKey::from_bytes(&gateway).map_err(|_| MemberError::State)?,
            leaf,
            credential: credential_with_key(identity, public),
        })
    }
}

/// A leaf whose credential was checked against the log.
pub(crate) struct KnownLeaf<'a> {
    pub(crate) device: DeviceId,
    pub(crate) logged: &'a LoggedDevice,
}

/// Checks `(credential, signature key)` against the directory log: logged, and vouched for by the logged key.
///
/// Revocation is the caller's question, since a leaf outlives the revocation until somebody commits its removal.
pub(crate) fn known_leaf<'a>(
    tenant: &TenantId,
    directory: &'a Directory,
    credential: &Credential,
    leaf_key: &[u8],
) -> Result<KnownLeaf<'a>, LeafRefused> {
    let identity = credential_identity(credential);
    let device = leaf::credential_device(&identity).map_err(|_| LeafRefused::Malformed)?;
    let logged = directory.device(device).ok_or(LeafRefused::Unlogged(device))?;
    leaf::verify_leaf(tenant, SUITE_ID, &identity, leaf_key, |id| {
        directory.device(id).map(|found| found.key.clone())
    })
    .map_err(|_| LeafRefused::Unvouched(device))?;
    Ok(KnownLeaf { device, logged })
}

/// [`known_leaf`] of a whole leaf node.
pub(crate) fn known_leaf_node<'a>(
    tenant: &TenantId,
    directory: &'a Directory,
    leaf: &LeafNode,
) -> Result<KnownLeaf<'a>, LeafRefused> {
    known_leaf(
        tenant,
        directory,
        leaf.credential(),
        leaf.signature_key().as_slice(),
    )
}

/// The device that a credential names, unchecked: for leaves that were checked when they came in.
pub(crate) fn named_device(credential: &Credential) -> Result<DeviceId, LeafRefused> {
    leaf::credential_device(&credential_identity(credential)).map_err(|_| LeafRefused::Malformed)
}

fn credential_identity(credential: &Credential) -> Vec<u8> {
    // A credential of another type yields nothing, which no check below accepts.
    BasicCredential::try_from(credential.clone())
        .map(|basic| basic.identity().to_vec())
        .unwrap_or_default()
}

fn credential_with_key(identity: Vec<u8>, public: Vec<u8>) -> CredentialWithKey {
    CredentialWithKey {
        credential: BasicCredential::new(identity).into(),
        signature_key: public.into(),
    }
}
