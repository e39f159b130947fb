//! Commits of this device: staged, sent, and merged once the gateway has taken them as the epoch's winner.

use openmls::group::StagedCommit as MlsStagedCommit;
use openmls::prelude::tls_codec::Serialize as _;
use openmls::prelude::{
    CommitMessageBundle, Extensions, GroupContext, KeyPackage, LeafNodeIndex, MlsGroup, OpenMlsProvider as _,
    Proposal, QueuedProposal,
};
use policies::directory::Directory;
use policies::roster::Roster;
use policies::terms::{AudienceId, DeviceId};

use super::group::{context_extensions, roster_of};
use super::rules::{CommitRefused, Judge};
use super::{Member, MemberError, key_packages};
use crate::identity::{LeafRefused, known_leaf_node, named_device};
use crate::limits::{CLOCK_SKEW_S, KEY_PACKAGE_AGE_S_MAX};
use crate::member::key_packages::ROSTER_EXTENSION;

/// What one commit is to change. Removes that the gateway proposed are included by themselves, and the
/// committer's keys are renewed each time (M12).
#[derive(Debug, Default)]
pub struct MembershipChange {
    /// Key packages of the devices to add, each a serialised `MLSMessage`.
    pub add: Vec<Vec<u8>>,
    /// Devices to remove.
    pub remove: Vec<DeviceId>,
    /// The roster from the next epoch on, or `None` to leave it.
    pub roster: Option<Roster>,
}

/// A commit that awaits the gateway's answer: [`Member::merge_staged`] when it won its epoch,
/// [`Member::discard_staged`] when another did.
#[derive(Debug)]
pub struct StagedCommit {
    /// Serialised `MLSMessage` with the commit.
    pub commit: Vec<u8>,
    /// Serialised `MLSMessage` with the Welcome, if anybody was added.
    pub welcome: Option<Vec<u8>>,
    /// Serialised `MLSMessage` with the GroupInfo of the next epoch.
    pub group_info: Vec<u8>,
    /// Serialised ratchet tree of the next epoch.
    pub ratchet_tree: Vec<u8>,
    /// The devices that the Welcome is for.
    pub joiners: Vec<DeviceId>,
    /// The epoch that the commit ends.
    pub epoch: u64,
}

/// Why a commit was not staged. The audience is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// The state itself is the matter.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// The commit would break the rules that others hold it to.
    #[error(transparent)]
    Refused(#[from] CommitRefused),
    /// A commit of this device is still unanswered.
    #[error("a commit of this device still awaits the gateway's answer\nhelp: merge or discard it first")]
    Unanswered,
    /// The device to remove is not in the audience.
    #[error("device {0} is not in this audience")]
    NotAMember(DeviceId),
    /// The gateway asked for the removal of this very device.
    #[error("this device is being removed from the audience; another member has to commit it")]
    BeingRemoved,
    /// The library found the commit impossible.
    #[error(
        "the commit could not be made: a key package does not fit the audience, or was used before\nhelp: fetch fresh key packages and try again"
    )]
    Impossible,
}

impl Member {
    /// Stages one commit with these changes, all pending Removes and fresh keys for this device.
    ///
    /// Adds are accepted for logged, unrevoked devices of listed persons only (K8), with key packages no older
    /// than [`KEY_PACKAGE_AGE_S_MAX`].
    ///
    /// # Errors
    /// [`StageError::Refused`] if members would refuse it, the others as they say.
    pub fn stage_membership(
        &mut self,
        audience: AudienceId,
        change: &MembershipChange,
        directory: &Directory,
        now_s: u64,
    ) -> Result<StagedCommit, StageError> {
        self.ready_to_commit(audience)?;
        let adds = self.fresh_key_packages(&change.add, directory, now_s)?;
        let removals = self.leaves_of(audience, &change.remove)?;
        self.stage(audience, adds, removals, change.roster.as_ref(), directory)
    }

    /// Stages a commit that only renews this device's keys and takes up pending Removes (M12).
    ///
    /// # Errors
    /// As [`Member::stage_membership`].
    pub fn stage_self_update(
        &mut self,
        audience: AudienceId,
        directory: &Directory,
    ) -> Result<StagedCommit, StageError> {
        self.ready_to_commit(audience)?;
        self.stage(audience, Vec::new(), Vec::new(), None, directory)
    }

    /// First half of leaving: takes this device's person off the roster and removes the person's other devices.
    /// Once merged, [`Member::propose_leave`] gives the second half.
    ///
    /// # Errors
    /// [`StageError::Refused`] for the last owner, who hands the audience over first.
    pub fn stage_leave(
        &mut self,
        audience: AudienceId,
        directory: &Directory,
    ) -> Result<StagedCommit, StageError> {
        self.ready_to_commit(audience)?;
        let own = directory
            .device(self.identity.device)
            .ok_or(MemberError::OwnDevice)?;
        let group = self.group(audience)?;
        let mut roster = roster_of(group.extensions())?;
        roster.owners.remove(&own.person);
        roster.persons.remove(&own.person);
        let others: Vec<DeviceId> = super::group::devices(group)
            .into_iter()
            .filter(|device| *device != self.identity.device)
            .filter(|device| {
                directory
                    .device(*device)
                    .is_some_and(|found| found.person == own.person)
            })
            .collect();
        let removals = self.leaves_of(audience, &others)?;
        self.stage(audience, Vec::new(), removals, Some(&roster), directory)
    }

    /// Second half of leaving: a proposal to remove this leaf, which any other member commits. MLS has no way
    /// for a device to commit its own removal.
    ///
    /// # Errors
    /// [`StageError::Unanswered`] while a commit is staged.
    pub fn propose_leave(&mut self, audience: AudienceId) -> Result<Vec<u8>, StageError> {
        self.ready_to_commit(audience)?;
        let group = self
            .groups
            .get_mut(&audience)
            .ok_or(MemberError::NoAudience(audience))?;
        group
            .leave_group(&self.provider, &self.identity.leaf)
            .map_err(|_| StageError::Impossible)?
            .tls_serialize_detached()
            .map_err(|_| MemberError::Crypto.into())
    }

    /// Enters the next epoch with the staged commit: the gateway took it.
    ///
    /// # Errors
    /// [`MemberError::State`] if no commit is staged.
    pub fn merge_staged(&mut self, audience: AudienceId) -> Result<(), MemberError> {
        let group = self
            .groups
            .get_mut(&audience)
            .ok_or(MemberError::NoAudience(audience))?;
        if group.pending_commit().is_none() {
            return Err(MemberError::State);
        }
        group
            .merge_pending_commit(&self.provider)
            .map_err(|_| MemberError::State)
    }

    /// Forgets the staged commit: another won the epoch (409). Process that one, then stage again.
    ///
    /// # Errors
    /// [`MemberError::NoAudience`] if this device is not in the audience.
    pub fn discard_staged(&mut self, audience: AudienceId) -> Result<(), MemberError> {
        let group = self
            .groups
            .get_mut(&audience)
            .ok_or(MemberError::NoAudience(audience))?;
        group
            .clear_pending_commit(self.provider.storage())
            .map_err(|_| MemberError::State)
    }

    fn ready_to_commit(&self, audience: AudienceId) -> Result<(), StageError> {
        let group = self.group(audience)?;
        if group.pending_commit().is_some() {
            return Err(StageError::Unanswered);
        }
        let own = group.own_leaf_index();
        if group.pending_proposals().any(|queued| removes(queued, own)) {
            return Err(StageError::BeingRemoved);
        }
        Ok(())
    }

    /// Whether a key package may be added: our own stricter rule (unrevoked, capable, young enough) beside the
    /// judge's. The device that it is of.
    ///
    /// # Errors
    /// Why it may not; the other packages of a change are none the worse for it.
    pub fn judge_key_package(
        &self,
        package: &[u8],
        directory: &Directory,
        now_s: u64,
    ) -> Result<DeviceId, CommitRefused> {
        self.fresh_key_package(package, directory, now_s)
            .map(|(device, _)| device)
    }

    fn fresh_key_packages(
        &self,
        packages: &[Vec<u8>],
        directory: &Directory,
        now_s: u64,
    ) -> Result<Vec<KeyPackage>, CommitRefused> {
        let fresh = |bytes: &Vec<u8>| Ok(self.fresh_key_package(bytes, directory, now_s)?.1);
        packages.iter().map(fresh).collect()
    }

    fn fresh_key_package(
        &self,
        bytes: &[u8],
        directory: &Directory,
        now_s: u64,
    ) -> Result<(DeviceId, KeyPackage), CommitRefused> {
        let package = key_packages::parse(&self.provider, bytes)?;
        let known = known_leaf_node(&self.identity.tenant, directory, package.leaf_node())?;
        if known.logged.revoked {
            return Err(LeafRefused::Revoked(known.device).into());
        }
        let extensions = package.leaf_node().capabilities().extensions();
        let capable = extensions
            .iter()
            .any(|extension| u16::from(*extension) == ROSTER_EXTENSION);
        if !capable || package.ciphersuite() != crate::identity::SUITE {
            return Err(LeafRefused::Incapable(known.device).into());
        }
        let born_s = package.life_time().not_before();
        let too_old = now_s.saturating_sub(born_s) > KEY_PACKAGE_AGE_S_MAX;
        if born_s > now_s.saturating_add(CLOCK_SKEW_S) || too_old {
            return Err(LeafRefused::Stale(known.device).into());
        }
        Ok((known.device, package))
    }

    fn leaves_of(
        &self,
        audience: AudienceId,
        devices: &[DeviceId],
    ) -> Result<Vec<LeafNodeIndex>, StageError> {
        let group = self.group(audience)?;
        devices
            .iter()
            .map(|device| leaf_of(group, *device).ok_or(StageError::NotAMember(*device)))
            .collect()
    }

    fn stage(
        &mut self,
        audience: AudienceId,
        adds: Vec<KeyPackage>,
        removals: Vec<LeafNodeIndex>,
        roster: Option<&Roster>,
        directory: &Directory,
    ) -> Result<StagedCommit, StageError> {
        let context = roster
            .map(|roster| self.changed_context(audience, roster, directory))
            .transpose()?;
        let group = self
            .groups
            .get_mut(&audience)
            .ok_or(MemberError::NoAudience(audience))?;
        // Removes that wait in the store are taken up by the builder; naming a leaf twice would be an error.
        let waiting: Vec<LeafNodeIndex> = group.pending_proposals().filter_map(removed).collect();
        let mut builder = group
            .commit_builder()
            .force_self_update(true)
            .propose_adds(adds)
            .propose_removals(removals.into_iter().filter(|leaf| !waiting.contains(leaf)));
        if let Some(context) = context {
            builder = builder
                .propose_group_context_extensions(context)
                .map_err(|_| StageError::Impossible)?;
        }
        let bundle = builder
            .load_psks(self.provider.storage())
            .map_err(|_| StageError::Impossible)?
            .create_group_info(true)
            .build(
                self.provider.rand(),
                self.provider.crypto(),
                &self.identity.leaf,
                |_| true,
            )
            .map_err(|_| StageError::Impossible)?
            .stage_commit(&self.provider)
            .map_err(|_| MemberError::State)?;
        match self.describe_staged(audience, bundle, directory) {
            Ok(staged) => Ok(staged),
            Err(error) => {
                self.discard_staged(audience)?;
                Err(error)
            }
        }
    }

    /// The context with another roster, if this device's person may change it so.
    fn changed_context(
        &self,
        audience: AudienceId,
        roster: &Roster,
        directory: &Directory,
    ) -> Result<Extensions<GroupContext>, StageError> {
        let by = directory
            .device(self.identity.device)
            .ok_or(MemberError::OwnDevice)?
            .person;
        if !roster_of(self.group(audience)?.extensions())?.change_allowed(roster, by) {
            return Err(CommitRefused::RosterChange { by }.into());
        }
        Ok(context_extensions(&self.identity.gateway, roster)?)
    }

    fn describe_staged(
        &self,
        audience: AudienceId,
        bundle: CommitMessageBundle,
        directory: &Directory,
    ) -> Result<StagedCommit, StageError> {
        let group = self.group(audience)?;
        let pending = group.pending_commit().ok_or(MemberError::State)?;
        let allowed = Judge {
            identity: &self.identity,
            directory,
            group,
        }
        .commit(group.own_leaf_index(), pending)?;
        let ratchet_tree = self.tree_after(group, pending)?;
        let (commit, welcome, group_info) = bundle.into_messages();
        let bytes = |message: openmls::prelude::MlsMessageOut| {
            message.tls_serialize_detached().map_err(|_| MemberError::Crypto)
        };
        Ok(StagedCommit {
            commit: bytes(commit)?,
            welcome: welcome.map(bytes).transpose()?,
            group_info: bytes(group_info.ok_or(MemberError::Crypto)?)?,
            ratchet_tree,
            joiners: allowed.added,
            epoch: group.epoch().as_u64(),
        })
    }

    fn tree_after(&self, group: &MlsGroup, pending: &MlsStagedCommit) -> Result<Vec<u8>, MemberError> {
        pending
            .export_ratchet_tree(self.provider.crypto(), group.export_ratchet_tree())
            .map_err(|_| MemberError::Crypto)?
            .ok_or(MemberError::Crypto)?
            .tls_serialize_detached()
            .map_err(|_| MemberError::Crypto)
    }
}

fn leaf_of(group: &MlsGroup, device: DeviceId) -> Option<LeafNodeIndex> {
    group
        .members()
        .find(|member| named_device(&member.credential) == Ok(device))
        .map(|member| member.index)
}

fn removed(queued: &QueuedProposal) -> Option<LeafNodeIndex> {
    if let Proposal::Remove(remove) = queued.proposal() {
        Some(remove.removed())
    } else {
        None
    }
}

fn removes(queued: &QueuedProposal, leaf: LeafNodeIndex) -> bool {
    removed(queued) == Some(leaf)
}
