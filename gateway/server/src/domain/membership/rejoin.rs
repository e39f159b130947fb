//! External commits: a device puts a fresh leaf in the place of its own old one, and nothing else (M4, K4, K5).

use openmls::treesync::LeafNode;
use policies::rejoin::{self, RejoinRefused};

use super::{
    DeviceId, ErrorCode, Fault, Group, LeafNodeIndex, MlsMessageBodyIn, MlsMessageIn, OpenMlsRustCrypto,
    ProcessedMessageContent, Proposal, Registry, Sender, StagedCommit, checked_leaf, unreadable,
};
use openmls::prelude::tls_codec::Deserialize as _;
use openmls_traits::OpenMlsProvider as _;

impl Group {
    /// Applies the external commit of `by`, if the directory log admits it; the group is unchanged otherwise.
    pub(crate) fn rejoin(
        &mut self,
        commit: &[u8],
        by: DeviceId,
        registry: &Registry<'_>,
    ) -> Result<(), Fault> {
        let (sender, content) = self.process(commit)?;
        let ProcessedMessageContent::StagedCommitMessage(staged) = content else {
            return Err(Fault::bad_request("this is not a commit"));
        };
        if sender != Sender::NewMemberCommit {
            return Err(Fault::bad_request("this is not an external commit"));
        }
        self.check_rejoin(&staged, by, registry)?;
        let provider: &OpenMlsRustCrypto = &self.provider;
        self.public
            .merge_commit(provider.storage(), *staged)
            .map_err(|error| Fault::bad_request(format!("the commit does not apply: {error}")))?;
        self.leaves().map(drop)
    }

    /// The epoch that a commit begins.
    pub(crate) fn epoch_after(commit: &[u8]) -> Result<u64, Fault> {
        let message = MlsMessageIn::tls_deserialize_exact(commit).map_err(|_| unreadable("MLS message"))?;
        let message = message
            .try_into_protocol_message()
            .map_err(|_| unreadable("MLS message"))?;
        Ok(message.epoch().as_u64().saturating_add(1))
    }

    /// The GroupInfo is of this very state. Its signature and its `external_pub` are for whoever uses it to judge:
    /// without the group's secrets nobody can compare the latter with anything.
    pub(crate) fn check_group_info(&self, group_info: &[u8]) -> Result<(), Fault> {
        let message = MlsMessageIn::tls_deserialize_exact(group_info).map_err(|_| unreadable("GroupInfo"))?;
        let MlsMessageBodyIn::GroupInfo(info) = message.extract() else {
            return Err(unreadable("GroupInfo"));
        };
        if info.group_context() == self.public.group_context() {
            Ok(())
        } else {
            Err(Fault::bad_request(
                "the GroupInfo is not of the epoch that the commit begins",
            ))
        }
    }

    /// Whether the device's leaf could still be replaced under some entry of the log.
    pub(crate) fn check_may_rejoin(&self, device: DeviceId, registry: &Registry<'_>) -> Result<(), Fault> {
        let leaf = self.leaf_of(device)?;
        let before = self.entry_at(leaf)?;
        let logged = registry.directory.device(device).ok_or_else(Fault::not_found)?;
        let last = logged.rejoins.last().map(|rejoin| rejoin.index);
        rejoin::admit(logged, before, last).map_err(refused)
    }

    fn check_rejoin(
        &self,
        staged: &StagedCommit,
        by: DeviceId,
        registry: &Registry<'_>,
    ) -> Result<(), Fault> {
        let leaf = staged
            .update_path_leaf_node()
            .ok_or_else(|| Fault::bad_request("an external commit has a leaf"))?;
        let device = checked_leaf(leaf.credential(), leaf.signature_key().as_slice(), registry)?;
        let own = self.leaf_of(by)?;
        if device != by || replaced_leaf(staged)? != Some(own) {
            return Err(Fault::new(
                ErrorCode::RejoinRefused,
                "an external commit replaces the sender's own old leaf, and does nothing else",
            ));
        }
        let logged = registry.directory.device(by).ok_or_else(Fault::not_found)?;
        if !self.roster()?.persons.contains(&logged.person) {
            return Err(Fault::new(
                ErrorCode::RosterRefused,
                "the device's person is not on the list",
            ));
        }
        rejoin::admit(logged, self.entry_at(own)?, entry_of(leaf)?).map_err(refused)
    }

    fn leaf_of(&self, device: DeviceId) -> Result<LeafNodeIndex, Fault> {
        let found = self.members()?.into_iter().find(|(_, member)| *member == device);
        found
            .map(|(leaf, _)| LeafNodeIndex::new(leaf))
            .ok_or_else(|| Fault::new(ErrorCode::NotAMember, "the device has no leaf in this group"))
    }

    pub(super) fn entry_at(&self, index: LeafNodeIndex) -> Result<Option<u64>, Fault> {
        self.public.leaf(index).map_or(Ok(None), entry_of)
    }
}

/// The entry of the log by which a leaf came in.
pub(super) fn entry_of(leaf: &LeafNode) -> Result<Option<u64>, Fault> {
    let extension = leaf.extensions().unknown(rejoin::EXTENSION_TYPE);
    extension
        .map(|extension| rejoin::decode(&extension.0))
        .transpose()
        .map_err(refused)
}

/// The leaf that an external commit removes, if it removes one and does nothing else.
fn replaced_leaf(staged: &StagedCommit) -> Result<Option<LeafNodeIndex>, Fault> {
    let mut replaced = None;
    for queued in staged.queued_proposals() {
        match queued.proposal() {
            Proposal::ExternalInit(_) => {}
            Proposal::Remove(remove)
                if replaced.is_none() && matches!(queued.sender(), Sender::NewMemberCommit) =>
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
            | Proposal::Custom(_) => {
                return Err(Fault::new(
                    ErrorCode::RejoinRefused,
                    "an external commit replaces a leaf, and does nothing else",
                ));
            }
        }
    }
    Ok(replaced)
}

fn refused(error: RejoinRefused) -> Fault {
    Fault::new(ErrorCode::RejoinRefused, error.to_string())
}
