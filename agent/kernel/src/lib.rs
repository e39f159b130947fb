//! Questions to the kernel that no safe library asks.
//!
//! **Architecture Invariant.** The one crate of the workspace that may hold `unsafe`: system calls only, on
//! descriptors that the caller owns, each block with its reason. It reads no content and keeps nothing.
//!
//! ```
//! # fn main() -> std::io::Result<()> {
//! let file = std::fs::File::open("Cargo.toml")?;
//! assert_ne!(agent_kernel::has_writer(&file), Some(true));
//! # Ok(())
//! # }
//! ```

use std::fs::File;

/// Whether some process has the file open for writing, or mapped so; the file must be open for reading alone.
///
/// None where the kernel does not say: no Linux, a file system without leases, or another user's file. A read lease
/// (fcntl(2), `F_SETLEASE`) is given only while nobody writes; it is handed back at once.
#[must_use]
pub fn has_writer(file: &File) -> Option<bool> {
    ask(file)
}

/// linux/fcntl.h; libc does not list it.
#[cfg(target_os = "linux")]
const F_SETSIG: libc::c_int = 10;

#[cfg(target_os = "linux")]
fn ask(file: &File) -> Option<bool> {
    // Whoever opens the file for writing in the instant of the lease makes the kernel signal us. The default signal,
    // SIGIO, would end the process; SIGURG is ignored by default.
    control(file, F_SETSIG, libc::SIGURG).ok()?;
    match control(file, libc::F_SETLEASE, libc::F_RDLCK) {
        Ok(()) => {
            control(file, libc::F_SETLEASE, libc::F_UNLCK).ok()?;
            Some(false)
        }
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Some(true),
        Err(_) => None,
    }
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "fcntl(2) with these commands has no safe wrapper")]
fn control(file: &File, command: libc::c_int, argument: libc::c_int) -> std::io::Result<()> {
    use std::os::fd::AsRawFd as _;
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and the commands used take an int and touch
    // no memory of ours.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
    if result == -1 {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
fn ask(_file: &File) -> Option<bool> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    /// O3: a file that is open for writing has a writer, until it is closed; a reader is none.
    #[test]
    fn a_writer_is_seen_until_it_closes_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("draft");
        std::fs::write(&path, b"words").unwrap();
        let reading = File::open(&path).unwrap();
        let _another = File::open(&path).unwrap();
        assert_eq!(has_writer(&reading), Some(false));
        let writing = OpenOptions::new().append(true).open(&path).unwrap();
        assert_eq!(has_writer(&reading), Some(true));
        drop(writing);
        assert_eq!(has_writer(&reading), Some(false));
    }

    /// The lease is handed back: whoever writes next does not wait.
    #[test]
    fn the_question_leaves_no_lease() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("draft");
        std::fs::write(&path, b"words").unwrap();
        let reading = File::open(&path).unwrap();
        assert_eq!(has_writer(&reading), Some(false));
        std::fs::write(&path, b"other words").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"other words");
    }
}
