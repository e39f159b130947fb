//! The contract between agent and gateway: wire types, the error table, signed receipts.
//!
//! **Architecture Invariant.** No type here has a field for content, extracted text, matched text, file
//! names, thumbnails, perceptual hashes or embeddings (R6). Nothing here reads a file, a socket or a clock.
//!
//! ```text
//! agent ── v1::* (JSON, or raw bytes for envelopes and blobs) ──► gateway
//!       ◄─ Acceptance | Refusal (COSE_Sign1, pinned acceptance key) ─┘
//!       ◄─ Problem (RFC 9457) with an ErrorCode
//! ```
//!
//! ```
//! use gateway_api::error::ErrorCode;
//! assert_eq!(ErrorCode::EpochMoved.status(), 409);
//! ```

pub mod bytes;
pub mod enrollment;
pub mod error;
pub mod receipt;
pub mod v1;
