//! Keys in, envelopes out: MLS, media, franking, the encrypted state store.
//!
//! An audience is an MLS group of devices (RFC 9420). A draft that the policy let through is sealed to it, cleared
//! with the device key, and opened by recipients that check everything before they show anything.
//!
//! ```text
//! Permit ──┐
//! draft ───┴─► seal ─► Sealed ─► clear ─► Cleared ─► envelope, clearance, blobs ──► gateway ─┐
//!                ▲                                                                            │
//!              Member ◄── commits, welcomes, proposals (process, join) ◄──────────────────────┤
//!                ▼                                                                            │
//! OpenedStory ◄─ open_story ◄── envelope, clearance, acceptance ◄─────────────────────────────┘
//! ```
//!
//! **Architecture Invariant:** this crate has no file, socket, clock or thread. Time and randomness are arguments,
//! except that openmls draws its own randomness and compares lifetimes of key packages with the system clock (K11).
//! It decides nothing about content: without a `policies::decide::Permit` for these very bytes it seals nothing (K1).
//! It holds no history: a past epoch cannot be read again.
//!
//! # Alice and Bob
//!
//! ```
//! use agent_seal::*;
//! use policies::directory::{Directory, DirectoryEntry};
//! use policies::keys::Ed25519PublicKey;
//! use policies::roster::Roster;
//! use policies::terms::*;
//! # use std::time::{SystemTime, UNIX_EPOCH};
//! # mod policy { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/policy.rs")); }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut rng = rand::rng();
//! let tenant = TenantId::parse("acme")?;
//! let (alice, bob) = (PersonId::from_bytes([1; 16]), PersonId::from_bytes([2; 16]));
//! # let now_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
//! # let mut gateway = [0x66; 32];
//! # gateway[0] = 0x58;
//! let gateway = Ed25519PublicKey::from_bytes(&gateway)?; // pinned by the enrollment file
//!
//! // Two devices, each with a device key, both in the directory log.
//! let alice_key = FileDeviceKey::generate(DeviceId::from_bytes([0xA1; 16]), &mut rng)?;
//! let bob_key = FileDeviceKey::generate(DeviceId::from_bytes([0xB0; 16]), &mut rng)?;
//! let mut directory = Directory::new();
//! for (key, person) in [(&alice_key, alice), (&bob_key, bob)] {
//!     let entry = DirectoryEntry::DeviceAdd {
//!         device: key.device(),
//!         person,
//!         key: key.public_key().to_sec1(),
//!         class: AudienceClass::Internal,
//!         at_s: now_s,
//!     };
//!     directory.apply(directory.size(), &entry)?;
//! }
//! let mut alices = Member::create(tenant.clone(), gateway.clone(), &alice_key, &mut rng)?;
//! let mut bobs = Member::create(tenant, gateway, &bob_key, &mut rng)?;
//!
//! // Alice makes an audience of both and adds Bob's device, which joins.
//! let audience = AudienceId::from_bytes([7; 16]);
//! let roster = Roster { owners: [alice].into(), persons: [alice, bob].into() };
//! alices.create_audience(audience, &roster, &directory)?;
//! let add = bobs.key_packages(1, now_s)?;
//! let change = MembershipChange { add, ..MembershipChange::default() };
//! let staged = alices.stage_membership(audience, &change, &directory, now_s)?;
//! alices.merge_staged(audience)?; // the gateway took it as the epoch's winner
//! let welcome = staged.welcome.ok_or("nobody was added")?;
//! let joined = bobs.join(&welcome, &staged.ratchet_tree, &directory)?;
//! assert_eq!(joined.members, [alice_key.device(), bob_key.device()]);
//!
//! // A draft that the policy lets through becomes a permit, a sealed story, a cleared one.
//! let (text, file) = ("see you at eight", b"the address".as_slice());
//! # let plan = policy::plan(directory.size(), now_s);
//! # let (version, digest) = (plan.policy().version, plan.policy().digest);
//! # directory.apply(directory.size(), &DirectoryEntry::PolicyBundle { version, digest, at_s: now_s })?;
//! let permit = policy::permit(&plan, audience, text, &[file]); // inspected, decided, allowed
//! let draft = DraftParts { text, files: vec![DraftFile { name: "where.txt", kind: ItemKind::Text, bytes: file }] };
//! let composition = Composition { audience_name: "dinner".to_owned(), created_s: now_s, ttl_s: 3_600 };
//! let sealed = seal(&mut alices, permit, &draft, composition, &directory, &mut rng)?;
//! # let compliance = CompliancePublicKey::from_bytes(&[9; 32])?;
//! let clearing = Clearing {
//!     now_s,
//!     app: App::parse("sealgate")?,
//!     compliance: &compliance,
//!     findings: &[],
//!     agent_build: Digest::of(b"agent"),
//!     agent_version: "0.1.0".to_owned(),
//! };
//! let cleared = clear(sealed, &alice_key, clearing, &mut rng)?;
//!
//! // State first, bytes second: every change is encrypted and written before the envelope leaves.
//! let cipher = RecordCipher::new(&[0x57; 32])?;
//! for change in alices.take_changes() {
//!     if let Some(value) = &change.value {
//!         let _record = cipher.seal(&change.key, value, &mut rng)?;
//!     }
//! }
//!
//! // Bob's device checks clearance and acceptance, decrypts, and opens the file.
//! let acceptance = AcceptanceFacts {
//!     cti: cleared.cti(),
//!     env: Digest::of(cleared.envelope()),
//!     clearance: Digest::of(cleared.clearance()),
//!     group: audience,
//!     at_s: now_s,
//!     expires_s: now_s + 3_600,
//! };
//! let delivery =
//!     Delivery { envelope: cleared.envelope(), clearance: cleared.clearance(), acceptance: &acceptance };
//! let story = open_story(&mut bobs, &delivery, &directory, now_s)?;
//! assert_eq!(story.manifest().text(), text);
//! let key = story.manifest().file_key(0).ok_or("no file")?;
//! let blob = cleared.blobs().first().ok_or("no blob")?;
//! assert_eq!(open_blob(&key, &blob.bytes)?.as_slice(), file);
//! # Ok(())
//! # }
//! ```

mod cbor;
mod compliance;
mod device;
pub mod frank;
mod identity;
pub mod limits;
pub mod media;
mod member;
pub mod sealed_store;
mod story;

pub use compliance::{
    ComplianceError, CompliancePublicKey, INFO as COMPLIANCE_INFO, seal_false_positive, seal_report,
};
pub use device::{DeviceSigner, FileDeviceKey, SIGNATURE_BYTES, SignerError};
pub use identity::{GATEWAY_SENDER, LeafRefused, SUITE_ID};
pub use media::MediaError;
pub use member::{
    AudienceState, CommitRefused, Created, JoinError, Joined, Member, MemberError, MembershipChange,
    ProcessError, Processed, REJOIN_EXTENSION, ROSTER_EXTENSION, RecordChange, RejoinError, Rejoined,
    StageError, StagedCommit,
};
pub use sealed_store::{RecordCipher, RecordError};
pub use story::{
    AcceptanceFacts, AssertError, Asserted, ClearError, Cleared, ClearedAsserted, Clearing, Composition,
    Delivery, DraftFile, DraftParts, FileEntry, FileKey, ForeignStory, Manifest, ManifestError, OpenError,
    OpenedStory, PROTOCOL, Protocol, SealError, Sealed, SealedBlob, clear, clear_asserted, open_blob,
    open_foreign, open_story, seal, verified_list,
};

#[cfg(test)]
mod tests;
