//! Which program a peer runs (A10): the file behind `/proc/PID/exe`, by its SHA-256.
//!
//! It is the program of the process that connected, at the time of the question. A process that was
//! traced, or that runs other programs' code (an interpreter), is not told apart by it: it is a
//! second lock beside the credential, not the only one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, bail};
use policies::terms::Digest;

use super::peer::Peer;
use crate::limits::{PROGRAM_BYTES_MAX, PROGRAMS_REMEMBERED_MAX};

/// A program file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    pub path: PathBuf,
    pub digest: Digest,
}

/// Digests of program files that were read, so that an app's every request does not read its file again.
#[derive(Debug, Default)]
pub(crate) struct Programs {
    known: Mutex<BTreeMap<Identity, Digest>>,
}

/// The same file, unchanged: device, inode, size, modified and changed times.
type Identity = (u64, u64, u64, (i64, i64), (i64, i64));

impl Programs {
    /// The program at a path.
    ///
    /// # Errors
    /// It is no ordinary file, too large, or cannot be read.
    pub(crate) fn at(&self, path: &Path) -> anyhow::Result<Program> {
        let file = File::open(path).context("the program cannot be read")?;
        Ok(Program {
            path: path.to_owned(),
            digest: self.digest(file)?,
        })
    }

    /// The program that the peer runs.
    ///
    /// # Errors
    /// The system does not say, or the process is gone.
    #[cfg(target_os = "linux")]
    pub(crate) fn of(&self, peer: &Peer) -> anyhow::Result<Program> {
        let pid = peer.pid.context("the system does not say which process asks")?;
        let link = PathBuf::from(format!("/proc/{pid}/exe"));
        let path = std::fs::read_link(&link).context("the program of the process that asks is hidden")?;
        let file = File::open(&link).context("the program of the process that asks cannot be read")?;
        let digest = self.digest(file)?;
        // The number stood for this process all the while: it cannot have been given to another one
        // while the first still lives.
        if peer.pidfd.as_ref().is_some_and(|pidfd| has_ended(pidfd)) {
            bail!("the process that asks has ended");
        }
        Ok(Program { path, digest })
    }

    /// Without `/proc` the program of a process is not known.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn of(&self, _peer: &Peer) -> anyhow::Result<Program> {
        bail!("this system does not say which program asks; apps cannot be told apart here")
    }

    fn digest(&self, file: File) -> anyhow::Result<Digest> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            bail!("the program is no ordinary file");
        }
        let identity = (
            metadata.dev(),
            metadata.ino(),
            metadata.len(),
            (metadata.mtime(), metadata.mtime_nsec()),
            (metadata.ctime(), metadata.ctime_nsec()),
        );
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(digest) = known.get(&identity) {
            return Ok(*digest);
        }
        let digest = read_digest(file)?;
        if known.len() >= PROGRAMS_REMEMBERED_MAX {
            known.pop_first();
        }
        known.insert(identity, digest);
        Ok(digest)
    }
}

fn read_digest(file: File) -> anyhow::Result<Digest> {
    let mut bytes = Vec::new();
    let read = file
        .take(PROGRAM_BYTES_MAX.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if read as u64 > PROGRAM_BYTES_MAX {
        bail!("the program is larger than {} MiB", PROGRAM_BYTES_MAX / 1_048_576);
    }
    Ok(Digest::of(&bytes))
}

#[cfg(target_os = "linux")]
fn has_ended(pidfd: &std::os::fd::OwnedFd) -> bool {
    use std::os::fd::AsFd as _;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    // A pidfd becomes readable when its process ends (pidfd_open(2)).
    let mut asked = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    poll(&mut asked, PollTimeout::ZERO) != Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A10: a changed program file is another program.
    #[test]
    fn a_changed_program_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let (programs, path) = (Programs::default(), folder.path().join("app"));
        std::fs::write(&path, b"one").unwrap();
        let one = programs.at(&path).unwrap();
        assert_eq!(one.digest, Digest::of(b"one"));
        assert_eq!(programs.at(&path).unwrap(), one);
        let other = folder.path().join("other");
        std::fs::write(&other, b"two").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_eq!(programs.at(&path).unwrap().digest, Digest::of(b"two"));
        assert!(programs.at(folder.path()).is_err());
    }

    /// A10, A1: the program of a process that connects is found by its connection, and no more once it ended.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_program_of_a_peer_is_its_own_file() {
        use std::sync::Arc;

        let (one, _other) = tokio::net::UnixStream::pair().unwrap();
        let mut extensions = actix_web::dev::Extensions::new();
        super::super::peer::remember(&Arc::default(), &one, &mut extensions);
        let peer = extensions.get::<Peer>().unwrap();
        let own = std::env::current_exe().unwrap();
        let program = Programs::default().of(peer).unwrap();
        assert_eq!(program.path, own);
        assert_eq!(program.digest, Digest::of(&std::fs::read(own).unwrap()));
    }
}
