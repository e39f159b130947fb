//! Joining again after a loss (M4, M5, K4): an external commit that removes this device's old leaf, under an entry
//! of the directory log that says so.
//!
//! ```text
//!  old leaf in the tree, same leaf key ─► rejoin: ExternalInit + Remove(old leaf) ─► sent ─┬─ won ─► a member
//!  old leaf with a leaf key that is lost ─► OtherLeafKey: a member removes and adds it     └─ 409 ─► abandon
//! ```
//! openmls finds the leaf to remove by its signature key. So the leaf key is kept apart from the rest of the state
//! ([`Member::leaf_key`]), where whatever destroys the state does not reach it.

use std::collections::BTreeSet;

use openmls::group::{ProposalStore, PublicGroup};
use openmls::messages::group_info::VerifiableGroupInfo;
use openmls::prelude::tls_codec::{Deserialize as _, Serialize as _};
use openmls::prelude::{
    CommitMessageBundle, Extension, ExtensionType, Extensions, LeafNode, LeafNodeParameters, MlsGroup,
    MlsMessageBodyIn, MlsMessageIn, OpenMlsProvider as _, RatchetTreeIn, UnknownExtension,
};
use openmls_rust_crypto::OpenMlsRustCrypto;
use policies::directory::Directory;
use policies::rejoin::{self, RejoinRefused};
use policies::roster::Roster;
use policies::terms::{AudienceId, DeviceId};

use super::group::{join_config, roster_of};
use super::key_packages::capabilities;
use super::rules::{CommitRefused, check_context};
use super::{Member, MemberError, group_id, storage};
use crate::identity::{LeafRefused, SUITE, known_leaf};
use crate::limits::{AUDIENCE_DEVICES_MAX, MLS_MESSAGE_BYTES_MAX};

/// Leaf extension that names the `device-rejoin` entry by which the leaf came in.
pub const REJOIN_EXTENSION: u16 = rejoin::EXTENSION_TYPE;

/// An external commit, to be persisted and sent. This device is in the next epoch already: [`Member::abandon`] it
/// if the gateway does not take the commit.
#[derive(Debug)]
pub struct Rejoined {
    /// Serialised `MLSMessage` with the commit.
    pub commit: Vec<u8>,
    /// Serialised `MLSMessage` with the GroupInfo of the next epoch.
    pub group_info: Vec<u8>,
    /// Serialised ratchet tree of the next epoch.
    pub ratchet_tree: Vec<u8>,
    /// The epoch from which this device reads. Stories of earlier epochs stay closed (K10).
    pub epoch: u64,
    /// The devices in the audience, this one included.
    pub members: Vec<DeviceId>,
    /// Who is listed.
    pub roster: Roster,
}

/// Why an audience was not joined again. What this device had of it is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RejoinError {
    /// The state itself is the matter.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// A leaf, the roster or the gateway's key in the audience is not to be accepted.
    #[error(transparent)]
    Refused(#[from] CommitRefused),
    /// Not the GroupInfo and the tree of this audience.
    #[error("the audience's public state is damaged, or of another audience")]
    Unusable,
    /// The person of this device is not in the roster.
    #[error("the audience does not list this device's person any more")]
    Unlisted,
    /// No leaf of this device to replace.
    #[error("this device is not in the audience\nhelp: a member adds it before the next story")]
    NotAMember,
    /// The leaf was made with a leaf key that is lost: no external commit can remove it.
    #[error(
        "this device's leaf was made with a key that is lost\nhelp: ask the gateway to propose its removal; a member then adds the device"
    )]
    OtherLeafKey,
}

impl Member {
    /// Makes the commit by which this device replaces its own leaf, under the `device-rejoin` entry at index `entry`.
    ///
    /// Nothing of the audience is believed before every leaf, the roster and the gateway's key were checked, as for
    /// a Welcome. Whatever this device knew of the audience before is gone.
    ///
    /// # Errors
    /// [`RejoinError`]; what this device had of the audience is unchanged then.
    pub fn rejoin(
        &mut self,
        audience: AudienceId,
        group_info: &[u8],
        ratchet_tree: &[u8],
        directory: &Directory,
        entry: u64,
    ) -> Result<Rejoined, RejoinError> {
        let info = parse_info(group_info)?;
        let tree = parse_tree(ratchet_tree)?;
        let checked = self.check_audience(audience, info.clone(), tree.clone(), directory, entry)?;
        let kept = storage::snapshot(&self.provider)?;
        let outcome = self.replace_leaf(audience, info, tree, entry, checked);
        if outcome.is_err() {
            storage::restore(&self.provider, &kept)?;
            self.reload(audience)?;
        }
        outcome
    }

    /// Forgets an audience: the gateway did not take the commit of [`Member::rejoin`].
    ///
    /// # Errors
    /// [`MemberError::State`] if the records cannot be removed.
    pub fn abandon(&mut self, audience: AudienceId) -> Result<(), MemberError> {
        self.forget(audience)
    }

    /// The `device-rejoin` entry of the log under which this device made its state anew; its key packages say so.
    #[must_use]
    pub fn rejoined_by(&self) -> Option<u64> {
        storage::rejoined_by(&self.provider)
    }

    /// Notes the entry under which this device joins again, for every leaf that it makes from here on.
    ///
    /// # Errors
    /// [`MemberError::State`] if the record cannot be written.
    pub fn set_rejoined_by(&mut self, entry: u64) -> Result<(), MemberError> {
        storage::put(&self.provider, storage::REJOINED, rejoin::encode(entry).to_vec())
    }

    fn check_audience(
        &self,
        audience: AudienceId,
        info: VerifiableGroupInfo,
        tree: RatchetTreeIn,
        directory: &Directory,
        entry: u64,
    ) -> Result<Roster, RejoinError> {
        let scratch = OpenMlsRustCrypto::default();
        let (group, _) = PublicGroup::from_external(
            scratch.crypto(),
            scratch.storage(),
            tree,
            info,
            ProposalStore::new(),
        )
        .map_err(|_| RejoinError::Unusable)?;
        if *group.group_id() != group_id(audience) || group.ciphersuite() != SUITE {
            return Err(RejoinError::Unusable);
        }
        let extensions = group.group_context().extensions();
        let roster = roster_of(extensions)?;
        check_context(&self.identity, extensions, &roster)?;
        let own = directory
            .device(self.identity.device)
            .ok_or(MemberError::OwnDevice)?;
        if !roster.persons.contains(&own.person) {
            return Err(RejoinError::Unlisted);
        }
        let before = self.check_members(&group, directory)?;
        rejoin::admit(own, before, Some(entry)).map_err(CommitRefused::Rejoin)?;
        Ok(roster)
    }

    /// Every leaf is known; this device's own was made with its leaf key. The entry by which it came in.
    fn check_members(&self, group: &PublicGroup, directory: &Directory) -> Result<Option<u64>, RejoinError> {
        let mut seen = BTreeSet::new();
        let mut own = None;
        for member in group.members() {
            let known = known_leaf(
                &self.identity.tenant,
                directory,
                &member.credential,
                &member.signature_key,
            )
            .map_err(CommitRefused::Leaf)?;
            if !seen.insert(known.device) {
                return Err(CommitRefused::Leaf(LeafRefused::Twice(known.device)).into());
            }
            if known.device == self.identity.device {
                own = Some((member.index, member.signature_key));
            }
        }
        if seen.len() > AUDIENCE_DEVICES_MAX {
            let max = AUDIENCE_DEVICES_MAX;
            return Err(CommitRefused::TooLarge { max }.into());
        }
        let (index, key) = own.ok_or(RejoinError::NotAMember)?;
        if key != self.identity.leaf.public() {
            return Err(RejoinError::OtherLeafKey);
        }
        let leaf = group.leaf(index).ok_or(RejoinError::NotAMember)?;
        Ok(entry_of(leaf).map_err(CommitRefused::Rejoin)?)
    }

    fn replace_leaf(
        &mut self,
        audience: AudienceId,
        info: VerifiableGroupInfo,
        tree: RatchetTreeIn,
        entry: u64,
        roster: Roster,
    ) -> Result<Rejoined, RejoinError> {
        self.forget(audience)?;
        let (group, bundle) = self.external_commit(info, tree, entry)?;
        storage::put(&self.provider, &storage::audience_key(audience), Vec::new())?;
        let rejoined = describe(&group, bundle, roster)?;
        self.groups.insert(audience, group);
        Ok(rejoined)
    }

    fn external_commit(
        &self,
        info: VerifiableGroupInfo,
        tree: RatchetTreeIn,
        entry: u64,
    ) -> Result<(MlsGroup, CommitMessageBundle), RejoinError> {
        let leaf = LeafNodeParameters::builder()
            .with_capabilities(capabilities())
            .with_extensions(leaf_extensions(Some(entry))?)
            .build();
        MlsGroup::external_commit_builder()
            .with_ratchet_tree(tree)
            .with_config(join_config())
            .skip_lifetime_validation()
            .build_group(&self.provider, info, self.identity.credential.clone())
            .map_err(|_| RejoinError::Unusable)?
            .leaf_node_parameters(leaf)
            .load_psks(self.provider.storage())
            .map_err(|_| RejoinError::Unusable)?
            .create_group_info(true)
            .build(
                self.provider.rand(),
                self.provider.crypto(),
                &self.identity.leaf,
                |_| true,
            )
            .map_err(|_| RejoinError::Unusable)?
            .finalize(&self.provider)
            .map_err(|_| MemberError::State.into())
    }

    /// Reads an audience back from its records, if there are any.
    fn reload(&mut self, audience: AudienceId) -> Result<(), MemberError> {
        self.groups.remove(&audience);
        let group =
            MlsGroup::load(self.provider.storage(), &group_id(audience)).map_err(|_| MemberError::State)?;
        self.groups.extend(group.map(|group| (audience, group)));
        Ok(())
    }
}

/// The extensions of a leaf that came in by `entry`, or in the ordinary way.
pub(super) fn leaf_extensions(entry: Option<u64>) -> Result<Extensions<LeafNode>, MemberError> {
    let extension =
        |entry| Extension::Unknown(REJOIN_EXTENSION, UnknownExtension(rejoin::encode(entry).to_vec()));
    Extensions::from_vec(entry.map(extension).into_iter().collect()).map_err(|_| MemberError::Crypto)
}

/// The entry by which a leaf came in.
pub(super) fn entry_of(leaf: &LeafNode) -> Result<Option<u64>, RejoinRefused> {
    let extension = leaf.extensions().unknown(REJOIN_EXTENSION);
    extension
        .map(|extension| rejoin::decode(&extension.0))
        .transpose()
}

/// The type, for a leaf's capabilities.
pub(super) const fn extension_type() -> ExtensionType {
    ExtensionType::Unknown(REJOIN_EXTENSION)
}

fn describe(group: &MlsGroup, bundle: CommitMessageBundle, roster: Roster) -> Result<Rejoined, MemberError> {
    let (commit, _, group_info) = bundle.into_messages();
    let bytes = |message: openmls::prelude::MlsMessageOut| {
        message.tls_serialize_detached().map_err(|_| MemberError::Crypto)
    };
    Ok(Rejoined {
        commit: bytes(commit)?,
        group_info: bytes(group_info.ok_or(MemberError::Crypto)?)?,
        ratchet_tree: group
            .export_ratchet_tree()
            .tls_serialize_detached()
            .map_err(|_| MemberError::Crypto)?,
        epoch: group.epoch().as_u64(),
        members: super::group::devices(group),
        roster,
    })
}

fn parse_info(bytes: &[u8]) -> Result<VerifiableGroupInfo, RejoinError> {
    if bytes.len() > MLS_MESSAGE_BYTES_MAX {
        return Err(RejoinError::Unusable);
    }
    let message = MlsMessageIn::tls_deserialize_exact(bytes).map_err(|_| RejoinError::Unusable)?;
    let MlsMessageBodyIn::GroupInfo(info) = message.extract() else {
        return Err(RejoinError::Unusable);
    };
    Ok(info)
}

fn parse_tree(bytes: &[u8]) -> Result<RatchetTreeIn, RejoinError> {
    if bytes.len() > MLS_MESSAGE_BYTES_MAX {
        return Err(RejoinError::Unusable);
    }
    RatchetTreeIn::tls_deserialize_exact(bytes).map_err(|_| RejoinError::Unusable)
}
