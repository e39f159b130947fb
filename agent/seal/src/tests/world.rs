//! A tenant in memory: the log, the gateway's Ed25519 key, and devices that exchange bytes.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use openmls::prelude::tls_codec::{Deserialize as _, Serialize as _};
use openmls::prelude::{
    Extension, Extensions, ExternalProposal, GroupEpoch, LeafNodeIndex, MlsMessageBodyIn, MlsMessageIn,
    OpenMlsProvider as _, ProtocolVersion, SenderExtensionIndex, SignatureScheme, UnknownExtension,
};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use policies::directory::{Directory, DirectoryEntry};
use policies::keys::Ed25519PublicKey;
use policies::plan::Plan;
use policies::roster::Roster;
use policies::terms::{App, AudienceClass, AudienceId, DeviceId, Digest, PersonId, TenantId};
use zeroize::Zeroizing;

use super::policy;
use crate::member::group_id;
use crate::{
    Clearing, CompliancePublicKey, DeviceSigner as _, FileDeviceKey, Joined, Member, MembershipChange,
    Processed, ROSTER_EXTENSION, RecordCipher, StagedCommit,
};

pub(crate) const AUDIENCE: AudienceId = AudienceId::from_bytes([0xA0; 16]);

/// The log as everybody reads it, and the gateway's key.
pub(crate) struct World {
    pub(crate) directory: Directory,
    pub(crate) entries: u64,
    gateway: SignatureKeyPair,
}

/// A device: its key, its state, and the state's records on an imagined disk.
pub(crate) struct Device {
    pub(crate) key: FileDeviceKey,
    pub(crate) member: Member,
    pub(crate) person: PersonId,
    disk: BTreeMap<Vec<u8>, Vec<u8>>,
}

pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

pub(crate) fn person(number: u8) -> PersonId {
    PersonId::from_bytes([number; 16])
}

pub(crate) fn roster(owners: &[u8], others: &[u8]) -> Roster {
    Roster {
        owners: owners.iter().map(|number| person(*number)).collect(),
        persons: owners
            .iter()
            .chain(others)
            .map(|number| person(*number))
            .collect(),
    }
}

pub(crate) fn clearing(compliance: &CompliancePublicKey) -> Clearing<'_> {
    Clearing {
        now_s: now_s(),
        app: App::parse("sealgate").unwrap(),
        compliance,
        findings: &[],
        agent_build: Digest::of(b"agent"),
        agent_version: "0.1.0".to_owned(),
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let seed = [0x6A; 32];
        let public = aws_lc_rs::signature::Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let public = aws_lc_rs::signature::KeyPair::public_key(&public)
            .as_ref()
            .to_vec();
        Self {
            directory: Directory::new(),
            entries: 0,
            gateway: SignatureKeyPair::from_raw(SignatureScheme::ED25519, seed.to_vec(), public),
        }
    }

    pub(crate) fn gateway_key(&self) -> Ed25519PublicKey {
        Ed25519PublicKey::from_bytes(self.gateway.public().try_into().unwrap()).unwrap()
    }

    /// A device of `person` that nobody logged.
    pub(crate) fn unlogged(&self, device: u8, owner: u8) -> Device {
        let key = FileDeviceKey::generate(DeviceId::from_bytes([device; 16]), &mut rand::rng()).unwrap();
        let member = Member::create(tenant(), self.gateway_key(), &key, &mut rand::rng()).unwrap();
        Device {
            key,
            member,
            person: person(owner),
            disk: BTreeMap::new(),
        }
    }

    /// A logged device of `person`.
    pub(crate) fn device(&mut self, device: u8, owner: u8) -> Device {
        let made = self.unlogged(device, owner);
        self.add(&made, made.person);
        made
    }

    pub(crate) fn add(&mut self, device: &Device, person: PersonId) {
        self.log(&DirectoryEntry::DeviceAdd {
            device: device.key.device(),
            person,
            key: device.key.public_key().to_sec1(),
            class: AudienceClass::Internal,
            at_s: now_s(),
        });
    }

    pub(crate) fn revoke(&mut self, device: &Device) {
        self.log(&DirectoryEntry::DeviceRevoke {
            device: device.key.device(),
            at_s: now_s(),
        });
    }

    pub(crate) fn log(&mut self, entry: &DirectoryEntry) {
        self.directory.apply(self.entries, entry).unwrap();
        self.entries += 1;
    }

    /// A logged policy that lets everything through.
    pub(crate) fn policy(&mut self) -> Plan {
        let index = self.entries;
        let plan = policy::plan(index, now_s());
        let reference = plan.policy();
        self.log(&DirectoryEntry::PolicyBundle {
            version: reference.version,
            digest: reference.digest,
            at_s: now_s(),
        });
        plan
    }

    /// The gateway's own proposal to remove the leaf at `index`.
    pub(crate) fn external_remove(&self, epoch: u64, index: u32) -> Vec<u8> {
        ExternalProposal::new_remove::<OpenMlsRustCrypto>(
            LeafNodeIndex::new(index),
            group_id(AUDIENCE),
            GroupEpoch::from(epoch),
            &self.gateway,
            SenderExtensionIndex::new(0),
        )
        .unwrap()
        .tls_serialize_detached()
        .unwrap()
    }

    /// What the gateway must not propose: an Add of whom it likes.
    pub(crate) fn external_add(&self, key_package: &[u8]) -> Vec<u8> {
        let provider = OpenMlsRustCrypto::default();
        let message = MlsMessageIn::tls_deserialize_exact(key_package).unwrap();
        let MlsMessageBodyIn::KeyPackage(key_package) = message.extract() else {
            panic!("no key package");
        };
        ExternalProposal::new_add::<OpenMlsRustCrypto>(
            key_package
                .validate(provider.crypto(), ProtocolVersion::Mls10)
                .unwrap(),
            group_id(AUDIENCE),
            GroupEpoch::from(1),
            &self.gateway,
            SenderExtensionIndex::new(0),
        )
        .unwrap()
        .tls_serialize_detached()
        .unwrap()
    }

    /// What the gateway must not propose: a roster of its own.
    pub(crate) fn external_roster(&self, roster: &Roster) -> Vec<u8> {
        ExternalProposal::new_group_context_extensions::<OpenMlsRustCrypto>(
            Extensions::single(Extension::Unknown(
                ROSTER_EXTENSION,
                UnknownExtension(roster.encode()),
            ))
            .unwrap(),
            group_id(AUDIENCE),
            GroupEpoch::from(1),
            &self.gateway,
            SenderExtensionIndex::new(0),
        )
        .unwrap()
        .tls_serialize_detached()
        .unwrap()
    }

    /// Alice's audience with Bob in it, both in epoch 1.
    pub(crate) fn alice_and_bob(&mut self) -> (Device, Device) {
        let mut alice = self.device(1, 1);
        let mut bob = self.device(2, 2);
        alice
            .member
            .create_audience(AUDIENCE, &roster(&[1], &[2]), &self.directory)
            .unwrap();
        self.join(&mut alice, &mut bob, None);
        (alice, bob)
    }

    /// `by` adds `joiner`, who joins.
    pub(crate) fn join(
        &self,
        by: &mut Device,
        joiner: &mut Device,
        roster: Option<Roster>,
    ) -> (StagedCommit, Joined) {
        let add = joiner.member.key_packages(1, now_s()).unwrap();
        let change = MembershipChange {
            add,
            remove: Vec::new(),
            roster,
        };
        let staged = by
            .member
            .stage_membership(AUDIENCE, &change, &self.directory, now_s())
            .unwrap();
        by.member.merge_staged(AUDIENCE).unwrap();
        let joined = joiner
            .member
            .join(
                staged.welcome.as_ref().unwrap(),
                &staged.ratchet_tree,
                &self.directory,
            )
            .unwrap();
        (staged, joined)
    }

    pub(crate) fn process(&self, device: &mut Device, message: &[u8]) -> Processed {
        device.member.process(AUDIENCE, message, &self.directory).unwrap()
    }
}

impl Device {
    pub(crate) fn id(&self) -> DeviceId {
        self.key.device()
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.member.audience_state(AUDIENCE).unwrap().epoch
    }

    /// Writes the changes to the disk, encrypted.
    pub(crate) fn persist(&mut self) {
        let cipher = RecordCipher::new(&[0x57; 32]).unwrap();
        for change in self.member.take_changes() {
            match change.value {
                Some(value) => {
                    let record = cipher.seal(&change.key, &value, &mut rand::rng()).unwrap();
                    self.disk.insert(change.key, record);
                }
                None => {
                    self.disk.remove(&change.key);
                }
            }
        }
    }

    /// Forgets everything in memory and reads the disk.
    pub(crate) fn restart(&mut self) {
        let cipher = RecordCipher::new(&[0x57; 32]).unwrap();
        let records = self
            .disk
            .iter()
            .map(|(key, record)| (key.clone(), cipher.open(key, record).unwrap()))
            .collect::<BTreeMap<Vec<u8>, Zeroizing<Vec<u8>>>>();
        self.member = Member::load(records).unwrap();
    }

    /// As after the loss of everything but the device key and the leaf key.
    pub(crate) fn lose_state(&mut self, gateway: Ed25519PublicKey) {
        let leaf_key = self.member.leaf_key().unwrap();
        self.member = Member::create_with_leaf_key(tenant(), gateway, &self.key, &leaf_key).unwrap();
        self.disk.clear();
    }

    pub(crate) fn records(&self) -> usize {
        self.disk.len()
    }
}
