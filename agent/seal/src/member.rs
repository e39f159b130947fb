//! One device's MLS state: its leaf identity, its key packages and its audiences.
//!
//! ```text
//!   create_audience ─┐                     ┌─ stage_membership ─ merge_staged | discard_staged (409)
//!   join(welcome) ───┼─► audience, epoch n ┼─ process(commit) ────────────────► epoch n + 1 | Removed
//!   rejoin (lost) ───┘                     └─ process(gateway's Remove) ─► posting blocked until a commit
//! ```
//! Every call that changes state leaves records in [`Member::take_changes`]; the shell writes them, encrypted by
//! [`RecordCipher`](crate::RecordCipher), before any byte that the call returned leaves the device (M6).

mod commit;
mod group;
mod join;
mod key_packages;
mod messages;
mod process;
mod rejoin;
mod rules;
mod storage;

pub use commit::{MembershipChange, StageError, StagedCommit};
pub use group::{AudienceState, Created};
pub use join::{JoinError, Joined};
pub use key_packages::ROSTER_EXTENSION;
pub use process::{ProcessError, Processed};
pub use rejoin::{REJOIN_EXTENSION, RejoinError, Rejoined};
pub use rules::CommitRefused;
pub use storage::RecordChange;

use std::collections::BTreeMap;
use std::fmt;

use openmls::prelude::{GroupId, MlsGroup, OpenMlsProvider as _};
use openmls_rust_crypto::OpenMlsRustCrypto;
use policies::keys::Ed25519PublicKey;
use policies::terms::{AudienceId, DeviceId, Digest, TenantId};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::device::{DeviceSigner, SignerError};
use crate::identity::Identity;

/// One device's MLS state.
///
/// No `Clone`: two copies that both send would reuse message keys. `Debug` prints public parts only, and the
/// records are overwritten when the value is dropped.
pub struct Member {
    pub(crate) provider: OpenMlsRustCrypto,
    pub(crate) identity: Identity,
    groups: BTreeMap<AudienceId, MlsGroup>,
    /// What the shell has been given so far: digests of the records, so that only changes are written.
    taken: BTreeMap<Vec<u8>, Digest>,
}

/// Why a member could not be made, loaded or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// The device key did not sign the leaf key.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The records are not a whole state.
    #[error("this device's sealing state is damaged or incomplete\nhelp: sealgate-agent rejoin")]
    State,
    /// No audience of this id is known here.
    #[error("this device is not in audience {0}")]
    NoAudience(AudienceId),
    /// The kept leaf key cannot be read.
    #[error("the kept leaf key is damaged\nhelp: remove it; members then add the device anew")]
    LeafKey,
    /// An audience of this id exists already.
    #[error("this device is already in audience {0}")]
    AudienceExists(AudienceId),
    /// The roster does not have this device's person as an owner.
    #[error("the roster of a new audience must list this device's person as an owner")]
    NotOwner,
    /// This device is not logged, or is revoked.
    #[error("this device is not in the directory log or is revoked\nhelp: enrol it again")]
    OwnDevice,
    /// More key packages than one batch may hold.
    #[error("a batch holds at most {max} key packages")]
    TooMany {
        /// The bound.
        max: usize,
    },
    /// The cryptographic library refused.
    #[error("the sealing library is not available\nhelp: restart the agent; if it stays, reinstall it")]
    Crypto,
}

impl Member {
    /// Makes the state of a device: draws its leaf key and has `signer` vouch for it (K5).
    ///
    /// `gateway` is the Ed25519 key with which the gateway may propose Removes; it comes from the enrollment
    /// file, never from the network, and every audience is held to it.
    ///
    /// # Errors
    /// [`MemberError::Signer`] if the device key did not sign.
    pub fn create(
        tenant: TenantId,
        gateway: Ed25519PublicKey,
        signer: &dyn DeviceSigner,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, MemberError> {
        Self::from_identity(Identity::create(tenant, gateway, signer, rng)?)
    }

    /// Makes the state of a device that lost it and kept its leaf key ([`Member::leaf_key`]).
    ///
    /// # Errors
    /// [`MemberError::LeafKey`] if the bytes are no leaf key; [`MemberError::Signer`] if the device key did not sign.
    pub fn create_with_leaf_key(
        tenant: TenantId,
        gateway: Ed25519PublicKey,
        signer: &dyn DeviceSigner,
        leaf_key: &[u8],
    ) -> Result<Self, MemberError> {
        Self::from_identity(Identity::from_leaf_key(tenant, gateway, signer, leaf_key)?)
    }

    /// The leaf key as bytes, to be kept encrypted and apart from the records, so that the device can replace its
    /// leaf after it lost them.
    ///
    /// # Errors
    /// [`MemberError::Crypto`] if the key cannot be encoded.
    pub fn leaf_key(&self) -> Result<Zeroizing<Vec<u8>>, MemberError> {
        self.identity.leaf_key()
    }

    fn from_identity(identity: Identity) -> Result<Self, MemberError> {
        let provider = OpenMlsRustCrypto::default();
        identity
            .leaf
            .store(provider.storage())
            .map_err(|_| MemberError::State)?;
        storage::put(&provider, storage::IDENTITY, identity.to_record())?;
        Ok(Self {
            provider,
            identity,
            groups: BTreeMap::new(),
            taken: BTreeMap::new(),
        })
    }

    /// Restores the state from the records that [`Member::take_changes`] gave.
    ///
    /// # Errors
    /// [`MemberError::State`] if a record is missing or damaged.
    pub fn load(records: BTreeMap<Vec<u8>, Zeroizing<Vec<u8>>>) -> Result<Self, MemberError> {
        let provider = OpenMlsRustCrypto::default();
        let taken = storage::fill(&provider, &records)?;
        let identity = records.get(storage::IDENTITY).ok_or(MemberError::State)?;
        let identity = Identity::from_record(identity, provider.storage())?;
        let mut groups = BTreeMap::new();
        for audience in storage::audiences(records.keys()) {
            let group = MlsGroup::load(provider.storage(), &group_id(audience))
                .map_err(|_| MemberError::State)?
                .ok_or(MemberError::State)?;
            groups.insert(audience, group);
        }
        Ok(Self {
            provider,
            identity,
            groups,
            taken,
        })
    }

    /// What changed since the last call. Persist it, all of it in one transaction, before any byte that the
    /// member returned leaves the device (M6). If they cannot be written, drop the member and load it again: what
    /// was returned here is not returned twice.
    #[must_use = "unpersisted changes lose the state"]
    pub fn take_changes(&mut self) -> Vec<RecordChange> {
        storage::changes(&self.provider, &mut self.taken)
    }

    /// This device.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.identity.device
    }

    /// This device's tenant.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.identity.tenant
    }

    /// The audiences that this device is in.
    pub fn audiences(&self) -> impl Iterator<Item = AudienceId> + '_ {
        self.groups.keys().copied()
    }

    pub(crate) fn group(&self, audience: AudienceId) -> Result<&MlsGroup, MemberError> {
        self.groups
            .get(&audience)
            .ok_or(MemberError::NoAudience(audience))
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("tenant", &self.identity.tenant)
            .field("device", &self.identity.device)
            .field("audiences", &self.groups.len())
            .finish_non_exhaustive()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        storage::wipe(&self.provider);
    }
}

pub(crate) fn group_id(audience: AudienceId) -> GroupId {
    GroupId::from_slice(audience.as_bytes())
}
