//! Opening an outbox file so that it is what it seems (O5) and copying it once (O6): the bytes
//! that are hashed, inspected and sealed are read here, and nowhere again.
//!
//! The copy is private memory of this process: nobody else can reach it, hence nobody can change it between inspection
//! and sealing. A sealed memfd would add a second reader's view, and there is no second reader while inspection runs
//! in this process.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use zeroize::Zeroizing;

use super::quiet::Shape;
use crate::limits::OUTBOX_FILE_BYTES_MAX;

/// Why a file was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("it is not an ordinary file of yours with one name: {0}")]
    Unfit(&'static str),
    #[error("it is larger than {} MiB", OUTBOX_FILE_BYTES_MAX / 1_048_576)]
    TooLarge,
    #[error("it was changed while it was read")]
    Changed,
    #[error("it cannot be read: {0}")]
    Io(#[from] std::io::Error),
}

/// Reads `name` of the folder into memory.
///
/// # Errors
/// It is a link, a device, somebody else's, too large, or it changed while it was read.
pub(crate) fn copy_once(folder: &Path, name: &str) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    copy_up_to(folder, name, OUTBOX_FILE_BYTES_MAX)
}

/// Whether some program has `name` open for writing; false also where the system does not say (O3).
pub(crate) fn is_being_written(folder: &Path, name: &str) -> bool {
    open_beneath(folder, name).is_ok_and(|file| agent_kernel::has_writer(&file) == Some(true))
}

/// [`copy_once`] with a bound of the caller's.
///
/// # Errors
/// As [`copy_once`].
pub(crate) fn copy_up_to(folder: &Path, name: &str, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let mut file = open_beneath(folder, name)?;
    let before = file.metadata()?;
    fit(&before, bytes_max)?;
    let capacity = usize::try_from(before.len()).map_err(|_| OpenError::TooLarge)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity.saturating_add(1)));
    file.by_ref()
        .take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)?;
    let after = file.metadata()?;
    if shape(&before) != shape(&after) || bytes.len() as u64 != after.len() {
        return Err(OpenError::Changed);
    }
    Ok(bytes)
}

/// What must stay the same while a file is read, or rests.
pub(crate) fn shape(metadata: &Metadata) -> Shape {
    let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    Shape {
        inode: metadata.ino(),
        size_bytes: metadata.len(),
        modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        changed_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
    }
}

fn fit(metadata: &Metadata, bytes_max: u64) -> Result<(), OpenError> {
    if !metadata.is_file() {
        return Err(OpenError::Unfit("it is a device, pipe or socket"));
    }
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Err(OpenError::Unfit("it belongs to somebody else"));
    }
    if metadata.nlink() != 1 {
        return Err(OpenError::Unfit("it has another hard link"));
    }
    if metadata.len() > bytes_max {
        return Err(OpenError::TooLarge);
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn open_beneath(folder: &Path, name: &str) -> Result<File, OpenError> {
    use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

    let folder = open_folder(folder)?;
    let how = OpenHow::new().flags(flags() | OFlag::O_RDONLY).resolve(
        ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_MAGICLINKS
            | ResolveFlag::RESOLVE_NO_XDEV,
    );
    match openat2(&folder, name, how) {
        Ok(descriptor) => Ok(File::from(descriptor)),
        // Kernels before 5.6 and some sandboxes lack openat2: a single name below a held folder,
        // without following a link, comes to the same.
        Err(nix::errno::Errno::ENOSYS | nix::errno::Errno::EPERM) => open_single(&folder, name),
        Err(error) => Err(refused(error)),
    }
}

#[cfg(not(target_os = "linux"))]
fn open_beneath(folder: &Path, name: &str) -> Result<File, OpenError> {
    open_single(&open_folder(folder)?, name)
}

/// The folder itself, not what a link in its place leads to.
fn open_folder(folder: &Path) -> Result<File, OpenError> {
    use std::os::unix::fs::OpenOptionsExt as _;

    use nix::fcntl::OFlag;
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    Ok(std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(folder)?)
}

fn open_single(folder: &File, name: &str) -> Result<File, OpenError> {
    if name.contains('/') || name == ".." {
        return Err(OpenError::Unfit("it lies outside of the folder"));
    }
    let mode = nix::sys::stat::Mode::empty();
    nix::fcntl::openat(folder, name, flags(), mode)
        .map(File::from)
        .map_err(refused)
}

fn flags() -> nix::fcntl::OFlag {
    use nix::fcntl::OFlag;
    OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC
}

fn refused(error: nix::errno::Errno) -> OpenError {
    if error == nix::errno::Errno::ELOOP || error == nix::errno::Errno::EXDEV {
        OpenError::Unfit("it is a link")
    } else {
        OpenError::Io(error.into())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn outcome(prepare: impl FnOnce(&Path)) -> String {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        match copy_once(folder.path(), "file") {
            Ok(bytes) => format!("{} bytes", bytes.len()),
            Err(error) => error.to_string(),
        }
    }

    /// O5
    #[test]
    fn only_ordinary_files_of_ones_own_are_read() {
        assert_eq!(
            outcome(|folder| std::fs::write(folder.join("file"), b"words").unwrap()),
            "5 bytes"
        );
        assert!(outcome(|folder| symlink("/etc/passwd", folder.join("file")).unwrap()).contains("link"));
        assert!(
            outcome(|folder| std::fs::create_dir(folder.join("file")).unwrap())
                .contains("not an ordinary file")
        );
        let hard = outcome(|folder| {
            std::fs::write(folder.join("other"), b"x").unwrap();
            std::fs::hard_link(folder.join("other"), folder.join("file")).unwrap();
        });
        assert!(hard.contains("hard link"));
    }

    /// O5
    #[test]
    fn a_name_does_not_leave_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(folder.path().join("secret"), b"x").unwrap();
        assert!(copy_once(&inner, "../secret").is_err());
    }

    /// O5: a link in the folder's place leads nowhere.
    #[test]
    fn a_linked_folder_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("real")).unwrap();
        std::fs::write(folder.path().join("real/file"), b"x").unwrap();
        symlink(folder.path().join("real"), folder.path().join("link")).unwrap();
        assert!(copy_once(&folder.path().join("real"), "file").is_ok());
        assert!(copy_once(&folder.path().join("link"), "file").is_err());
    }

    /// O5
    #[test]
    fn a_socket_is_refused() {
        let said = outcome(|folder| {
            std::os::unix::net::UnixListener::bind(folder.join("file")).unwrap();
        });
        assert!(!said.ends_with("bytes"), "{said}");
    }

    /// O3: while a program has the file open for writing, it is not taken.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_with_a_writer_is_being_written() {
        let folder = tempfile::tempdir().unwrap();
        let writer = File::create(folder.path().join("file")).unwrap();
        assert!(is_being_written(folder.path(), "file"));
        drop(writer);
        assert!(!is_being_written(folder.path(), "file"));
    }

    /// O5: a pipe does not hang the reader.
    #[test]
    fn a_pipe_is_refused_at_once() {
        let said = outcome(|folder| {
            nix::unistd::mkfifo(&folder.join("file"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        });
        assert!(said.contains("pipe"), "{said}");
    }
}
