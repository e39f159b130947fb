//! Real members, a real gateway with a clock that moves by hand.

use std::sync::Arc;

use openmls::prelude::tls_codec::{Deserialize as _, Serialize as _};
use openmls::prelude::*;
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey as DeviceKey};
use policies::directory::DirectoryEntry;
use policies::leaf::{credential_bytes, leaf_message};
use policies::roster::Roster;
use policies::terms::{AudienceClass, PersonId, TenantId};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::cli::init;
use crate::clock::Clock;
use crate::domain::record::Kind;
use crate::relay::GroupChange;
use crate::store::inbox::InboxEntry;

const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;
const ROSTER: u16 = policies::roster::EXTENSION_TYPE;
const AUDIENCE: AudienceId = AudienceId::from_bytes([5; 16]);
/// Subtrees beside leaf 0: leaves 1, 2-3, 4-7, 8-15, 16-23.
const DEVICES: u8 = 24;
const POSTER: usize = 0;
const START_S: u64 = 1_790_000_000;

struct Member {
    device: DeviceId,
    provider: OpenMlsRustCrypto,
    signer: SignatureKeyPair,
    group: MlsGroup,
}

/// An audience of one person's devices after a bulk add: the poster's tree is cold.
struct World {
    _folder: TempDir,
    gateway: Arc<Gateway>,
    view: Group,
    members: Vec<Member>,
}

impl World {
    async fn after_bulk_add(online: &[usize]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tenant = TenantId::parse("acme").unwrap();
        let layout = init::make(folder.path(), &tenant, 1).unwrap();
        let (gateway, _writer) = Gateway::open_at(layout, Clock::manual(START_S)).await.unwrap();
        for number in 1..=DEVICES {
            gateway.directory.append(device_add(number)).await.unwrap();
        }
        let (members, view) = members(&gateway, &tenant);
        let change = GroupChange {
            audience: AUDIENCE,
            from_epoch: None,
            state: gateway.directory.read(|directory| view.state(directory)).unwrap(),
            item: None,
            welcome: None,
            group_info: None,
            rejoined: None,
            record: gateway.entry(Kind::Audience, None, json!({})).unwrap(),
        };
        gateway.relay.change(change).await.unwrap();
        for index in online {
            drop(gateway.wake.bell(members[*index].device, START_S));
        }
        let world = Self {
            _folder: folder,
            gateway,
            view,
            members,
        };
        world.tell(POSTER, usize::from(DEVICES) - 1).await;
        world
    }

    /// What the handler of commits calls.
    async fn tell(&self, by: usize, added: usize) {
        after_commit(&self.gateway, &self.view, self.members[by].device, added)
            .await
            .unwrap();
    }

    /// How often each member was asked so far.
    async fn asked(&self) -> Vec<usize> {
        let mut asked = Vec::new();
        for member in &self.members {
            let inbox = self.gateway.store.inbox_behind(member.device, 0).await.unwrap();
            asked.push(inbox.len());
        }
        asked
    }

    /// A self-update, as every other member and the gateway's view process it; the size of the commit.
    fn renew(&mut self, by: usize) -> usize {
        let Member {
            device,
            provider,
            signer,
            group,
        } = &mut self.members[by];
        let bundle = group
            .self_update(provider, signer, LeafNodeParameters::default())
            .unwrap();
        let commit = bundle.commit().tls_serialize_detached().unwrap();
        group.merge_pending_commit(provider).unwrap();
        let device = *device;
        for (index, member) in self.members.iter_mut().enumerate() {
            if index != by {
                member.follow(&commit);
            }
        }
        let view = &mut self.view;
        self.gateway
            .with_registry(|registry| view.commit(&commit, device, registry))
            .unwrap();
        commit.len()
    }
}

impl Member {
    fn follow(&mut self, commit: &[u8]) {
        let message = MlsMessageIn::tls_deserialize_exact(commit).unwrap();
        let message = message.try_into_protocol_message().unwrap();
        let processed = self.group.process_message(&self.provider, message).unwrap();
        let ProcessedMessageContent::StagedCommitMessage(staged) = processed.into_content() else {
            panic!("no commit");
        };
        self.group.merge_staged_commit(&self.provider, *staged).unwrap();
    }
}

fn device_key(number: u8) -> DeviceKey {
    DeviceKey::from_slice(&[number; 32]).unwrap()
}

fn device(number: u8) -> DeviceId {
    DeviceId::from_bytes([number; 16])
}

fn device_add(number: u8) -> DirectoryEntry {
    DirectoryEntry::DeviceAdd {
        device: device(number),
        person: PersonId::from_bytes([1; 16]),
        key: device_key(number)
            .verifying_key()
            .to_sec1_point(true)
            .as_bytes()
            .try_into()
            .unwrap(),
        class: AudienceClass::Internal,
        at_s: 1,
    }
}

fn credential(tenant: &TenantId, number: u8) -> (SignatureKeyPair, CredentialWithKey) {
    let signer = SignatureKeyPair::new(SignatureScheme::ED25519).unwrap();
    let message = leaf_message(tenant, device(number), 0x0001, signer.public());
    let signature: Signature = device_key(number).sign(&message);
    let credential = CredentialWithKey {
        credential: BasicCredential::new(credential_bytes(device(number), &signature.to_bytes().into()))
            .into(),
        signature_key: signer.to_public_vec().into(),
    };
    (signer, credential)
}

fn capabilities() -> Capabilities {
    Capabilities::builder()
        .extensions(vec![ExtensionType::Unknown(ROSTER)])
        .build()
}

fn context(gateway: &Gateway) -> Extensions<GroupContext> {
    let persons = [PersonId::from_bytes([1; 16])];
    let roster = Roster {
        owners: persons.into(),
        persons: persons.into(),
    };
    let key = gateway.keys.external_sender.verifying_key().to_bytes().to_vec();
    let sender = ExternalSender::new(key.into(), BasicCredential::new(b"gateway".to_vec()).into());
    Extensions::from_vec(vec![
        Extension::ExternalSenders(vec![sender]),
        Extension::Unknown(ROSTER, UnknownExtension(roster.encode())),
    ])
    .unwrap()
}

/// All in one audience, by one commit of the first; and the gateway's view of it.
fn members(gateway: &Gateway, tenant: &TenantId) -> (Vec<Member>, Group) {
    let config = MlsGroupCreateConfig::builder()
        .ciphersuite(SUITE)
        .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
        .capabilities(capabilities())
        .with_group_context_extensions(context(gateway))
        .build();
    let (signer, own) = credential(tenant, 1);
    let provider = OpenMlsRustCrypto::default();
    let id = GroupId::from_slice(AUDIENCE.as_bytes());
    let mut group = MlsGroup::new_with_group_id(&provider, &signer, &config, id, own).unwrap();
    let joiners: Vec<_> = (2..=DEVICES).map(|number| joiner(tenant, number)).collect();
    let packages: Vec<KeyPackage> = joiners.iter().map(|(package, ..)| package.clone()).collect();
    let (_, welcome, _) = group.add_members(&provider, &signer, &packages).unwrap();
    group.merge_pending_commit(&provider).unwrap();
    let tree = group.export_ratchet_tree();
    let info = group
        .export_group_info(provider.crypto(), &signer, false)
        .unwrap();
    let info = info.tls_serialize_detached().unwrap();
    let tree_bytes = tree.tls_serialize_detached().unwrap();
    let sender = &gateway.keys.external_sender;
    let view = gateway
        .with_registry(|registry| Group::create(&info, &tree_bytes, sender, device(1), registry))
        .unwrap();
    let welcome = welcome.tls_serialize_detached().unwrap();
    let mut members = vec![Member {
        device: device(1),
        provider,
        signer,
        group,
    }];
    for ((_, provider, signer), number) in joiners.into_iter().zip(2..) {
        let message = MlsMessageIn::tls_deserialize_exact(&welcome).unwrap();
        let MlsMessageBodyIn::Welcome(welcome) = message.extract() else {
            panic!("no welcome");
        };
        let joined = StagedWelcome::new_from_welcome(
            &provider,
            config.join_config(),
            welcome,
            Some(tree.clone().into()),
        );
        let group = joined.unwrap().into_group(&provider).unwrap();
        members.push(Member {
            device: device(number),
            provider,
            signer,
            group,
        });
    }
    (members, view)
}

fn joiner(tenant: &TenantId, number: u8) -> (KeyPackage, OpenMlsRustCrypto, SignatureKeyPair) {
    let (signer, credential) = credential(tenant, number);
    let provider = OpenMlsRustCrypto::default();
    let bundle = KeyPackage::builder()
        .leaf_node_capabilities(capabilities())
        .build(SUITE, &provider, &signer, credential)
        .unwrap();
    (bundle.key_package().clone(), provider, signer)
}

fn everyone() -> Vec<usize> {
    (0..usize::from(DEVICES)).collect()
}

/// M9: one device per subtree, one after the other, largest first; then the poster's commit is small.
#[tokio::test]
async fn bulk_add_has_one_device_of_each_subtree_renew_its_keys() {
    let mut world = World::after_bulk_add(&everyone()).await;
    let cold = {
        let poster = &mut world.members[POSTER];
        let bundle = poster
            .group
            .self_update(&poster.provider, &poster.signer, LeafNodeParameters::default())
            .unwrap();
        let bytes = bundle.commit().tls_serialize_detached().unwrap().len();
        poster
            .group
            .clear_pending_commit(poster.provider.storage())
            .unwrap();
        bytes
    };
    for subtree in [16..24, 8..16, 4..8, 2..4] {
        let asked = world.asked().await;
        let answering: Vec<usize> = subtree.clone().filter(|index| asked[*index] > 0).collect();
        assert_eq!(answering.len(), 1, "in {subtree:?}: {asked:?}");
        world.renew(answering[0]);
        world.tell(answering[0], 0).await;
    }
    assert_eq!(world.asked().await.iter().sum::<usize>(), 4);
    assert_eq!(world.gateway.store.warm_up(AUDIENCE).await.unwrap(), None);
    let warm = world.renew(POSTER);
    world.tell(POSTER, 0).await;
    assert_eq!(world.asked().await.iter().sum::<usize>(), 4);
    assert!(warm < cold / 2, "{cold} bytes became {warm}");
    let held = world.members[POSTER].group.public_group().group_context();
    let state = world
        .gateway
        .directory
        .read(|directory| world.view.state(directory))
        .unwrap();
    assert_eq!(held.tree_hash(), state.tree_hash);
}

/// M9: a device that does not answer is not waited for without end, and not asked again.
#[tokio::test]
async fn subtree_that_does_not_answer_is_passed_over_in_time() {
    let world = World::after_bulk_add(&everyone()).await;
    go_on(&world.gateway).await.unwrap();
    assert_eq!(world.asked().await.iter().sum::<usize>(), 1);
    for total in [2, 3, 4, 4, 4] {
        world.gateway.clock.advance(limits::WARM_UP_PATIENCE_S);
        for member in &world.members {
            drop(
                world
                    .gateway
                    .wake
                    .bell(member.device, world.gateway.clock.now_s()),
            );
        }
        go_on(&world.gateway).await.unwrap();
        assert_eq!(world.asked().await.iter().sum::<usize>(), total);
    }
    assert!(world.asked().await.into_iter().all(|times| times <= 1));
}

/// M9: who is offline is not asked, and the poster never is.
#[tokio::test]
async fn only_devices_that_are_online_are_asked() {
    let world = World::after_bulk_add(&[POSTER, 5]).await;
    let asked = world.asked().await;
    assert_eq!((asked[5], asked.iter().sum::<usize>()), (1, 1));
    let nobody = World::after_bulk_add(&[POSTER]).await;
    assert_eq!(nobody.asked().await.iter().sum::<usize>(), 0);
    assert_eq!(nobody.gateway.store.warm_up(AUDIENCE).await.unwrap(), None);
}

/// M9: adding a few devices costs a few bytes and asks nobody.
#[tokio::test]
async fn small_addition_asks_nobody() {
    let world = World::after_bulk_add(&[POSTER]).await;
    for member in &world.members {
        drop(world.gateway.wake.bell(member.device, START_S));
    }
    world.tell(POSTER, limits::BULK_ADD_DEVICES_MIN - 1).await;
    assert_eq!(world.asked().await.iter().sum::<usize>(), 0);
}

/// M10: what all joiners get lies in the database once, and goes with the last of them.
#[tokio::test]
async fn body_for_many_inboxes_is_stored_once() {
    let world = World::after_bulk_add(&[POSTER]).await;
    let store = &world.gateway.store;
    let devices: Vec<DeviceId> = world.members.iter().map(|member| member.device).collect();
    let mut write = store.write().await.unwrap();
    inbox::put_shared(&mut write, &devices, b"{}", START_S)
        .await
        .unwrap();
    write.commit().await.unwrap();
    assert_eq!(store.shared_bodies().await.unwrap(), 1);
    for device in &devices {
        assert_eq!(
            store.inbox_behind(*device, 0).await.unwrap(),
            [(1, InboxEntry::Body(b"{}".to_vec()))]
        );
    }
    for (left, device) in devices.iter().rev().enumerate() {
        assert_eq!(store.shared_bodies().await.unwrap(), 1, "{left} are done");
        store.acknowledge_inbox(*device, 1).await.unwrap();
    }
    assert_eq!(store.shared_bodies().await.unwrap(), 0);
}
