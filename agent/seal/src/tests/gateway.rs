//! The gateway's keyless side: it follows what members commit and holds the same tree, and no secret.

use openmls::group::{ProposalStore, PublicGroup};
use openmls::prelude::tls_codec::Deserialize as _;
use openmls::prelude::{
    MlsMessageBodyIn, MlsMessageIn, OpenMlsProvider as _, ProcessedMessageContent, RatchetTreeIn,
};
use openmls_rust_crypto::OpenMlsRustCrypto;

use super::world::{AUDIENCE, World, now_s, roster};
use crate::MembershipChange;

struct Keyless {
    provider: OpenMlsRustCrypto,
    group: PublicGroup,
}

impl Keyless {
    fn from_upload(group_info: &[u8], ratchet_tree: &[u8]) -> Self {
        let provider = OpenMlsRustCrypto::default();
        let message = MlsMessageIn::tls_deserialize_exact(group_info).unwrap();
        let MlsMessageBodyIn::GroupInfo(info) = message.extract() else {
            panic!("no group info");
        };
        let (group, _) = PublicGroup::from_external(
            provider.crypto(),
            provider.storage(),
            RatchetTreeIn::tls_deserialize_exact(ratchet_tree).unwrap(),
            info,
            ProposalStore::new(),
        )
        .unwrap();
        Self { provider, group }
    }

    fn follow(&mut self, message: &[u8]) {
        let message = MlsMessageIn::tls_deserialize_exact(message).unwrap();
        let message = message.try_into_protocol_message().unwrap();
        let processed = self
            .group
            .process_message(self.provider.crypto(), message)
            .unwrap();
        let content = processed.into_content();
        if let ProcessedMessageContent::StagedCommitMessage(commit) = content {
            self.group.merge_commit(self.provider.storage(), *commit).unwrap();
        } else if let ProcessedMessageContent::ProposalMessage(proposal) = content {
            self.group
                .add_proposal(self.provider.storage(), *proposal)
                .unwrap();
        } else {
            panic!("neither commit nor proposal");
        }
    }

    fn tree(&self) -> (u64, Vec<u8>) {
        let context = self.group.group_context();
        (context.epoch().as_u64(), context.tree_hash().to_vec())
    }
}

fn tree(device: &super::world::Device) -> (u64, Vec<u8>) {
    let state = device.member.audience_state(AUDIENCE).unwrap();
    (state.epoch, state.tree_hash)
}

#[test]
fn keyless_gateway_follows_every_change_and_holds_the_tree_of_the_members() {
    let mut world = World::new();
    let (mut alice, mut bob) = (world.device(1, 1), world.device(2, 2));
    let created = alice
        .member
        .create_audience(AUDIENCE, &roster(&[1], &[2]), &world.directory)
        .unwrap();
    let mut gateway = Keyless::from_upload(&created.group_info, &created.ratchet_tree);
    assert_eq!(gateway.tree(), tree(&alice));

    let (added, _) = world.join(&mut alice, &mut bob, None);
    gateway.follow(&added.commit);
    assert_eq!(gateway.tree(), tree(&bob));

    let remove = world.external_remove(1, 1);
    gateway.follow(&remove);
    world.process(&mut alice, &remove);
    let change = MembershipChange {
        roster: Some(roster(&[1], &[])),
        ..MembershipChange::default()
    };
    let staged = alice
        .member
        .stage_membership(AUDIENCE, &change, &world.directory, now_s())
        .unwrap();
    alice.member.merge_staged(AUDIENCE).unwrap();
    gateway.follow(&staged.commit);
    assert_eq!(gateway.tree(), tree(&alice));
    assert_eq!(gateway.group.members().count(), 1);
}

/// K9
#[test]
fn what_is_uploaded_with_a_commit_lets_a_gateway_start_from_it() {
    let mut world = World::new();
    let (mut alice, _bob) = world.alice_and_bob();
    let staged = alice
        .member
        .stage_self_update(AUDIENCE, &world.directory)
        .unwrap();
    alice.member.merge_staged(AUDIENCE).unwrap();
    let gateway = Keyless::from_upload(&staged.group_info, &staged.ratchet_tree);
    assert_eq!(gateway.tree(), tree(&alice));
}
