//! Whether anything may be written.

use std::sync::{Mutex, PoisonError};

use gateway_api::error::ErrorCode;

use super::fault::Fault;

/// The one thing that is wrong, if anything is.
#[derive(Debug, Default)]
pub(crate) struct Health {
    stopped: Mutex<Option<String>>,
    /// Restored from a backup, or put back by other means, and not confirmed.
    held: Mutex<Option<String>>,
    /// Bytes that are left, when they are too few.
    low_space: Mutex<Option<u64>>,
    /// How a test lets commits of the database fail.
    #[cfg(test)]
    pub(crate) broken_database: Mutex<Option<std::io::ErrorKind>>,
}

impl Health {
    /// A durable write failed: nothing more is written until a restart has recovered (L5).
    pub(crate) fn stop(&self, what: &str, error: &anyhow::Error) -> Fault {
        tracing::error!(error = format!("{error:#}"), "{what}");
        self.set_stopped(what);
        Fault::new(ErrorCode::StorageFailed, what)
    }

    /// A statement failed. One that the disk let down ends all writing: SQLite may think that pages are on disk which are
    /// not (L5). A full disk does not: the change was rolled back, whole.
    pub(crate) fn note(&self, error: &sqlx::Error) {
        if is_of_the_disk(error) {
            tracing::error!(%error, "the database cannot be written");
            self.set_stopped("the database cannot be written");
        }
    }

    /// Nothing is written to the logs until [`Self::release`].
    pub(crate) fn hold(&self, why: String) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    pub(crate) fn release(&self) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn held(&self) -> Option<String> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn check_writable(&self) -> Result<(), Fault> {
        if let Some(what) = self.stopped() {
            return Err(Fault::new(ErrorCode::StorageFailed, what));
        }
        match self.held() {
            Some(why) => Err(Fault::new(ErrorCode::RestoreUnconfirmed, why)),
            None => Ok(()),
        }
    }

    /// Whether there is room for anything new (L5).
    pub(crate) fn check_room(&self) -> Result<(), Fault> {
        match self.low_space() {
            Some(_) => Err(Fault::new(
                ErrorCode::StorageFailed,
                "the gateway's disk is nearly full",
            )),
            None => Ok(()),
        }
    }

    /// Bytes that are left, when they are too few.
    pub(crate) fn low_space(&self) -> Option<u64> {
        *self.low_space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_low_space(&self, free_bytes: Option<u64>) {
        *self.low_space.lock().unwrap_or_else(PoisonError::into_inner) = free_bytes;
    }

    pub(crate) fn stopped(&self) -> Option<String> {
        self.stopped
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set_stopped(&self, what: &str) {
        self.stopped
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(|| what.to_owned());
    }
}

/// Input and output errors, a disk that became read-only, a file that is no database any more.
fn is_of_the_disk(error: &sqlx::Error) -> bool {
    // Primary result codes of SQLite: READONLY, IOERR, CORRUPT, CANTOPEN, NOTADB.
    const OF_THE_DISK: [u32; 5] = [8, 10, 11, 14, 26];
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .and_then(|code| code.parse::<u32>().ok());
    matches!(error, sqlx::Error::Io(_)) || code.is_some_and(|code| OF_THE_DISK.contains(&(code & 0xff)))
}
