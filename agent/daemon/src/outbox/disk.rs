//! On what kind of file system the outbox lies (O10): the hints, the rename and the identity of a file
//! hold on a local one. On a network's, another machine may change a file unseen.

use std::path::Path;

/// What a file system is to the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disk {
    Local,
    /// A network's, or one behind a user's process (FUSE), which may be a network's.
    Remote(&'static str),
}

/// Asks the kernel (statfs).
///
/// # Errors
/// The folder is not there.
pub(crate) fn of(folder: &Path) -> std::io::Result<Disk> {
    let answer = nix::sys::statfs::statfs(folder)?;
    Ok(kind(&answer))
}

#[cfg(target_os = "linux")]
fn kind(answer: &nix::sys::statfs::Statfs) -> Disk {
    let magic = answer.filesystem_type().0;
    u32::try_from(i128::from(magic) & 0xffff_ffff).map_or(Disk::Local, of_magic)
}

#[cfg(not(target_os = "linux"))]
fn kind(answer: &nix::sys::statfs::Statfs) -> Disk {
    if answer.flags().contains(nix::mount::MntFlags::MNT_LOCAL) {
        Disk::Local
    } else {
        Disk::Remote("a network file system")
    }
}

/// By the numbers of statfs(2) and linux/magic.h.
#[cfg(target_os = "linux")]
const fn of_magic(magic: u32) -> Disk {
    match magic {
        0x6969 => Disk::Remote("NFS"),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Disk::Remote("SMB"),
        0x0102_1997 => Disk::Remote("9P"),
        0x6573_5546 => Disk::Remote("FUSE"),
        0x00c3_6400 => Disk::Remote("Ceph"),
        0x5346_414f | 0x6b41_4653 => Disk::Remote("AFS"),
        0x7375_7245 => Disk::Remote("Coda"),
        0x564c => Disk::Remote("NCP"),
        0x0187 => Disk::Remote("autofs"),
        _ => Disk::Local,
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// O10
    #[test]
    fn file_systems_are_told_apart() {
        for (magic, disk) in [
            (0xef53, Disk::Local),      // ext4
            (0x9123_683e, Disk::Local), // btrfs
            (0x0102_1994, Disk::Local), // tmpfs
            (0x6969, Disk::Remote("NFS")),
            (0xfe53_4d42, Disk::Remote("SMB")),
            (0x6573_5546, Disk::Remote("FUSE")),
        ] {
            assert_eq!(of_magic(magic), disk, "{magic:x}");
        }
        assert_eq!(of(Path::new("/proc")).unwrap(), Disk::Local);
        assert!(of(Path::new("/nowhere")).is_err());
    }
}
