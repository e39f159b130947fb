//! Files that hold secrets: created 0600 in folders of 0700, written whole, then renamed.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use zeroize::Zeroizing;

/// Creates a folder that only its owner enters.
///
/// # Errors
/// It cannot be created, or it is a link or somebody else's.
pub(crate) fn private_folder(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    let metadata = std::fs::symlink_metadata(folder)?;
    if !metadata.is_dir() {
        bail!("`{}` must be a folder, not a link", folder.display());
    }
    // Root could set the rights of anybody's folder: it would still be theirs.
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        bail!("`{}` belongs to somebody else", folder.display());
    }
    if metadata.mode() & 0o777 == 0o700 {
        return Ok(());
    }
    std::fs::set_permissions(folder, Permissions::from_mode(0o700))
        .with_context(|| format!("cannot restrict `{}`", folder.display()))
}

/// Takes all rights of others from a file.
pub(crate) fn restrict(file: &Path) -> anyhow::Result<()> {
    std::fs::set_permissions(file, Permissions::from_mode(0o600))
        .with_context(|| format!("cannot restrict `{}`", file.display()))
}

/// Writes a secret durably: 0600, fsynced, under its name only when it is whole.
///
/// # Errors
/// Any failure of the file system; the earlier file is then still there.
pub(crate) fn write_secret(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = file.parent().context("a secret needs a folder")?;
    private_folder(folder)?;
    let partial = file.with_extension("partial");
    write_whole(&partial, bytes).with_context(|| format!("cannot write `{}`", partial.display()))?;
    std::fs::rename(&partial, file).with_context(|| format!("cannot write `{}`", file.display()))?;
    File::open(folder)?.sync_all()?;
    Ok(())
}

/// Puts a secret that is durable under the name of an earlier one, in one step, and overwrites the earlier one.
///
/// # Errors
/// Any failure of the file system; one of the two is under the name then.
pub(crate) fn replace(next: &Path, file: &Path) -> anyhow::Result<()> {
    let folder = file.parent().context("a secret needs a folder")?;
    let mut earlier = OpenOptions::new()
        .write(true)
        .open(file)
        .with_context(|| format!("cannot open `{}`", file.display()))?;
    std::fs::rename(next, file).with_context(|| format!("cannot write `{}`", file.display()))?;
    File::open(folder)?.sync_all()?;
    overwrite(&mut earlier)?;
    Ok(())
}

fn overwrite(file: &mut File) -> std::io::Result<()> {
    let length = file.metadata()?.len();
    file.write_all(&vec![0; usize::try_from(length).unwrap_or(0)])?;
    file.sync_all()
}

fn write_whole(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut out = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file)?;
    out.write_all(bytes)?;
    out.sync_all()
}

/// Writes a file, mode 0600, durably; it must not exist.
pub(crate) fn write_new(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let write = || {
        let mut out = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(file)?;
        out.write_all(bytes)?;
        out.sync_all()
    };
    write().with_context(|| format!("cannot write `{}`", file.display()))
}

/// Reads a secret; refuses one that others could read.
///
/// # Errors
/// The file is missing, or its mode lets a group or others in.
pub(crate) fn read_secret(file: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let metadata = std::fs::metadata(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    if metadata.mode() & 0o077 != 0 {
        bail!(
            "`{}` can be read by others (mode {:o}); run `chmod 600` on it",
            file.display(),
            metadata.mode() & 0o777
        );
    }
    let bytes = std::fs::read(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    Ok(Zeroizing::new(bytes))
}

/// Overwrites a secret with zeros, then removes it. What a disk keeps beneath is beyond us (K18).
pub(crate) fn destroy(file: &Path) -> std::io::Result<()> {
    overwrite(&mut OpenOptions::new().write(true).open(file)?)?;
    std::fs::remove_file(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        write_secret(&file, b"secret").unwrap();
        assert_eq!(read_secret(&file).unwrap().as_slice(), b"secret");
        std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        assert!(read_secret(&file).unwrap_err().to_string().contains("chmod 600"));
    }

    /// E4: the name holds one of the two at any time, and nothing is left of the earlier one.
    #[test]
    fn a_replaced_secret_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let (file, next, seen) = (
            folder.path().join("key"),
            folder.path().join("next"),
            folder.path().join("seen"),
        );
        write_secret(&file, b"earlier").unwrap();
        write_secret(&next, b"later").unwrap();
        std::fs::hard_link(&file, &seen).unwrap();
        replace(&next, &file).unwrap();
        assert_eq!(read_secret(&file).unwrap().as_slice(), b"later");
        assert!(!next.exists());
        assert_eq!(std::fs::read(&seen).unwrap(), [0; 7]);
    }

    #[test]
    fn a_destroyed_secret_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        write_secret(&file, b"secret").unwrap();
        destroy(&file).unwrap();
        assert!(!file.exists());
    }
}
