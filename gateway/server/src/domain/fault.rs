//! Why something was not done: a code of the one table, and this occurrence in words.

use gateway_api::error::ErrorCode;

/// An operation's failure, on its way to a problem document. Its detail never holds content, names or
/// addresses.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub(crate) struct Fault {
    pub(crate) code: ErrorCode,
    pub(crate) detail: String,
}

impl Fault {
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
        }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadRequest, detail)
    }

    pub(crate) fn not_found() -> Self {
        Self::new(ErrorCode::NotFound, "nothing here for this device")
    }
}

/// A failed statement: the operator sees the kind in the log, the caller sees only that nothing was done.
impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        tracing::error!(%error, "the database failed");
        Self::new(
            ErrorCode::StorageFailed,
            "the database did not carry out the change",
        )
    }
}

impl From<anyhow::Error> for Fault {
    fn from(error: anyhow::Error) -> Self {
        tracing::error!(error = format!("{error:#}"), "an operation failed");
        Self::new(ErrorCode::Internal, "the operation failed")
    }
}
