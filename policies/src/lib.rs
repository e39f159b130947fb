//! What is allowed: vocabulary, policy folder, decision, bundle, clearance.
//!
//! Agents and gateway both decide by this crate, so that an author's test, an agent's verdict and the gateway's check
//! cannot disagree.
//!
//! **Architecture Invariant**: pure. No file, network, clock, environment or random source; the time is an argument, a
//! shell reads the folder. It never sees content: evidence holds counts, and nothing here can be asked for a match. No
//! condition names a person. Only [`decide`] makes a permit.
//!
//! ```text
//! Folder ─► check ─► Checked ─► assemble, sign x2 ─► UnverifiedBundle ─► VerifiedBundle ─► Plan ─┐
//!                                                                                                ▼
//!                                                Evidence (agent-inspect) + Facts ─► decide ─► Verdict ─► Permit ─► (agent-seal)
//!
//!            (agent-seal) Claims ─► device key signs ─► UnverifiedClearance ─► VerifiedClearance (gateway, recipients)
//! ```
//!
//! An author writes a rule, two people sign it, an agent decides by it:
//!
//! ```
//! use std::collections::{BTreeMap, BTreeSet};
//!
//! use ed25519_dalek::SigningKey;
//! use policies::bundle::{ManifestFields, Role, Trust, UnverifiedBundle, assemble};
//! use policies::decide::{Facts, decide};
//! use policies::document::{Folder, check};
//! use policies::keys::Ed25519PublicKey;
//! use policies::plan::Plan;
//! use policies::terms::*;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let files = [
//!     ("policy.toml", r#"
//!         tenant = "acme"
//!         name = "Acme"
//!         time_zone = "Europe/Berlin"
//!         packs = ["payment-cards@1"]"#),
//!     ("dlp.toml", r#"
//!         [[rule]]
//!         id = "cards"
//!         mode = "enforce"
//!         action = "block"
//!         sentence = "Payment card numbers do not belong in a story."
//!         when = { findings = [{ family = "payment-card", confidence = "medium" }] }"#),
//!     ("sharing/model.conf", include_str!("../example/sharing/model.conf")),
//!     ("sharing/policy.csv", "p, staff, acme, internal, none, share, allow"),
//! ];
//! let files: BTreeMap<_, _> = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).into();
//! let checked = check(&Folder { files })?;
//!
//! let (author, approver) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
//! let now_s = 1_800_000_000;
//! let fields = ManifestFields {
//!     channel: "stable".into(),
//!     version: 1,
//!     min_agent: "0.1.0".into(),
//!     issued_s: now_s,
//!     expires_s: now_s + 86_400,
//!     previous: None,
//! };
//! let bytes = assemble(&checked, fields).sign(Role::Author, &author)?.sign(Role::Approver, &approver)?.to_bytes();
//!
//! let public = |key: &SigningKey| Ed25519PublicKey::from_bytes(&key.verifying_key().to_bytes());
//! let trust =
//!     Trust { tenant: TenantId::parse("acme")?, authors: vec![public(&author)?], approvers: vec![public(&approver)?] };
//! let logged_at = Some(7);
//! let plan = Plan::from_bundle(&UnverifiedBundle::parse(&bytes)?.verify(&trust, 0, now_s, logged_at)?)?;
//!
//! let facts = Facts {
//!     audience: AudienceId::from_bytes([3; 16]),
//!     audience_class: AudienceClass::Internal,
//!     audience_size: 4,
//!     app: App::parse("sealgate")?,
//!     tier: Tier::Hardware,
//!     binding: Binding::AgentSealed,
//!     groups: BTreeSet::new(),
//!     labels_added: BTreeSet::new(),
//!     now_s,
//!     offline: false,
//! };
//! let card = Finding {
//!     detector: DetectorId::parse("card-number")?,
//!     family: Family::parse("payment-card")?,
//!     confidence: Confidence::High,
//!     count: 1,
//!     distinct: 1,
//!     item: 0,
//! };
//! let evidence = Evidence {
//!     content: draft_digest(b"my draft", std::iter::empty()),
//!     items: vec![],
//!     findings: vec![card],
//!     unscannable: vec![],
//!     capabilities: Capabilities::default(),
//! };
//! let verdict = decide(&plan, &facts, &evidence);
//! assert_eq!(verdict.action(), Action::Block);
//! assert_eq!(verdict.permit().unwrap_err().to_string(), "the policy blocks this draft: change it");
//! # Ok(())
//! # }
//! ```

pub mod bundle;
pub mod cases;
pub mod cbor;
pub mod clearance;
pub mod clock;
pub mod decide;
pub mod detector;
pub mod device_list;
pub mod directory;
pub mod document;
pub mod keys;
pub mod leaf;
pub mod limits;
pub mod plan;
pub mod rejoin;
pub mod roster;
pub mod rule;
pub mod sharing;
pub mod terms;
#[cfg(test)]
mod testing;
