//! Room on the disk (L5): long before writes fail nothing new is taken, and a ballast file is given up when it is needed
//! to go on recording and shredding.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;

use super::gateway::Gateway;
use super::record::Kind;
use crate::config::files;
use crate::limits;

/// How much room there is below a folder.
#[derive(Debug)]
pub(crate) struct Space {
    folder: PathBuf,
    ballast: PathBuf,
    /// A test's own disk.
    #[cfg(test)]
    pub(crate) pretended: std::sync::Mutex<Option<u64>>,
}

impl Space {
    pub(crate) fn new(folder: &Path, ballast: PathBuf) -> Self {
        Self {
            folder: folder.to_owned(),
            ballast,
            #[cfg(test)]
            pretended: std::sync::Mutex::default(),
        }
    }

    /// Bytes that the gateway may still write.
    pub(crate) fn free_bytes(&self) -> anyhow::Result<u64> {
        #[cfg(test)]
        if let Some(pretended) = *self.pretended.lock().unwrap() {
            return Ok(pretended);
        }
        let disk =
            nix::sys::statvfs::statvfs(&self.folder).context("cannot ask how much room the disk has")?;
        Ok(disk.blocks_available().saturating_mul(disk.fragment_size()))
    }

    /// Takes up room while there is plenty.
    fn put_ballast(&self) -> anyhow::Result<()> {
        if self.ballast.exists() {
            return Ok(());
        }
        // Random, so that no file system stores it in less.
        let mut bytes = vec![0; usize::try_from(limits::BALLAST_BYTES)?];
        aws_lc_rs::rand::fill(&mut bytes).context("no randomness for the ballast")?;
        files::replace(&self.ballast, &bytes)
    }

    /// Gives it up.
    fn drop_ballast(&self) -> anyhow::Result<()> {
        match std::fs::remove_file(&self.ballast) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("cannot give up the ballast")
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Looks at the disk: whether anything new may be taken, and whether the ballast is needed.
pub(crate) async fn look(gateway: &Gateway) -> anyhow::Result<()> {
    let (space, health) = (&gateway.space, &gateway.health);
    let free_bytes = space.free_bytes()?;
    let was_low = health.low_space().is_some();
    // Twice as much to go on, so that it does not change its mind with each story.
    let wanted_bytes = if was_low {
        limits::SPACE_BYTES_MIN.saturating_mul(2)
    } else {
        limits::SPACE_BYTES_MIN
    };
    let is_low = free_bytes < wanted_bytes;
    health.set_low_space(is_low.then_some(free_bytes));
    if free_bytes < limits::BALLAST_BYTES {
        space.drop_ballast()?;
    } else if !is_low {
        space.put_ballast()?;
    }
    if is_low != was_low {
        let what = if is_low { "low" } else { "enough again" };
        tracing::error!(what, free_bytes, "room on the disk");
        gateway
            .record(Kind::Space, None, json!({ "space": what }))
            .await?;
    }
    Ok(())
}
