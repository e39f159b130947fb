//! Real members against the keyless view.

use openmls::prelude::*;
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey as DeviceKey};
use policies::directory::DirectoryEntry;
use policies::leaf::{credential_bytes, leaf_message};
use tls_codec::Serialize as _;

use super::*;

mod bounds;
#[path = "../../../../../tests/fuzz/gateway.rs"]
mod fuzz;
mod rejoin;

/// A device with its MLS state.
struct Member {
    provider: OpenMlsRustCrypto,
    signer: SignatureKeyPair,
    credential: CredentialWithKey,
    device: DeviceId,
}

/// People 1, 2, 3 with device 1, 2, 3 each, all logged.
struct World {
    tenant: TenantId,
    directory: Directory,
    gateway: SigningKey,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            tenant: TenantId::parse("acme").unwrap(),
            directory: Directory::new(),
            gateway: SigningKey::from_bytes(&[9; 32]),
        };
        for number in 1..=3_u8 {
            let key: [u8; 33] = device_key(number)
                .verifying_key()
                .to_sec1_point(true)
                .as_bytes()
                .try_into()
                .unwrap();
            world.log(DirectoryEntry::DeviceAdd {
                device: device(number),
                person: person(number),
                key,
                class: AudienceClass::Internal,
                at_s: 1,
            });
        }
        world
    }

    fn log(&mut self, entry: DirectoryEntry) {
        self.directory.apply(self.directory.size(), &entry).unwrap();
    }

    fn registry(&self) -> Registry<'_> {
        Registry {
            tenant: &self.tenant,
            directory: &self.directory,
        }
    }

    /// A member whose leaf is vouched for by the device key of `vouched`.
    fn member_vouched(&self, number: u8, vouched: u8) -> Member {
        let signer = SignatureKeyPair::new(SignatureScheme::ED25519).unwrap();
        let message = leaf_message(&self.tenant, device(number), SUITE_NUMBER, signer.public());
        let signature: Signature = device_key(vouched).sign(&message);
        let credential = credential_bytes(device(number), &signature.to_bytes().into());
        let credential = CredentialWithKey {
            credential: BasicCredential::new(credential).into(),
            signature_key: signer.to_public_vec().into(),
        };
        Member {
            provider: OpenMlsRustCrypto::default(),
            signer,
            credential,
            device: device(number),
        }
    }

    fn member(&self, number: u8) -> Member {
        self.member_vouched(number, number)
    }

    fn found(&self, founder: &Member, people: &[u8]) -> MlsGroup {
        self.found_in(SUITE, founder, people)
    }

    fn found_in(&self, suite: Ciphersuite, founder: &Member, people: &[u8]) -> MlsGroup {
        let roster = roster(&[1], people);
        let sender = ExternalSender::new(
            self.gateway.verifying_key().to_bytes().to_vec().into(),
            BasicCredential::new(b"gateway".to_vec()).into(),
        );
        let extensions = Extensions::from_vec(vec![
            Extension::ExternalSenders(vec![sender]),
            Extension::Unknown(ROSTER_EXTENSION, UnknownExtension(roster.encode())),
        ])
        .unwrap();
        let config = MlsGroupCreateConfig::builder()
            .ciphersuite(suite)
            .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
            .capabilities(capabilities())
            .with_group_context_extensions(extensions)
            .build();
        let id = GroupId::from_slice(&[5; 16]);
        MlsGroup::new_with_group_id(
            &founder.provider,
            &founder.signer,
            &config,
            id,
            founder.credential.clone(),
        )
        .unwrap()
    }

    fn follow(&self, group: &MlsGroup, founder: &Member) -> Result<Group, Fault> {
        let info = group
            .export_group_info(founder.provider.crypto(), &founder.signer, false)
            .unwrap();
        let info = info.tls_serialize_detached().unwrap();
        let tree = group.export_ratchet_tree().tls_serialize_detached().unwrap();
        Group::create(&info, &tree, &self.gateway, founder.device, &self.registry())
    }
}

fn capabilities() -> Capabilities {
    Capabilities::builder()
        .extensions(vec![ExtensionType::Unknown(ROSTER_EXTENSION)])
        .build()
}

fn device_key(number: u8) -> DeviceKey {
    DeviceKey::from_slice(&[number; 32]).unwrap()
}

fn device(number: u8) -> DeviceId {
    DeviceId::from_bytes([number; 16])
}

fn person(number: u8) -> PersonId {
    PersonId::from_bytes([0x40 + number; 16])
}

fn roster(owners: &[u8], persons: &[u8]) -> Roster {
    let set = |numbers: &[u8]| numbers.iter().map(|number| person(*number)).collect();
    Roster {
        owners: set(owners),
        persons: set(persons),
    }
}

impl Member {
    fn key_package(&self) -> KeyPackage {
        self.key_package_in(SUITE)
    }

    fn key_package_in(&self, suite: Ciphersuite) -> KeyPackage {
        KeyPackage::builder()
            .leaf_node_capabilities(capabilities())
            .build(suite, &self.provider, &self.signer, self.credential.clone())
            .unwrap()
            .key_package()
            .clone()
    }

    fn key_package_bytes(&self) -> Vec<u8> {
        self.key_package_bytes_in(SUITE)
    }

    fn key_package_bytes_in(&self, suite: Ciphersuite) -> Vec<u8> {
        MlsMessageOut::from(self.key_package_in(suite))
            .tls_serialize_detached()
            .unwrap()
    }

    fn add(&self, group: &mut MlsGroup, packages: &[KeyPackage]) -> Vec<u8> {
        let (commit, _, _) = group.add_members(&self.provider, &self.signer, packages).unwrap();
        group.merge_pending_commit(&self.provider).unwrap();
        commit.tls_serialize_detached().unwrap()
    }
}

fn code<T>(result: Result<T, Fault>) -> ErrorCode {
    result.map(|_| ()).unwrap_err().code
}

/// The gateway follows without a key: same epoch, same tree hash, across a reload.
#[test]
fn keyless_view_follows_members_over_a_reload() {
    let world = World::new();
    let (alice, bob) = (world.member(1), world.member(2));
    let mut theirs = world.found(&alice, &[1, 2]);
    let ours = world.follow(&theirs, &alice).unwrap();
    let state = ours.state(&world.directory).unwrap();
    let commit = alice.add(&mut theirs, &[bob.key_package()]);

    let mut ours = Group::load(AudienceId::from_bytes([5; 16]), &state.state).unwrap();
    let done = ours.commit(&commit, device(1), &world.registry()).unwrap();

    assert_eq!(done.added, BTreeSet::from([device(2)]));
    let state = ours.state(&world.directory).unwrap();
    assert_eq!(state.epoch, theirs.epoch().as_u64());
    assert_eq!(state.tree_hash, theirs.public_group().group_context().tree_hash());
    assert_eq!(state.members, [(0, device(1)), (1, device(2))]);
    assert!(!state.removal_pending);
}

/// K8: who is not on the list is not added, whoever asks.
#[test]
fn unlisted_person_is_not_added() {
    let world = World::new();
    let (alice, carol) = (world.member(1), world.member(3));
    let mut theirs = world.found(&alice, &[1, 2]);
    let mut ours = world.follow(&theirs, &alice).unwrap();
    let commit = alice.add(&mut theirs, &[carol.key_package()]);
    assert_eq!(
        code(ours.commit(&commit, device(1), &world.registry())),
        ErrorCode::RosterRefused
    );
}

/// K5: a leaf that another device's key vouches for is refused.
#[test]
fn leaf_with_a_foreign_signature_is_not_added() {
    let world = World::new();
    let (alice, false_bob) = (world.member(1), world.member_vouched(2, 3));
    let mut theirs = world.found(&alice, &[1, 2]);
    let mut ours = world.follow(&theirs, &alice).unwrap();
    let commit = alice.add(&mut theirs, &[false_bob.key_package()]);
    assert_eq!(
        code(ours.commit(&commit, device(1), &world.registry())),
        ErrorCode::LeafInvalid
    );
    let package = false_bob.key_package_bytes();
    assert_eq!(
        code(check_key_package(&package, device(2), &world.registry())),
        ErrorCode::LeafInvalid
    );
}

/// M2: one winner per epoch.
#[test]
fn second_commit_of_an_epoch_is_refused() {
    let world = World::new();
    let (alice, bob) = (world.member(1), world.member(2));
    let mut theirs = world.found(&alice, &[1, 2]);
    let mut ours = world.follow(&theirs, &alice).unwrap();
    let commit = alice.add(&mut theirs, &[bob.key_package()]);
    ours.commit(&commit, device(1), &world.registry()).unwrap();
    assert_eq!(
        code(ours.commit(&commit, device(1), &world.registry())),
        ErrorCode::EpochMoved
    );
}

#[test]
fn commit_in_anothers_name_is_refused() {
    let world = World::new();
    let (alice, bob) = (world.member(1), world.member(2));
    let mut theirs = world.found(&alice, &[1, 2]);
    let mut ours = world.follow(&theirs, &alice).unwrap();
    let commit = alice.add(&mut theirs, &[bob.key_package()]);
    assert_eq!(
        code(ours.commit(&commit, device(2), &world.registry())),
        ErrorCode::ProofInvalid
    );
}

/// K4, K8: the gateway proposes the removal of a revoked device; a commit that leaves it in is refused, one that
/// carries the proposal out is taken.
#[test]
fn revoked_device_must_be_removed_first() {
    let mut world = World::new();
    let (alice, bob) = (world.member(1), world.member(2));
    let mut theirs = world.found(&alice, &[1, 2]);
    let mut ours = world.follow(&theirs, &alice).unwrap();
    let commit = alice.add(&mut theirs, &[bob.key_package()]);
    ours.commit(&commit, device(1), &world.registry()).unwrap();

    world.log(DirectoryEntry::DeviceRevoke {
        device: device(2),
        at_s: 2,
    });
    let proposal = ours.propose_removal(device(2), &world.gateway).unwrap().unwrap();
    let state = ours.state(&world.directory).unwrap();
    assert!(state.removal_pending);

    let bundle = theirs
        .self_update(&alice.provider, &alice.signer, LeafNodeParameters::default())
        .unwrap();
    let update = bundle.into_commit().tls_serialize_detached().unwrap();
    let mut copy = Group::load(AudienceId::from_bytes([5; 16]), &state.state).unwrap();
    assert_eq!(
        code(copy.commit(&update, device(1), &world.registry())),
        ErrorCode::RemovalPending
    );
    theirs.clear_pending_commit(alice.provider.storage()).unwrap();

    let message = MlsMessageIn::tls_deserialize_exact(&proposal)
        .unwrap()
        .try_into_protocol_message()
        .unwrap();
    let processed = theirs.process_message(&alice.provider, message).unwrap();
    let ProcessedMessageContent::ProposalMessage(queued) = processed.into_content() else {
        panic!("no proposal")
    };
    theirs
        .store_pending_proposal(alice.provider.storage(), *queued)
        .unwrap();
    let (commit, _, _) = theirs
        .commit_to_pending_proposals(&alice.provider, &alice.signer)
        .unwrap();
    let done = ours
        .commit(
            &commit.tls_serialize_detached().unwrap(),
            device(1),
            &world.registry(),
        )
        .unwrap();
    assert_eq!(done.removed, BTreeSet::from([device(2)]));
    assert!(!ours.state(&world.directory).unwrap().removal_pending);
}

/// K9: whoever makes a group is in it, and names nobody but this gateway as external sender.
#[test]
fn group_of_another_gateway_is_refused() {
    let mut world = World::new();
    let alice = world.member(1);
    let theirs = world.found(&alice, &[1]);
    world.gateway = SigningKey::from_bytes(&[8; 32]);
    assert_eq!(code(world.follow(&theirs, &alice)), ErrorCode::BadRequest);
}

#[test]
fn own_key_package_is_taken() {
    let world = World::new();
    let package = world.member(2).key_package_bytes();
    assert!(check_key_package(&package, device(2), &world.registry()).is_ok());
    assert_eq!(
        code(check_key_package(&package, device(1), &world.registry())),
        ErrorCode::LeafInvalid
    );
}
