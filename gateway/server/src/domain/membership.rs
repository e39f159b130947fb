//! The keyless view of an MLS group: who is in it, and which changes are admitted (K5, K8, K9, M1, M2).
//!
//! **Architecture Invariant.** Nothing here holds or could hold a group's secret: `PublicGroup` follows plaintext
//! handshakes. The gateway proposes removals and nothing else; external Adds are never stored; an external commit
//! replaces the leaf of a device whose rejoin is in the directory log, and does nothing else ([`rejoin`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use anyhow::Context as _;
use ed25519_dalek::SigningKey;
use gateway_api::error::ErrorCode;
use openmls::group::{ProposalStore, PublicGroup};
use openmls::messages::external_proposals::ExternalProposal;
use openmls::prelude::tls_codec::{Deserialize as _, Serialize as _};
use openmls::prelude::{
    Ciphersuite, Credential, GroupId, KeyPackageIn, LeafNodeIndex, MlsMessageBodyIn, MlsMessageIn,
    ProcessedMessageContent, Proposal, ProtocolVersion, RatchetTreeIn, Sender, SenderExtensionIndex,
    StagedCommit,
};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use openmls_traits::OpenMlsProvider as _;
use openmls_traits::types::SignatureScheme;
use policies::directory::Directory;
use policies::leaf::verify_leaf;
use policies::roster::Roster;
use policies::terms::{AudienceClass, AudienceId, DeviceId, PersonId, TenantId};

use super::fault::Fault;
use crate::limits;
use crate::store::audiences::AudienceState;

mod rejoin;

/// The one suite (M8).
const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;
const SUITE_NUMBER: u16 = 0x0001;
/// GroupContext extension of the roster (K8).
const ROSTER_EXTENSION: u16 = 0xF5E1;

/// The directory as it stands, for one check.
pub(crate) struct Registry<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) directory: &'a Directory,
}

/// One group's public state.
pub(crate) struct Group {
    provider: OpenMlsRustCrypto,
    public: PublicGroup,
}

/// What a commit did.
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) added: BTreeSet<DeviceId>,
    pub(crate) removed: BTreeSet<DeviceId>,
}

impl Group {
    /// Starts to follow a group from its creator's GroupInfo and tree.
    pub(crate) fn create(
        group_info: &[u8],
        ratchet_tree: &[u8],
        external_sender: &SigningKey,
        by: DeviceId,
        registry: &Registry<'_>,
    ) -> Result<Self, Fault> {
        let message = MlsMessageIn::tls_deserialize_exact(group_info).map_err(|_| unreadable("GroupInfo"))?;
        let MlsMessageBodyIn::GroupInfo(group_info) = message.extract() else {
            return Err(unreadable("GroupInfo"));
        };
        if group_info.ciphersuite() != SUITE {
            return Err(Fault::bad_request("the group must use cipher suite 0x0001"));
        }
        let tree =
            RatchetTreeIn::tls_deserialize_exact(ratchet_tree).map_err(|_| unreadable("ratchet tree"))?;
        let provider = OpenMlsRustCrypto::default();
        let (public, _) = PublicGroup::from_external(
            provider.crypto(),
            provider.storage(),
            tree,
            group_info,
            ProposalStore::new(),
        )
        .map_err(|error| Fault::bad_request(format!("the group does not hold together: {error}")))?;
        let group = Self { provider, public };
        group.check_external_sender(external_sender)?;
        group.check_new(by, registry)?;
        Ok(group)
    }

    pub(crate) fn load(id: AudienceId, state: &[u8]) -> anyhow::Result<Self> {
        let provider = OpenMlsRustCrypto::default();
        let values: Vec<(Vec<u8>, Vec<u8>)> =
            ciborium::from_reader(state).context("a group's state cannot be read")?;
        provider
            .storage()
            .values
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(values);
        let public = PublicGroup::load(provider.storage(), &GroupId::from_slice(id.as_bytes()))
            .ok()
            .flatten()
            .context("a group's state cannot be loaded")?;
        Ok(Self { provider, public })
    }

    pub(crate) fn id(&self) -> Result<AudienceId, Fault> {
        let id = self.public.group_id().as_slice().try_into();
        id.map(AudienceId::from_bytes)
            .map_err(|_| Fault::bad_request("a group's id has 16 bytes"))
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.public.group_context().epoch().as_u64()
    }

    /// The tree as joiners get it, TLS-encoded.
    pub(crate) fn ratchet_tree(&self) -> anyhow::Result<Vec<u8>> {
        self.public
            .export_ratchet_tree()
            .tls_serialize_detached()
            .context("a group's tree cannot be written")
    }

    /// What is stored.
    pub(crate) fn state(&self, directory: &Directory) -> Result<AudienceState, Fault> {
        let members = self.members()?;
        let is_guest = |device: &DeviceId| {
            directory
                .device(*device)
                .is_some_and(|d| d.class == AudienceClass::Guest)
        };
        let class = if members.iter().any(|(_, device)| is_guest(device)) {
            AudienceClass::Guest
        } else {
            AudienceClass::Internal
        };
        let persons = self.roster()?.persons;
        let stale = |device: &DeviceId| {
            directory
                .device(*device)
                .is_none_or(|logged| logged.revoked || !persons.contains(&logged.person))
        };
        let removal_pending = members.iter().any(|(_, device)| stale(device));
        let values = self
            .provider
            .storage()
            .values
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let values: BTreeMap<&Vec<u8>, &Vec<u8>> = values.iter().collect();
        let values: Vec<(&Vec<u8>, &Vec<u8>)> = values.into_iter().collect();
        let mut state = Vec::new();
        ciborium::into_writer(&values, &mut state).context("a group's state cannot be written")?;
        let tree_hash = self.public.group_context().tree_hash().to_vec();
        Ok(AudienceState {
            epoch: self.epoch(),
            tree_hash,
            class,
            removal_pending,
            state,
            members,
        })
    }

    /// Devices by leaf.
    pub(crate) fn members(&self) -> Result<Vec<(u32, DeviceId)>, Fault> {
        self.public
            .members()
            .map(|member| Ok((member.index.u32(), device_of(&member.credential)?)))
            .collect()
    }

    pub(crate) fn roster(&self) -> Result<Roster, Fault> {
        roster_of(self.public.group_context().extensions())
    }

    /// Applies a commit of `by`, if everything about it is admitted; the group is unchanged otherwise.
    pub(crate) fn commit(
        &mut self,
        commit: &[u8],
        by: DeviceId,
        registry: &Registry<'_>,
    ) -> Result<Committed, Fault> {
        let (sender, content) = self.process(commit)?;
        let own = self.check_sender(&sender, by)?;
        let ProcessedMessageContent::StagedCommitMessage(staged) = content else {
            return Err(Fault::bad_request("this is not a commit"));
        };
        let before: BTreeMap<DeviceId, Vec<u8>> = self.leaves()?;
        self.check_proposals(&staged, by, registry)?;
        if let Some(leaf) = staged.update_path_leaf_node() {
            let device = checked_leaf(leaf.credential(), leaf.signature_key().as_slice(), registry)?;
            if device != by {
                return Err(Fault::new(
                    ErrorCode::LeafInvalid,
                    "a leaf never changes its device",
                ));
            }
            if rejoin::entry_of(leaf)? != self.entry_at(own)? {
                return Err(Fault::new(
                    ErrorCode::LeafInvalid,
                    "a leaf never changes the rejoin by which it came in",
                ));
            }
        }
        self.public
            .merge_commit(self.provider.storage(), *staged)
            .map_err(|error| Fault::bad_request(format!("the commit does not apply: {error}")))?;
        let after = self.leaves()?;
        self.check_after(&before, &after, registry)?;
        let added = after
            .keys()
            .filter(|device| !before.contains_key(device))
            .copied()
            .collect();
        let removed = before
            .keys()
            .filter(|device| !after.contains_key(device))
            .copied()
            .collect();
        Ok(Committed { added, removed })
    }

    /// Stores a member's proposal to remove itself; nothing else is taken from members.
    pub(crate) fn propose(&mut self, proposal: &[u8], by: DeviceId) -> Result<(), Fault> {
        let (sender, content) = self.process(proposal)?;
        let leaf = self.check_sender(&sender, by)?;
        let ProcessedMessageContent::ProposalMessage(queued) = content else {
            return Err(Fault::bad_request("this is not a proposal"));
        };
        let own = match queued.proposal() {
            Proposal::SelfRemove => true,
            Proposal::Remove(remove) => remove.removed() == leaf,
            Proposal::Add(_)
            | Proposal::Update(_)
            | Proposal::PreSharedKey(_)
            | Proposal::ReInit(_)
            | Proposal::ExternalInit(_)
            | Proposal::GroupContextExtensions(_)
            | Proposal::Custom(_) => false,
        };
        if !own {
            return Err(Fault::new(
                ErrorCode::RosterRefused,
                "a member proposes its own removal only",
            ));
        }
        self.store(*queued)
    }

    /// Proposes the removal of a revoked device (K4, K8): the signed `MLSMessage`. None when it is not in the group.
    pub(crate) fn propose_removal(
        &mut self,
        device: DeviceId,
        key: &SigningKey,
    ) -> Result<Option<Vec<u8>>, Fault> {
        let Some((leaf, _)) = self.members()?.into_iter().find(|(_, member)| *member == device) else {
            return Ok(None);
        };
        let signer = SignatureKeyPair::from_raw(
            SignatureScheme::ED25519,
            key.to_bytes().to_vec(),
            key.verifying_key().to_bytes().to_vec(),
        );
        let message = ExternalProposal::new_remove::<OpenMlsRustCrypto>(
            LeafNodeIndex::new(leaf),
            self.public.group_id().clone(),
            self.public.group_context().epoch(),
            &signer,
            SenderExtensionIndex::new(0),
        )
        .ok()
        .and_then(|message| message.tls_serialize_detached().ok())
        .context("cannot propose a removal")?;
        let (_, content) = self.process(&message)?;
        if let ProcessedMessageContent::ProposalMessage(queued) = content {
            self.store(*queued)?;
        }
        Ok(Some(message))
    }

    fn store(&mut self, queued: openmls::group::QueuedProposal) -> Result<(), Fault> {
        let stored = self.public.add_proposal(self.provider.storage(), queued);
        Ok(stored.ok().context("cannot store a proposal")?)
    }

    fn process(&self, message: &[u8]) -> Result<(Sender, ProcessedMessageContent), Fault> {
        let message = MlsMessageIn::tls_deserialize_exact(message).map_err(|_| unreadable("MLS message"))?;
        let message = message
            .try_into_protocol_message()
            .map_err(|_| unreadable("MLS message"))?;
        if message.group_id() != self.public.group_id() {
            return Err(Fault::bad_request("the message is for another group"));
        }
        if message.epoch() != self.public.group_context().epoch() {
            return Err(Fault::new(
                ErrorCode::EpochMoved,
                format!("the group is in epoch {}", self.epoch()),
            ));
        }
        let processed = self
            .public
            .process_message(self.provider.crypto(), message)
            .map_err(|error| Fault::bad_request(format!("the message does not apply: {error}")))?;
        Ok((processed.sender().clone(), processed.into_content()))
    }

    /// The sender must be the leaf of the device that is asking.
    fn check_sender(&self, sender: &Sender, by: DeviceId) -> Result<LeafNodeIndex, Fault> {
        let Sender::Member(leaf) = sender else {
            return Err(Fault::new(ErrorCode::LeafInvalid, "only members change a group"));
        };
        match self
            .members()?
            .into_iter()
            .find(|(index, _)| *index == leaf.u32())
        {
            Some((_, device)) if device == by => Ok(*leaf),
            Some(_) | None => Err(Fault::new(
                ErrorCode::ProofInvalid,
                "the message was made by another device",
            )),
        }
    }

    fn check_proposals(
        &self,
        staged: &StagedCommit,
        by: DeviceId,
        registry: &Registry<'_>,
    ) -> Result<(), Fault> {
        let by_person = person_of(by, registry)?;
        let before = self.roster()?;
        let after = roster_of(staged.group_context().extensions())?;
        if before != after && !before.change_allowed(&after, by_person) {
            return Err(Fault::new(
                ErrorCode::RosterRefused,
                "only an owner changes the list; anybody may leave",
            ));
        }
        let members: BTreeMap<u32, DeviceId> = self.members()?.into_iter().collect();
        for queued in staged.queued_proposals() {
            match queued.proposal() {
                Proposal::Add(add) => {
                    if !matches!(queued.sender(), Sender::Member(_)) {
                        return Err(Fault::new(ErrorCode::LeafInvalid, "only members add"));
                    }
                    let leaf = add.key_package().leaf_node();
                    let device = checked_leaf(leaf.credential(), leaf.signature_key().as_slice(), registry)?;
                    if !after.persons.contains(&person_of(device, registry)?) {
                        return Err(Fault::new(
                            ErrorCode::RosterRefused,
                            "the added device's person is not on the list",
                        ));
                    }
                }
                Proposal::Remove(remove) => {
                    let removed = members.get(&remove.removed().u32()).copied();
                    let removed =
                        removed.ok_or_else(|| Fault::bad_request("nobody is at the removed leaf"))?;
                    check_removal(removed, by_person, &before, &after, queued.sender(), registry)?;
                }
                Proposal::GroupContextExtensions(_) => self.check_extensions(staged)?,
                Proposal::Update(_) | Proposal::SelfRemove => {}
                Proposal::PreSharedKey(_)
                | Proposal::ReInit(_)
                | Proposal::ExternalInit(_)
                | Proposal::Custom(_) => {
                    return Err(Fault::bad_request("a proposal of this kind is not admitted"));
                }
            }
        }
        Ok(())
    }

    /// An extensions proposal may change the roster and nothing else (K8).
    fn check_extensions(&self, staged: &StagedCommit) -> Result<(), Fault> {
        let others = |extensions: &openmls::extensions::Extensions<openmls::group::GroupContext>| {
            let mut others: Vec<Vec<u8>> = extensions
                .iter()
                .filter(|extension| {
                    extension.extension_type()
                        != openmls::extensions::ExtensionType::Unknown(ROSTER_EXTENSION)
                })
                .filter_map(|extension| extension.tls_serialize_detached().ok())
                .collect();
            others.sort();
            others
        };
        if others(self.public.group_context().extensions()) == others(staged.group_context().extensions()) {
            Ok(())
        } else {
            Err(Fault::new(
                ErrorCode::RosterRefused,
                "only the list may change in the group's extensions",
            ))
        }
    }

    fn check_new(&self, by: DeviceId, registry: &Registry<'_>) -> Result<(), Fault> {
        self.id()?;
        let roster = self.roster()?;
        if !roster.owners.contains(&person_of(by, registry)?) {
            return Err(Fault::new(
                ErrorCode::RosterRefused,
                "whoever makes a group owns it",
            ));
        }
        let leaves = self.leaves()?;
        if !leaves.contains_key(&by) {
            return Err(Fault::new(
                ErrorCode::NotAMember,
                "whoever makes a group is in it",
            ));
        }
        for device in leaves.keys() {
            if !roster.persons.contains(&person_of(*device, registry)?) {
                return Err(Fault::new(
                    ErrorCode::RosterRefused,
                    "a device's person is not on the list",
                ));
            }
        }
        self.check_after(&BTreeMap::new(), &leaves, registry)
    }

    /// New or changed leaves verify against the directory log; nobody who is revoked stays.
    fn check_after(
        &self,
        before: &BTreeMap<DeviceId, Vec<u8>>,
        after: &BTreeMap<DeviceId, Vec<u8>>,
        registry: &Registry<'_>,
    ) -> Result<(), Fault> {
        if after.len() > limits::AUDIENCE_DEVICES_MAX {
            return Err(Fault::bad_request(format!(
                "an audience holds at most {} devices: split it",
                limits::AUDIENCE_DEVICES_MAX
            )));
        }
        for member in self.public.members() {
            let device = device_of(&member.credential)?;
            if before.get(&device) != Some(&member.signature_key) {
                checked_leaf(&member.credential, &member.signature_key, registry)?;
            } else if registry
                .directory
                .device(device)
                .is_none_or(|logged| logged.revoked)
            {
                return Err(Fault::new(
                    ErrorCode::RemovalPending,
                    "a revoked device must be removed by this commit",
                ));
            }
        }
        Ok(())
    }

    /// Signature keys by device; a device is in a group once.
    fn leaves(&self) -> Result<BTreeMap<DeviceId, Vec<u8>>, Fault> {
        let mut leaves = BTreeMap::new();
        for member in self.public.members() {
            if leaves
                .insert(device_of(&member.credential)?, member.signature_key)
                .is_some()
            {
                return Err(Fault::new(ErrorCode::LeafInvalid, "a device is in a group once"));
            }
        }
        Ok(leaves)
    }

    fn check_external_sender(&self, key: &SigningKey) -> Result<(), Fault> {
        let ours = key.verifying_key().to_bytes();
        let senders = self.public.group_context().extensions().external_senders();
        match senders.map(Vec::as_slice) {
            // On the wire a sender begins with its key: one byte of length (RFC 9420, section 12.1.8.1).
            Some([sender])
                if sender
                    .tls_serialize_detached()
                    .is_ok_and(|bytes| bytes.get(1..33) == Some(&ours)) =>
            {
                Ok(())
            }
            Some(_) | None => Err(Fault::bad_request(
                "the group must name the gateway, and nobody else, as external sender",
            )),
        }
    }
}

/// Reads a key package and checks that it is `device`'s, valid, and of our suite.
pub(crate) fn check_key_package(
    package: &[u8],
    device: DeviceId,
    registry: &Registry<'_>,
) -> Result<(), Fault> {
    let message = MlsMessageIn::tls_deserialize_exact(package).map_err(|_| unreadable("key package"))?;
    let MlsMessageBodyIn::KeyPackage(package) = message.extract() else {
        return Err(unreadable("key package"));
    };
    let package: KeyPackageIn = package;
    let provider = OpenMlsRustCrypto::default();
    let package = package
        .validate(provider.crypto(), ProtocolVersion::Mls10)
        .map_err(|error| Fault::bad_request(format!("the key package is not valid: {error}")))?;
    if package.ciphersuite() != SUITE {
        return Err(Fault::bad_request("a key package must use cipher suite 0x0001"));
    }
    let leaf = package.leaf_node();
    if checked_leaf(leaf.credential(), leaf.signature_key().as_slice(), registry)? == device {
        Ok(())
    } else {
        Err(Fault::new(
            ErrorCode::LeafInvalid,
            "a device uploads its own key packages",
        ))
    }
}

/// An owner may remove anybody; anybody may carry out what the gateway proposed, what the list says, or what concerns
/// their own devices.
fn check_removal(
    removed: DeviceId,
    by: PersonId,
    before: &Roster,
    after: &Roster,
    proposer: &Sender,
    registry: &Registry<'_>,
) -> Result<(), Fault> {
    let logged = registry.directory.device(removed);
    let revoked = logged.is_none_or(|device| device.revoked);
    let person = logged.map(|device| device.person);
    let unlisted = person.is_none_or(|person| !after.persons.contains(&person));
    let own = person == Some(by);
    let proposed = matches!(proposer, Sender::External(_));
    if before.owners.contains(&by) || revoked || unlisted || own || proposed {
        Ok(())
    } else {
        Err(Fault::new(
            ErrorCode::RosterRefused,
            "only an owner removes a listed person's device",
        ))
    }
}

fn checked_leaf(credential: &Credential, key: &[u8], registry: &Registry<'_>) -> Result<DeviceId, Fault> {
    let live = |device: DeviceId| {
        registry
            .directory
            .device(device)
            .filter(|d| !d.revoked)
            .map(|d| d.key.clone())
    };
    verify_leaf(
        registry.tenant,
        SUITE_NUMBER,
        credential.serialized_content(),
        key,
        live,
    )
    .map_err(|error| Fault::new(ErrorCode::LeafInvalid, error.to_string()))
}

fn device_of(credential: &Credential) -> Result<DeviceId, Fault> {
    policies::leaf::credential_device(credential.serialized_content())
        .map_err(|error| Fault::new(ErrorCode::LeafInvalid, error.to_string()))
}

fn person_of(device: DeviceId, registry: &Registry<'_>) -> Result<PersonId, Fault> {
    let logged = registry.directory.device(device);
    logged
        .map(|device| device.person)
        .ok_or_else(|| Fault::new(ErrorCode::LeafInvalid, "the device is not in the directory log"))
}

fn roster_of(
    extensions: &openmls::extensions::Extensions<openmls::group::GroupContext>,
) -> Result<Roster, Fault> {
    let bytes = extensions
        .unknown(ROSTER_EXTENSION)
        .map(|extension| extension.0.as_slice());
    let bytes = bytes.ok_or_else(|| {
        Fault::new(
            ErrorCode::RosterRefused,
            "the group has no list of persons and owners",
        )
    })?;
    Roster::decode(bytes).map_err(|error| Fault::new(ErrorCode::RosterRefused, error.to_string()))
}

fn unreadable(what: &str) -> Fault {
    Fault::bad_request(format!("the {what} cannot be read"))
}

#[cfg(test)]
mod tests;
