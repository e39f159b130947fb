//! An audience: its creation, its settings, and what is to be seen of it.

use std::collections::BTreeSet;

use openmls::prelude::tls_codec::Serialize as _;
use openmls::prelude::{
    BasicCredential, CredentialType, Extension, ExtensionType, Extensions, ExternalSender, GroupContext,
    MlsGroup, MlsGroupCreateConfig, MlsGroupJoinConfig, OpenMlsProvider as _,
    PURE_PLAINTEXT_WIRE_FORMAT_POLICY, Proposal, RequiredCapabilitiesExtension, UnknownExtension,
};
use policies::directory::Directory;
use policies::keys::Ed25519PublicKey;
use policies::roster::Roster;
use policies::terms::{AudienceId, DeviceId};

use super::key_packages::{ROSTER_EXTENSION, capabilities};
use super::rules::CommitRefused;
use super::{Member, MemberError, group_id, storage};
use crate::identity::{GATEWAY_SENDER, SUITE, known_leaf, named_device};

/// A fresh audience, as the gateway needs it.
#[derive(Debug)]
pub struct Created {
    /// Serialised `MLSMessage` with the GroupInfo of epoch 0.
    pub group_info: Vec<u8>,
    /// Serialised ratchet tree of epoch 0.
    pub ratchet_tree: Vec<u8>,
}

/// What is to be seen of an audience.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudienceState {
    /// The current epoch.
    pub epoch: u64,
    /// The tree hash of this epoch, which a clearance binds.
    pub tree_hash: Vec<u8>,
    /// The devices, in the order of their leaves.
    pub members: Vec<DeviceId>,
    /// Who is listed.
    pub roster: Roster,
    /// Devices whose removal was proposed; nobody posts until it is committed.
    pub pending_removals: Vec<DeviceId>,
    /// Whether a commit of this device awaits the gateway's answer.
    pub staged: bool,
}

impl AudienceState {
    /// Devices that must be removed before anybody posts: revoked ones, and those of persons no longer listed.
    #[must_use]
    pub fn stale_devices(&self, directory: &Directory) -> Vec<DeviceId> {
        let stale = |device: &DeviceId| {
            directory
                .device(*device)
                .is_none_or(|found| found.revoked || !self.roster.persons.contains(&found.person))
        };
        self.members.iter().copied().filter(stale).collect()
    }
}

impl Member {
    /// Makes an audience whose only leaf is this device, with `roster` in its context (K9).
    ///
    /// # Errors
    /// [`MemberError::NotOwner`] if the roster does not own this device's person; [`MemberError::OwnDevice`] if
    /// this device is not logged; [`MemberError::AudienceExists`] if the id is taken.
    pub fn create_audience(
        &mut self,
        audience: AudienceId,
        roster: &Roster,
        directory: &Directory,
    ) -> Result<Created, MemberError> {
        if self.groups.contains_key(&audience) {
            return Err(MemberError::AudienceExists(audience));
        }
        let own = known_leaf(
            &self.identity.tenant,
            directory,
            &self.identity.credential.credential,
            self.identity.leaf.public(),
        )
        .map_err(|_| MemberError::OwnDevice)?;
        if own.logged.revoked {
            return Err(MemberError::OwnDevice);
        }
        let person = own.logged.person;
        if !(roster.owners.contains(&person) && roster.persons.contains(&person)) {
            return Err(MemberError::NotOwner);
        }
        let group = self.new_group(audience, roster)?;
        let created = self.describe(&group)?;
        storage::put(&self.provider, &storage::audience_key(audience), Vec::new())?;
        self.groups.insert(audience, group);
        Ok(created)
    }

    /// Epoch, devices and roster of an audience.
    ///
    /// # Errors
    /// [`MemberError::NoAudience`] if this device is not in it.
    pub fn audience_state(&self, audience: AudienceId) -> Result<AudienceState, MemberError> {
        let group = self.group(audience)?;
        Ok(AudienceState {
            epoch: group.epoch().as_u64(),
            tree_hash: group.public_group().group_context().tree_hash().to_vec(),
            members: devices(group),
            roster: roster_of(group.extensions()).map_err(|_| MemberError::State)?,
            pending_removals: pending_removals(group),
            staged: group.pending_commit().is_some(),
        })
    }

    /// [`AudienceState::stale_devices`] of an audience.
    ///
    /// # Errors
    /// [`MemberError::NoAudience`] if this device is not in the audience.
    pub fn stale_devices(
        &self,
        audience: AudienceId,
        directory: &Directory,
    ) -> Result<Vec<DeviceId>, MemberError> {
        Ok(self.audience_state(audience)?.stale_devices(directory))
    }

    /// Logged, unrevoked devices of listed persons that are not in the audience yet: whom to add (K8).
    ///
    /// # Errors
    /// [`MemberError::NoAudience`] if this device is not in the audience.
    pub fn missing_devices(
        &self,
        audience: AudienceId,
        directory: &Directory,
    ) -> Result<Vec<DeviceId>, MemberError> {
        let state = self.audience_state(audience)?;
        let members: BTreeSet<DeviceId> = state.members.into_iter().collect();
        Ok(state
            .roster
            .persons
            .iter()
            .flat_map(|person| directory.devices_of(*person))
            .filter(|found| !found.revoked && !members.contains(&found.device))
            .map(|found| found.device)
            .collect())
    }

    fn new_group(&self, audience: AudienceId, roster: &Roster) -> Result<MlsGroup, MemberError> {
        let config = MlsGroupCreateConfig::builder()
            .ciphersuite(SUITE)
            .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
            .use_ratchet_tree_extension(false)
            .max_past_epochs(0)
            .capabilities(capabilities())
            .with_group_context_extensions(context_extensions(&self.identity.gateway, roster)?)
            .build();
        MlsGroup::new_with_group_id(
            &self.provider,
            &self.identity.leaf,
            &config,
            group_id(audience),
            self.identity.credential.clone(),
        )
        .map_err(|_| MemberError::Crypto)
    }

    fn describe(&self, group: &MlsGroup) -> Result<Created, MemberError> {
        let group_info = group
            .export_group_info(self.provider.crypto(), &self.identity.leaf, false)
            .map_err(|_| MemberError::Crypto)?;
        Ok(Created {
            group_info: group_info
                .tls_serialize_detached()
                .map_err(|_| MemberError::Crypto)?,
            ratchet_tree: group
                .export_ratchet_tree()
                .tls_serialize_detached()
                .map_err(|_| MemberError::Crypto)?,
        })
    }
}

/// Settings of a group that was joined: the same as of one that was made (M1).
pub(super) fn join_config() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
        .use_ratchet_tree_extension(false)
        .max_past_epochs(0)
        .build()
}

/// The whole list of GroupContext extensions: exactly this, or the audience is not one of this tenant's.
pub(super) fn context_extensions(
    gateway: &Ed25519PublicKey,
    roster: &Roster,
) -> Result<Extensions<GroupContext>, MemberError> {
    Extensions::from_vec(vec![
        Extension::RequiredCapabilities(RequiredCapabilitiesExtension::new(
            &[ExtensionType::Unknown(ROSTER_EXTENSION)],
            &[],
            &[CredentialType::Basic],
        )),
        Extension::ExternalSenders(vec![ExternalSender::new(
            gateway.to_bytes().as_slice().into(),
            BasicCredential::new(GATEWAY_SENDER.to_vec()).into(),
        )]),
        Extension::Unknown(ROSTER_EXTENSION, UnknownExtension(roster.encode())),
    ])
    .map_err(|_| MemberError::Crypto)
}

/// The roster in a list of GroupContext extensions.
pub(super) fn roster_of(extensions: &Extensions<GroupContext>) -> Result<Roster, CommitRefused> {
    let extension = extensions
        .unknown(ROSTER_EXTENSION)
        .ok_or(CommitRefused::Context)?;
    Roster::decode(&extension.0).map_err(|_| CommitRefused::Context)
}

/// The devices of a group, in the order of their leaves; each was checked when it came in.
pub(super) fn devices(group: &MlsGroup) -> Vec<DeviceId> {
    group
        .members()
        .filter_map(|member| named_device(&member.credential).ok())
        .collect()
}

pub(super) fn pending_removals(group: &MlsGroup) -> Vec<DeviceId> {
    group
        .pending_proposals()
        .filter_map(|queued| match queued.proposal() {
            Proposal::Remove(remove) => group.member(remove.removed()),
            Proposal::Add(_)
            | Proposal::Update(_)
            | Proposal::PreSharedKey(_)
            | Proposal::ReInit(_)
            | Proposal::ExternalInit(_)
            | Proposal::GroupContextExtensions(_)
            | Proposal::SelfRemove
            | Proposal::Custom(_) => None,
        })
        .filter_map(|credential| named_device(credential).ok())
        .collect()
}
