//! What a commit may do. openmls checks that it is well-formed; here it is checked that it is allowed (K5, K8).
//!
//! The same function judges a commit of this device before it is sent and a commit of another before it is merged.

use std::collections::BTreeSet;

use openmls::prelude::{
    Credential, GroupContextExtensionProposal, KeyPackage, LeafNodeIndex, MlsGroup, Proposal, QueuedProposal,
    Sender, StagedCommit,
};
use policies::directory::Directory;
use policies::rejoin::RejoinRefused;
use policies::roster::Roster;
use policies::terms::{DeviceId, PersonId};

use super::group::{context_extensions, devices, roster_of};
use super::key_packages::ROSTER_EXTENSION;
use super::rejoin::entry_of;
use crate::identity::{Identity, LeafRefused, known_leaf_node, named_device};
use crate::limits::AUDIENCE_DEVICES_MAX;

/// Why a commit or a proposal was refused. The audience stays in its epoch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitRefused {
    /// A leaf in it is not to be admitted.
    #[error(transparent)]
    Leaf(#[from] LeafRefused),
    /// The GroupContext extensions are not the roster, the gateway's key and the required capabilities.
    #[error("the audience's context is not of this tenant: roster, gateway key or capabilities differ")]
    Context,
    /// The committer's person may not change the roster like that (K8).
    #[error("person {by} may not change the roster like that: only owners change it, anybody may leave")]
    RosterChange {
        /// The person of the committing device.
        by: PersonId,
    },
    /// The committer's person may not remove this device.
    #[error(
        "device {device} may not be removed by person {by}: it is of a listed person and not revoked\nhelp: fetch the log and try again"
    )]
    Removal {
        /// The device to be removed.
        device: DeviceId,
        /// The person of the committing device.
        by: PersonId,
    },
    /// A kind of proposal that audiences do not use, or one from a sender that may not make it.
    #[error("a proposal of a kind or sender that audiences do not accept")]
    Proposal,
    /// A device that joins again without an entry of the log that admits it, or not in place of its own leaf (M4).
    #[error(transparent)]
    Rejoin(#[from] RejoinRefused),
    /// Not from a member, and not a device that joins again.
    #[error("a commit from outside the audience")]
    Outsider,
    /// The audience would be too large (M11).
    #[error("an audience holds at most {max} devices\nhelp: split it")]
    TooLarge {
        /// The bound.
        max: usize,
    },
}

/// What an allowed commit does.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Allowed {
    pub(super) added: Vec<DeviceId>,
    pub(super) removed: Vec<DeviceId>,
    pub(super) roster: Roster,
}

/// Judges commits of one group in its current epoch.
pub(super) struct Judge<'a> {
    pub(super) identity: &'a Identity,
    pub(super) directory: &'a Directory,
    pub(super) group: &'a MlsGroup,
}

impl Judge<'_> {
    /// Whether `commit`, made by the member at `committer`, may be merged.
    pub(super) fn commit(
        &self,
        committer: LeafNodeIndex,
        commit: &StagedCommit,
    ) -> Result<Allowed, CommitRefused> {
        let device = self.device_at(committer)?;
        let by = self.person_of(device)?;
        self.path_leaf(committer, device, commit)?;
        let roster = self.roster_after(committer, by, commit)?;
        let added = self.added(committer, &roster, commit)?;
        let removed = self.removed(by, &roster, &added, commit)?;
        self.only_known_kinds(commit)?;
        self.membership_after(&added, &removed)?;
        Ok(Allowed {
            added,
            removed,
            roster,
        })
    }

    /// Whether a commit from outside may be merged: a device replaces its own leaf under an entry of the log that
    /// was not used here before, and does nothing else (M4, K4, K8). The device.
    pub(super) fn external_commit(&self, commit: &StagedCommit) -> Result<DeviceId, CommitRefused> {
        let leaf = commit.update_path_leaf_node().ok_or(CommitRefused::Outsider)?;
        let known = known_leaf_node(&self.identity.tenant, self.directory, leaf)?;
        let replaced = self.replaced_leaf(commit)?;
        if self.device_at(replaced)? != known.device {
            return Err(CommitRefused::Outsider);
        }
        let roster = roster_of(self.group.extensions())?;
        if !roster.persons.contains(&known.logged.person) {
            return Err(LeafRefused::Unlisted(known.logged.person).into());
        }
        policies::rejoin::admit(known.logged, self.entry_at(replaced)?, entry_of(leaf)?)?;
        Ok(known.device)
    }

    /// The one leaf that an external commit removes; anything beside that and its ExternalInit is refused.
    fn replaced_leaf(&self, commit: &StagedCommit) -> Result<LeafNodeIndex, CommitRefused> {
        let mut replaced = None;
        for queued in commit.queued_proposals() {
            match queued.proposal() {
                Proposal::ExternalInit(_) => {}
                Proposal::Remove(remove)
                    if replaced.is_none() && *queued.sender() == Sender::NewMemberCommit =>
                {
                    replaced = Some(remove.removed());
                }
                Proposal::Remove(_)
                | Proposal::Add(_)
                | Proposal::Update(_)
                | Proposal::PreSharedKey(_)
                | Proposal::ReInit(_)
                | Proposal::GroupContextExtensions(_)
                | Proposal::SelfRemove
                | Proposal::Custom(_) => return Err(CommitRefused::Proposal),
            }
        }
        replaced.ok_or(CommitRefused::Outsider)
    }

    fn entry_at(&self, index: LeafNodeIndex) -> Result<Option<u64>, CommitRefused> {
        let leaf = self.group.public_group().leaf(index);
        Ok(entry_of(leaf.ok_or(CommitRefused::Outsider)?)?)
    }

    /// Whether a proposal that came on its own may wait for a commit: a Remove by the gateway, or of oneself.
    pub(super) fn proposal(&self, proposal: &QueuedProposal) -> Result<DeviceId, CommitRefused> {
        let Proposal::Remove(remove) = proposal.proposal() else {
            return Err(CommitRefused::Proposal);
        };
        match proposal.sender() {
            Sender::External(_) => self.device_at(remove.removed()),
            Sender::Member(index) if *index == remove.removed() => self.device_at(*index),
            Sender::Member(_) | Sender::NewMemberProposal | Sender::NewMemberCommit => {
                Err(CommitRefused::Proposal)
            }
        }
    }

    /// The committer's new leaf is still of the same device, and came in by the same entry.
    fn path_leaf(
        &self,
        committer: LeafNodeIndex,
        was: DeviceId,
        commit: &StagedCommit,
    ) -> Result<(), CommitRefused> {
        let Some(leaf) = commit.update_path_leaf_node() else {
            return Ok(());
        };
        let known = known_leaf_node(&self.identity.tenant, self.directory, leaf)?;
        if known.device != was {
            return Err(LeafRefused::Changed {
                was,
                is: known.device,
            }
            .into());
        }
        if entry_of(leaf)? != self.entry_at(committer)? {
            return Err(RejoinRefused::Unlogged(was).into());
        }
        Ok(())
    }

    fn roster_after(
        &self,
        committer: LeafNodeIndex,
        by: PersonId,
        commit: &StagedCommit,
    ) -> Result<Roster, CommitRefused> {
        let mut roster = roster_of(self.group.extensions())?;
        for queued in commit.queued_proposals() {
            let Proposal::GroupContextExtensions(change) = queued.proposal() else {
                continue;
            };
            if *queued.sender() != Sender::Member(committer) {
                return Err(CommitRefused::Proposal);
            }
            let changed = self.changed_roster(change)?;
            if !roster.change_allowed(&changed, by) {
                return Err(CommitRefused::RosterChange { by });
            }
            roster = changed;
        }
        Ok(roster)
    }

    /// The roster of a changed context, if nothing but the roster changed.
    fn changed_roster(&self, change: &GroupContextExtensionProposal) -> Result<Roster, CommitRefused> {
        let extension = change
            .extensions()
            .unknown(ROSTER_EXTENSION)
            .ok_or(CommitRefused::Context)?;
        let roster = Roster::decode(&extension.0).map_err(|_| CommitRefused::Context)?;
        check_context(self.identity, change.extensions(), &roster)?;
        Ok(roster)
    }

    fn added(
        &self,
        committer: LeafNodeIndex,
        roster: &Roster,
        commit: &StagedCommit,
    ) -> Result<Vec<DeviceId>, CommitRefused> {
        let mut added = Vec::new();
        for queued in commit.add_proposals() {
            if *queued.sender() != Sender::Member(committer) {
                return Err(CommitRefused::Proposal);
            }
            added.push(self.admitted(queued.add_proposal().key_package(), roster)?);
        }
        Ok(added)
    }

    /// Logged, vouched for, of a listed person. A device that was revoked since this commit was made is let in
    /// here, or members would part ways over the moment at which they read the log: it counts as stale at once,
    /// and nobody posts before it is removed. A commit of this device refuses it beforehand.
    fn admitted(&self, key_package: &KeyPackage, roster: &Roster) -> Result<DeviceId, CommitRefused> {
        let known = known_leaf_node(&self.identity.tenant, self.directory, key_package.leaf_node())?;
        if !roster.persons.contains(&known.logged.person) {
            return Err(LeafRefused::Unlisted(known.logged.person).into());
        }
        Ok(known.device)
    }

    fn removed(
        &self,
        by: PersonId,
        roster: &Roster,
        added: &[DeviceId],
        commit: &StagedCommit,
    ) -> Result<Vec<DeviceId>, CommitRefused> {
        let before = roster_of(self.group.extensions())?;
        let mut removed = Vec::new();
        for queued in commit.remove_proposals() {
            let index = queued.remove_proposal().removed();
            let device = self.device_at(index)?;
            let allowed = match queued.sender() {
                Sender::External(_) => true,
                Sender::Member(sender) if *sender == index => true,
                Sender::Member(_) => {
                    added.contains(&device) || before.owners.contains(&by) || self.may_go(device, by, roster)
                }
                Sender::NewMemberProposal | Sender::NewMemberCommit => false,
            };
            if !allowed {
                return Err(CommitRefused::Removal { device, by });
            }
            removed.push(device);
        }
        Ok(removed)
    }

    /// Whether anybody may remove `device`: revoked, of an unlisted person, or the committer's own.
    fn may_go(&self, device: DeviceId, by: PersonId, roster: &Roster) -> bool {
        self.directory.device(device).is_none_or(|found| {
            found.revoked || found.person == by || !roster.persons.contains(&found.person)
        })
    }

    fn only_known_kinds(&self, commit: &StagedCommit) -> Result<(), CommitRefused> {
        let known = |queued: &QueuedProposal| match queued.proposal() {
            Proposal::Add(_) | Proposal::Remove(_) | Proposal::GroupContextExtensions(_) => true,
            Proposal::Update(_)
            | Proposal::PreSharedKey(_)
            | Proposal::ReInit(_)
            | Proposal::ExternalInit(_)
            | Proposal::SelfRemove
            | Proposal::Custom(_) => false,
        };
        if commit.queued_proposals().all(known) {
            Ok(())
        } else {
            Err(CommitRefused::Proposal)
        }
    }

    fn membership_after(&self, added: &[DeviceId], removed: &[DeviceId]) -> Result<(), CommitRefused> {
        let mut members: BTreeSet<DeviceId> = devices(self.group).into_iter().collect();
        for device in removed {
            members.remove(device);
        }
        for device in added {
            if !members.insert(*device) {
                return Err(LeafRefused::Twice(*device).into());
            }
        }
        if members.len() > AUDIENCE_DEVICES_MAX {
            return Err(CommitRefused::TooLarge {
                max: AUDIENCE_DEVICES_MAX,
            });
        }
        Ok(())
    }

    fn device_at(&self, index: LeafNodeIndex) -> Result<DeviceId, CommitRefused> {
        let credential: &Credential = self.group.member(index).ok_or(CommitRefused::Outsider)?;
        Ok(named_device(credential)?)
    }

    fn person_of(&self, device: DeviceId) -> Result<PersonId, CommitRefused> {
        self.directory
            .device(device)
            .map(|found| found.person)
            .ok_or(CommitRefused::Leaf(LeafRefused::Unlogged(device)))
    }
}

/// Whether `extensions` are exactly those of this tenant's audiences with `roster`.
pub(super) fn check_context(
    identity: &Identity,
    extensions: &openmls::prelude::Extensions<openmls::prelude::GroupContext>,
    roster: &Roster,
) -> Result<(), CommitRefused> {
    let expected = context_extensions(&identity.gateway, roster).map_err(|_| CommitRefused::Context)?;
    if *extensions == expected {
        Ok(())
    } else {
        Err(CommitRefused::Context)
    }
}
