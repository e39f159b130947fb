//! The way of a draft: inspected, decided, sealed, posted; or held, with the reason.
//!
//! ```text
//! frame ─► draft ─► judge (inspect, decide, redact and inspect again) ─► outcome before anything leaves
//!            │ allowed                                                     └─► blocked | needs_reason | needs_acceptance
//!            ├─► preflight ─► settle membership ─► decide again ─► seal ─► persist ─► blobs, story ─► acceptance
//!            └─► the gateway cannot be reached: kept, encrypted, decided again on reconnect
//! ```
//! What an app seals by itself (`foreign`) is judged alike, and cleared over the app's bytes (A12).
//!
//! **Architecture Invariant.** Every path to the gateway goes through a `Permit`, which only the
//! decision makes; a draft that is blocked leaves nothing but its event.

pub(crate) mod answer;
pub(crate) mod draft;
pub(crate) mod facts;
pub(crate) mod false_positive;
pub(crate) mod foreign;
pub(crate) mod judge;
pub(crate) mod pending;
pub(crate) mod record;
pub(crate) mod report;
pub(crate) mod send;
pub(crate) mod share;
