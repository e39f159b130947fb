//! Joining an audience through a Welcome: nothing of it is believed before every leaf was checked.

use std::collections::BTreeSet;

use openmls::group::JoinBuilder;
use openmls::prelude::tls_codec::Deserialize as _;
use openmls::prelude::{
    MlsMessageBodyIn, MlsMessageIn, ProcessedWelcome, RatchetTreeIn, StagedWelcome, Welcome,
};
use policies::directory::Directory;
use policies::roster::Roster;
use policies::terms::{AudienceId, DeviceId};

use super::group::{join_config, roster_of};
use super::rules::{CommitRefused, check_context};
use super::{Member, MemberError, storage};
use crate::identity::{LeafRefused, SUITE, known_leaf};
use crate::limits::{AUDIENCE_DEVICES_MAX, MLS_MESSAGE_BYTES_MAX};

/// An audience that this device is in from here on. Stories of earlier epochs stay closed (K10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The audience.
    pub audience: AudienceId,
    /// The epoch from which this device reads.
    pub epoch: u64,
    /// The devices in it, this one included: shown before posting (K8).
    pub members: Vec<DeviceId>,
    /// The persons in it.
    pub roster: Roster,
    /// The device that sent the Welcome.
    pub by: DeviceId,
}

/// Why a Welcome was not followed. Nothing was joined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// The state itself is the matter.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// A leaf, the roster or the gateway's key in it is not to be accepted.
    #[error(transparent)]
    Refused(#[from] CommitRefused),
    /// Not a Welcome with its tree for a key package of this device.
    #[error(
        "the welcome is damaged, or for a key package that this device no longer has\nhelp: ask to be added again"
    )]
    Unusable,
    /// The person of this device is not in the roster that came with the Welcome.
    #[error("the welcome is for an audience whose roster does not list this device's person")]
    Unlisted,
}

impl Member {
    /// Joins an audience: checks the suite, the context (roster, the pinned gateway key), every leaf against the
    /// log, and that the audience is one that lists this device's person.
    ///
    /// `welcome` is a serialised `MLSMessage`, `ratchet_tree` the serialised tree of the same commit.
    ///
    /// # Errors
    /// [`JoinError::Refused`] names the leaf or the setting that is not to be accepted; a device that is not in
    /// the log as far as it is known here may be tried again after fetching the log.
    pub fn join(
        &mut self,
        welcome: &[u8],
        ratchet_tree: &[u8],
        directory: &Directory,
    ) -> Result<Joined, JoinError> {
        // openmls consumes the key package on parsing; a Welcome that is refused gives it back.
        let kept = storage::snapshot(&self.provider)?;
        let outcome = self.try_join(welcome, ratchet_tree, directory);
        if outcome.is_err() {
            storage::restore(&self.provider, &kept)?;
        }
        outcome
    }

    fn try_join(
        &mut self,
        welcome: &[u8],
        ratchet_tree: &[u8],
        directory: &Directory,
    ) -> Result<Joined, JoinError> {
        let welcome = parse_welcome(welcome)?;
        if ratchet_tree.len() > MLS_MESSAGE_BYTES_MAX {
            return Err(JoinError::Unusable);
        }
        let tree = RatchetTreeIn::tls_deserialize_exact(ratchet_tree).map_err(|_| JoinError::Unusable)?;
        let processed = ProcessedWelcome::new_from_welcome(&self.provider, &join_config(), welcome)
            .map_err(|_| JoinError::Unusable)?;
        let staged = JoinBuilder::new(&self.provider, processed)
            .with_ratchet_tree(tree)
            .skip_lifetime_validation()
            .build()
            .map_err(|_| JoinError::Unusable)?;
        let joined = self.check_welcome(&staged, directory)?;
        if self.groups.contains_key(&joined.audience) {
            return Err(MemberError::AudienceExists(joined.audience).into());
        }
        let group = staged
            .into_group(&self.provider)
            .map_err(|_| MemberError::State)?;
        storage::put(
            &self.provider,
            &storage::audience_key(joined.audience),
            Vec::new(),
        )?;
        self.groups.insert(joined.audience, group);
        Ok(joined)
    }

    fn check_welcome(&self, staged: &StagedWelcome, directory: &Directory) -> Result<Joined, JoinError> {
        let context = staged.group_context();
        let audience = <[u8; 16]>::try_from(context.group_id().as_slice())
            .map(AudienceId::from_bytes)
            .map_err(|_| CommitRefused::Context)?;
        if context.ciphersuite() != SUITE {
            return Err(CommitRefused::Context.into());
        }
        let roster = roster_of(context.extensions())?;
        check_context(&self.identity, context.extensions(), &roster)?;
        let members = self.check_leaves(staged, directory)?;
        let own = directory
            .device(self.identity.device)
            .ok_or(MemberError::OwnDevice)?;
        if !roster.persons.contains(&own.person) {
            return Err(JoinError::Unlisted);
        }
        let sender = staged.welcome_sender().map_err(|_| CommitRefused::Outsider)?;
        let by = crate::identity::known_leaf_node(&self.identity.tenant, directory, sender)
            .map_err(CommitRefused::Leaf)?
            .device;
        Ok(Joined {
            audience,
            epoch: context.epoch().as_u64(),
            members,
            roster,
            by,
        })
    }

    fn check_leaves(
        &self,
        staged: &StagedWelcome,
        directory: &Directory,
    ) -> Result<Vec<DeviceId>, CommitRefused> {
        let mut seen = BTreeSet::new();
        let mut members = Vec::new();
        for member in staged.members() {
            let known = known_leaf(
                &self.identity.tenant,
                directory,
                &member.credential,
                &member.signature_key,
            )?;
            if !seen.insert(known.device) {
                return Err(LeafRefused::Twice(known.device).into());
            }
            members.push(known.device);
        }
        if members.len() > AUDIENCE_DEVICES_MAX {
            return Err(CommitRefused::TooLarge {
                max: AUDIENCE_DEVICES_MAX,
            });
        }
        if !seen.contains(&self.identity.device) {
            return Err(CommitRefused::Outsider);
        }
        Ok(members)
    }
}

fn parse_welcome(bytes: &[u8]) -> Result<Welcome, JoinError> {
    if bytes.len() > MLS_MESSAGE_BYTES_MAX {
        return Err(JoinError::Unusable);
    }
    let message = MlsMessageIn::tls_deserialize_exact(bytes).map_err(|_| JoinError::Unusable)?;
    let MlsMessageBodyIn::Welcome(welcome) = message.extract() else {
        return Err(JoinError::Unusable);
    };
    Ok(welcome)
}
