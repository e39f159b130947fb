//! Handshake messages from the gateway's ordered log, judged before they are merged.

use openmls::prelude::tls_codec::Deserialize as _;
use openmls::prelude::{
    MlsGroup, MlsMessageIn, OpenMlsProvider as _, ProcessedMessage, ProcessedMessageContent, ProtocolMessage,
    QueuedProposal, Sender, StagedCommit,
};
use policies::directory::Directory;
use policies::roster::Roster;
use policies::terms::{AudienceId, DeviceId};

use super::rules::{Allowed, CommitRefused, Judge};
use super::{Member, MemberError, group_id, storage};
use crate::limits::MLS_MESSAGE_BYTES_MAX;

/// What a message from the log did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Processed {
    /// A commit was merged.
    CommitApplied {
        /// The epoch that began.
        epoch: u64,
        /// Devices that joined.
        added: Vec<DeviceId>,
        /// Devices that left.
        removed: Vec<DeviceId>,
        /// The roster from here on.
        roster: Roster,
    },
    /// A device that lost its state replaced its leaf (M4): what it reads begins here.
    Rejoined {
        /// The epoch that began.
        epoch: u64,
        /// The device.
        device: DeviceId,
    },
    /// A removal waits for a commit; nobody posts before it.
    ProposalStored {
        /// The device to be removed.
        removes: DeviceId,
    },
    /// A story: nothing was decrypted; it goes to [`open_story`](crate::open_story) with clearance and acceptance.
    Story {
        /// The epoch in which it was sealed.
        epoch: u64,
    },
    /// This device was removed; its keys of the audience are gone.
    Removed,
}

/// Why a message was not processed. The audience is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProcessError {
    /// The state itself is the matter.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// The commit or proposal is not allowed.
    #[error(transparent)]
    Refused(#[from] CommitRefused),
    /// Of another epoch: below ours it was already applied, above ours something is missing.
    #[error(
        "the message is of epoch {found}, the audience is in epoch {current}\nhelp: process the log in order"
    )]
    WrongEpoch {
        /// The epoch of the message.
        found: u64,
        /// The epoch of this device.
        current: u64,
    },
    /// Not a message of this audience, or altered.
    #[error("the message is damaged or not of this audience")]
    Unusable,
}

impl Member {
    /// Processes the next message of an audience's log: a commit, a proposal, or a story (which it only names).
    ///
    /// # Errors
    /// [`ProcessError::Refused`] names what is not allowed; a device that is not logged as far as it is known
    /// here may be tried again after fetching the log.
    pub fn process(
        &mut self,
        audience: AudienceId,
        message: &[u8],
        directory: &Directory,
    ) -> Result<Processed, ProcessError> {
        let group = self.group(audience)?;
        let message = parse(audience, message)?;
        if let ProtocolMessage::PrivateMessage(_) = &message {
            return Ok(Processed::Story {
                epoch: message.epoch().as_u64(),
            });
        }
        let (found, current) = (message.epoch().as_u64(), group.epoch().as_u64());
        if found != current {
            return Err(ProcessError::WrongEpoch { found, current });
        }
        let group = self
            .groups
            .get_mut(&audience)
            .ok_or(MemberError::NoAudience(audience))?;
        let processed = group
            .process_message(&self.provider, message)
            .map_err(|_| ProcessError::Unusable)?;
        self.apply(audience, processed, directory)
    }

    fn apply(
        &mut self,
        audience: AudienceId,
        processed: ProcessedMessage,
        directory: &Directory,
    ) -> Result<Processed, ProcessError> {
        let sender = processed.sender().clone();
        match processed.into_content() {
            ProcessedMessageContent::StagedCommitMessage(commit) => {
                self.apply_commit(audience, &sender, *commit, directory)
            }
            ProcessedMessageContent::ProposalMessage(proposal) => {
                self.store_proposal(audience, *proposal, directory)
            }
            ProcessedMessageContent::OwnPendingCommit => self.apply_own(audience, directory),
            ProcessedMessageContent::ExternalJoinProposalMessage(_) => Err(CommitRefused::Proposal.into()),
            ProcessedMessageContent::ApplicationMessage(_) | ProcessedMessageContent::OwnPrivateMessage => {
                Err(ProcessError::Unusable)
            }
        }
    }

    fn apply_commit(
        &mut self,
        audience: AudienceId,
        sender: &Sender,
        commit: StagedCommit,
        directory: &Directory,
    ) -> Result<Processed, ProcessError> {
        let group = self.group(audience)?;
        let judge = self.judge(group, directory);
        match sender {
            Sender::Member(committer) => {
                let allowed = judge.commit(*committer, &commit)?;
                if self.merge(audience, commit)? {
                    return Ok(Processed::Removed);
                }
                self.applied(audience, allowed)
            }
            Sender::NewMemberCommit => {
                let device = judge.external_commit(&commit)?;
                if self.merge(audience, commit)? {
                    return Ok(Processed::Removed);
                }
                let epoch = self.group(audience)?.epoch().as_u64();
                Ok(Processed::Rejoined { epoch, device })
            }
            Sender::External(_) | Sender::NewMemberProposal => Err(CommitRefused::Outsider.into()),
        }
    }

    /// Merges a commit that was judged; whether it removed this very leaf, whose keys are gone then.
    fn merge(&mut self, audience: AudienceId, commit: StagedCommit) -> Result<bool, MemberError> {
        let removed = commit.self_removed();
        let group = self
            .groups
            .get_mut(&audience)
            .ok_or(MemberError::NoAudience(audience))?;
        group
            .merge_staged_commit(&self.provider, commit)
            .map_err(|_| MemberError::State)?;
        if removed {
            self.forget(audience)?;
        }
        Ok(removed)
    }

    fn apply_own(&mut self, audience: AudienceId, directory: &Directory) -> Result<Processed, ProcessError> {
        let group = self.group(audience)?;
        let pending = group.pending_commit().ok_or(MemberError::State)?;
        let allowed = self
            .judge(group, directory)
            .commit(group.own_leaf_index(), pending)?;
        self.merge_staged(audience)?;
        self.applied(audience, allowed)
    }

    fn store_proposal(
        &mut self,
        audience: AudienceId,
        proposal: QueuedProposal,
        directory: &Directory,
    ) -> Result<Processed, ProcessError> {
        let group = self.group(audience)?;
        let removes = self.judge(group, directory).proposal(&proposal)?;
        let group = self
            .groups
            .get_mut(&audience)
            .ok_or(MemberError::NoAudience(audience))?;
        group
            .store_pending_proposal(self.provider.storage(), proposal)
            .map_err(|_| MemberError::State)?;
        Ok(Processed::ProposalStored { removes })
    }

    /// Deletes every key of an audience that this device is no longer in.
    pub(super) fn forget(&mut self, audience: AudienceId) -> Result<(), MemberError> {
        if let Some(mut group) = self.groups.remove(&audience) {
            group
                .delete(self.provider.storage())
                .map_err(|_| MemberError::State)?;
        }
        storage::remove_group(&self.provider, audience)
    }

    fn applied(&self, audience: AudienceId, allowed: Allowed) -> Result<Processed, ProcessError> {
        Ok(Processed::CommitApplied {
            epoch: self.group(audience)?.epoch().as_u64(),
            added: allowed.added,
            removed: allowed.removed,
            roster: allowed.roster,
        })
    }

    fn judge<'a>(&'a self, group: &'a MlsGroup, directory: &'a Directory) -> Judge<'a> {
        Judge {
            identity: &self.identity,
            directory,
            group,
        }
    }
}

/// Parses a message and holds it to the audience that it is said to be of.
pub(super) fn parse(audience: AudienceId, bytes: &[u8]) -> Result<ProtocolMessage, ProcessError> {
    if bytes.len() > MLS_MESSAGE_BYTES_MAX {
        return Err(ProcessError::Unusable);
    }
    let message = MlsMessageIn::tls_deserialize_exact(bytes)
        .map_err(|_| ProcessError::Unusable)?
        .try_into_protocol_message()
        .map_err(|_| ProcessError::Unusable)?;
    if *message.group_id() == group_id(audience) {
        Ok(message)
    } else {
        Err(ProcessError::Unusable)
    }
}
