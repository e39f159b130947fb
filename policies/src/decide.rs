//! The decision.

use crate::terms::words;

words! {
    /// How a draft was let through, as its clearance says it (sealing.md, claims).
    VerdictCode {
        /// No rule fired, or one that allows.
        Allow = "allow",
        /// A rule recorded it.
        Audit = "audit",
        /// The author confirmed a warning.
        WarnAccepted = "warn_accepted",
        /// The author gave a reason.
        Justified = "justified",
        /// What was found was removed first.
        Redacted = "redacted",
    }
}
