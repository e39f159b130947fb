//! Bytes and a plan in, findings out.
//!
//! `agent-inspect` says what a draft contains, on the device, before anything is sealed. It never decides what may be
//! sent (that is `policies::decide`), and it never guesses from a name or an ending.
//!
//! **Architecture Invariant**: pure. No file, no network, no clock, no random source, no thread; same bytes, same plan
//! and same limits give the same report (K21). What cannot be read is `unscannable`, never clean. Matched text lives
//! in [`Secret`] and [`Draft`] alone, which have no serialised form and print sizes only.
//!
//! ```text
//! item ─ identify ─ extract ─┬─ segment ─ views (raw, folded, decoded ...) ─ scan ─ validate ─ context ─┐
//!                            ├─ structure (location, author) ───────────────────────────────────────── ├─ correlate ─ Report
//!                            └─ unread (encrypted, broken, too deep ...)                                │
//! all items ─ join ──────────── segment ─ views ─ scan ─ validate ─ context ───────────────────────────┘
//! ```
//!
//! ```
//! use agent_inspect::{Draft, Engine, Limits};
//! use policies::detector::{Detector, KeywordRole};
//! use policies::terms::{Confidence, DetectorId, Family, Validator};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cards = Detector {
//!     id: DetectorId::parse("card-number")?,
//!     family: Family::parse("payment-card")?,
//!     name: "Payment card number".into(),
//!     finds: "Account numbers of the card schemes.".into(),
//!     locale: vec!["*".into()],
//!     pattern: r"\b[2-6][0-9]{11,18}\b".into(),
//!     group: 0,
//!     validators: vec![Validator::Luhn, Validator::CardIssuer],
//!     keywords: vec!["card".into()],
//!     within: 300,
//!     keyword: KeywordRole::Raises,
//!     confidence: Confidence::Medium,
//!     confidence_with_keyword: Confidence::High,
//!     negative: vec![],
//!     known_test_values: vec![],
//!     min_entropy: None,
//!     stop_words: vec![],
//!     examples: vec![],
//!     counter_examples: vec![],
//!     references: vec![],
//!     pack: "cards".into(),
//! };
//! let engine = Engine::of_detectors(&[cards])?;
//!
//! // The number is in base64, and a zero-width space is in the word before it.
//! let draft = Draft::new("my ca\u{200B}rd: NDUzOTMxOTUwMzQzNjQ2Nw==".into(), vec![]);
//! let report = engine.inspect(&draft, &Limits::default());
//!
//! let found = &report.matches()[0];
//! assert_eq!(found.value.masked(), "************6467");
//! assert_eq!(found.place.sentence(), "found after decoding base64 in the text, line 1");
//! assert_eq!(report.evidence().findings[0].count, 1);
//! # Ok(())
//! # }
//! ```

mod correlate;
mod detect;
mod draft;
mod engine;
mod examples;
mod extract;
mod identify;
mod join;
mod limits;
mod place;
mod redact;
mod report;
mod scan;
mod secret;
mod views;

pub use detect::structural::{STRUCTURAL, Structural};
pub use draft::{Draft, DraftFile};
pub use engine::{Engine, EngineError};
pub use examples::{ExampleFault, Fault, examples_hold};
pub use limits::Limits;
pub use place::{Place, Transform};
pub use redact::{Change, ChangeKind, NotRedactable, Redacted, redact};
pub use report::{Located, Report, Unread};
pub use secret::Secret;
