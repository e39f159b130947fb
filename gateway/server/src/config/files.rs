//! Private files and folders: made with the right mode, written whole, never overwritten by accident.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

/// Makes a folder with mode 0700; it must not exist.
pub(crate) fn make_folder(path: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make the folder `{}`", path.display()))
}

/// Makes a folder with mode 0700 if there is none.
pub(crate) fn ensure_folder(path: &Path) -> anyhow::Result<()> {
    if path.is_dir() { Ok(()) } else { make_folder(path) }
}

/// Writes a file with mode 0600, durably; it must not exist.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        sync_parent(path)
    };
    write().with_context(|| format!("cannot write `{}`", path.display()))
}

/// Replaces a file by rename, mode 0600, durably.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let temporary = path.with_extension("new");
    let write = || {
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
    write().with_context(|| format!("cannot write `{}`", path.display()))
}

/// Removes a file, durably.
pub(crate) fn remove(path: &Path) -> anyhow::Result<()> {
    std::fs::remove_file(path)
        .and_then(|()| sync_parent(path))
        .with_context(|| format!("cannot remove `{}`", path.display()))
}

/// Makes a name in a folder durable.
pub(crate) fn sync_parent(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Bytes of a check that tells damage, not forgery.
pub(crate) const CHECK: usize = 8;

/// The check of what is stored under a label: the first bytes of SHA-256(label || bytes).
pub(crate) fn check_of(label: &[u8], bytes: &[u8]) -> [u8; CHECK] {
    let digest = Sha256::new().chain_update(label).chain_update(bytes).finalize();
    let mut check = [0; CHECK];
    check
        .iter_mut()
        .zip(digest)
        .for_each(|(check, byte)| *check = byte);
    check
}

/// Reads a whole file.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_file_name_has_the_working_folder_as_parent() {
        sync_parent(Path::new("v1.bundle")).unwrap();
    }
}
