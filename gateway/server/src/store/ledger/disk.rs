//! Files that are whole or not there, and durable before anyone hears of them.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::LedgerError;

pub(super) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> LedgerError {
    move |error| LedgerError::Io {
        path: path.to_owned(),
        error,
    }
}

/// Makes a folder and those above it, mode 0700.
pub(super) fn ensure_folder(path: &Path) -> Result<(), LedgerError> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io_error(path))?;
    sync_parent(path).map_err(io_error(path))
}

/// Locks a file for this process; `None` if another one holds it.
pub(super) fn lock(path: &Path) -> Result<Option<File>, LedgerError> {
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(io_error(path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(io_error(path)(error)),
    }
}

pub(super) fn read_if_exists(path: &Path) -> Result<Option<Vec<u8>>, LedgerError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(path)(error)),
    }
}

/// Writes a file, mode 0600, by a temporary one and a rename: readers see the old or the new one, whole.
pub(super) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), LedgerError> {
    let write = || {
        let temporary = path.with_added_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        sync_parent(path)
    };
    write().map_err(io_error(path))
}

/// Makes a name in a folder durable.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

/// Removes a file or a folder, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), LedgerError> {
    let removed = if path.is_dir() {
        std::fs::remove_dir_all(path)
    } else {
        std::fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
