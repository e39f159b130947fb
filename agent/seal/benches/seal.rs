//! What sealing and clearing a 4 KB story costs for 10 and 100 devices, against the sum of its primitives: one
//! MLS encryption of as many bytes in a group of that size, and one ES256 signature.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench reads clocks, prints its ratio and stops at the first failure"
)]

#[path = "../src/tests/policy.rs"]
mod policy;

use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agent_seal::{
    Clearing, CompliancePublicKey, Composition, DeviceSigner as _, DraftParts, FileDeviceKey, Member,
    MembershipChange, clear, seal,
};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use openmls::prelude::{
    BasicCredential, Ciphersuite, CredentialWithKey, KeyPackage, MlsGroup, MlsGroupCreateConfig,
    SignatureScheme,
};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use policies::decide::Permit;
use policies::directory::{Directory, DirectoryEntry};
use policies::keys::Ed25519PublicKey;
use policies::plan::Plan;
use policies::roster::Roster;
use policies::terms::{App, AudienceClass, AudienceId, DeviceId, Digest, PersonId, TenantId};

const AUDIENCE: AudienceId = AudienceId::from_bytes([0xA0; 16]);
const PERSON: PersonId = PersonId::from_bytes([1; 16]);
const STORY_BYTES: usize = 4_096;
const RATIO_ROUNDS: u32 = 200;

struct Author {
    key: FileDeviceKey,
    member: Member,
    directory: Directory,
    compliance: CompliancePublicKey,
    text: String,
}

struct Primitives {
    provider: OpenMlsRustCrypto,
    leaf: SignatureKeyPair,
    group: MlsGroup,
    key: FileDeviceKey,
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn device_id(number: usize) -> DeviceId {
    DeviceId::from_bytes((number as u128).to_be_bytes())
}

impl Author {
    fn with_audience_of(devices: usize, plan: &Plan) -> Self {
        let mut directory = Directory::new();
        let reference = plan.policy();
        let bundle = DirectoryEntry::PolicyBundle {
            version: reference.version,
            digest: reference.digest,
            at_s: now_s(),
        };
        directory.apply(0, &bundle).unwrap();
        let mut made: Vec<(FileDeviceKey, Member)> = (0..devices)
            .map(|number| device(number, &mut directory))
            .collect();
        let packages = made
            .iter_mut()
            .skip(1)
            .map(|(_, member)| member.key_packages(1, now_s()).unwrap().remove(0));
        let change = MembershipChange {
            add: packages.collect(),
            ..MembershipChange::default()
        };
        let (key, mut member) = made.swap_remove(0);
        let roster = Roster {
            owners: [PERSON].into(),
            persons: [PERSON].into(),
        };
        member.create_audience(AUDIENCE, &roster, &directory).unwrap();
        member
            .stage_membership(AUDIENCE, &change, &directory, now_s())
            .unwrap();
        member.merge_staged(AUDIENCE).unwrap();
        let compliance = CompliancePublicKey::from_bytes(&[9; 32]).unwrap();
        Self {
            key,
            member,
            directory,
            compliance,
            text: "a".repeat(STORY_BYTES),
        }
    }

    fn seal(&mut self, permit: Permit) {
        let draft = DraftParts {
            text: &self.text,
            files: Vec::new(),
        };
        let composition = Composition {
            audience_name: "board".to_owned(),
            created_s: now_s(),
            ttl_s: 3_600,
        };
        let sealed = seal(
            &mut self.member,
            permit,
            &draft,
            composition,
            &self.directory,
            &mut rand::rng(),
        )
        .unwrap();
        let clearing = Clearing {
            now_s: now_s(),
            app: App::parse("sealgate").unwrap(),
            compliance: &self.compliance,
            findings: &[],
            agent_build: Digest::of(b"agent"),
            agent_version: "0.1.0".to_owned(),
        };
        black_box(clear(sealed, &self.key, clearing, &mut rand::rng()).unwrap());
    }
}

impl Primitives {
    fn in_group_of(devices: usize) -> Self {
        let suite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;
        let provider = OpenMlsRustCrypto::default();
        let leaf = || {
            let leaf = SignatureKeyPair::new(SignatureScheme::ED25519).unwrap();
            let credential = CredentialWithKey {
                credential: BasicCredential::new(b"leaf".to_vec()).into(),
                signature_key: leaf.to_public_vec().into(),
            };
            (leaf, credential)
        };
        let (own, credential) = leaf();
        let config = MlsGroupCreateConfig::builder()
            .ciphersuite(suite)
            .max_past_epochs(0)
            .build();
        let mut group = MlsGroup::new(&provider, &own, &config, credential).unwrap();
        let others = OpenMlsRustCrypto::default();
        let packages: Vec<KeyPackage> = (1..devices)
            .map(|_| {
                let (leaf, credential) = leaf();
                KeyPackage::builder()
                    .build(suite, &others, &leaf, credential)
                    .unwrap()
                    .key_package()
                    .clone()
            })
            .collect();
        group.add_members(&provider, &own, &packages).unwrap();
        group.merge_pending_commit(&provider).unwrap();
        let key = FileDeviceKey::generate(device_id(0), &mut rand::rng()).unwrap();
        Self {
            provider,
            leaf: own,
            group,
            key,
        }
    }

    fn run(&mut self) {
        let plaintext = [7; STORY_BYTES];
        black_box(
            self.group
                .create_message(&self.provider, &self.leaf, &plaintext)
                .unwrap(),
        );
        black_box(self.key.sign(&[7; 900]).unwrap());
    }
}

fn permit(plan: &Plan) -> Permit {
    policy::permit(plan, AUDIENCE, &"a".repeat(STORY_BYTES), &[])
}

fn device(number: usize, directory: &mut Directory) -> (FileDeviceKey, Member) {
    let key = FileDeviceKey::generate(device_id(number), &mut rand::rng()).unwrap();
    // The Ed25519 base point: a key whose private half nobody needs here.
    let mut gateway = [0x66; 32];
    gateway[0] = 0x58;
    let gateway = Ed25519PublicKey::from_bytes(&gateway).unwrap();
    let entry = DirectoryEntry::DeviceAdd {
        device: key.device(),
        person: PERSON,
        key: key.public_key().to_sec1(),
        class: AudienceClass::Internal,
        at_s: now_s(),
    };
    directory.apply(directory.size(), &entry).unwrap();
    let tenant = TenantId::parse("acme").unwrap();
    let member = Member::create(tenant, gateway, &key, &mut rand::rng()).unwrap();
    (key, member)
}

fn ratio(plan: &Plan, author: &mut Author, primitives: &mut Primitives) -> f64 {
    let (mut whole, mut parts) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..RATIO_ROUNDS {
        let permit = permit(plan);
        let start = Instant::now();
        author.seal(permit);
        whole += start.elapsed();
        let start = Instant::now();
        primitives.run();
        parts += start.elapsed();
    }
    whole.as_secs_f64() / parts.as_secs_f64()
}

fn sealing(criterion: &mut Criterion) {
    for devices in [10, 100] {
        let plan = policy::plan(0, now_s());
        let mut author = Author::with_audience_of(devices, &plan);
        let mut primitives = Primitives::in_group_of(devices);
        println!(
            "seal/{devices}: {:.2} x the sum of its primitives",
            ratio(&plan, &mut author, &mut primitives)
        );
        let mut group = criterion.benchmark_group(format!("seal/{devices}"));
        group.bench_function("seal_and_clear", |bencher| {
            bencher.iter_batched(
                || permit(&plan),
                |permit| author.seal(permit),
                BatchSize::SmallInput,
            );
        });
        group.bench_function("primitives", |bencher| bencher.iter(|| primitives.run()));
        group.finish();
    }
}

criterion_group!(benches, sealing);
criterion_main!(benches);
