//! Removes what an agent keeps in its folder; the files of the outbox and `agent.toml` are its owner's and stay.

use std::fs::File;
use std::path::Path;

use anyhow::Context as _;

use super::files;
use crate::config::paths::Paths;

/// Keys first, so that nothing else can be read any more; the enrollment last, so that after a crash the same command
/// finishes the work. What is gone already is no error.
///
/// # Errors
/// A file cannot be removed; the message names it.
pub(crate) fn remove(paths: &Paths) -> anyhow::Result<()> {
    destroy_below(&paths.keys())?;
    for entry in std::fs::read_dir(paths.root()).context("the agent's folder cannot be listed")? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        // The database, its side files, and copies that `rejoin` put aside.
        if name.starts_with("state.db") {
            remove_file(&path)?;
        }
    }
    if paths.policy().exists() {
        std::fs::remove_dir_all(paths.policy()).context("the policy folder cannot be removed")?;
    }
    for file in [
        paths.socket(),
        paths.lock(),
        paths.emergency(),
        paths.enrollment(),
    ] {
        remove_file(&file)?;
    }
    File::open(paths.root())?.sync_all()?;
    Ok(())
}

/// Overwrites and removes every file below a folder of secrets, and the folder.
fn destroy_below(folder: &Path) -> anyhow::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    let failed = |path: &Path| format!("`{}` cannot be removed; remove it by hand", path.display());
    for entry in std::fs::read_dir(folder).with_context(|| failed(folder))? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            destroy_below(&path)?;
        } else {
            files::destroy(&path).with_context(|| failed(&path))?;
        }
    }
    std::fs::remove_dir(folder).with_context(|| failed(folder))
}

fn remove_file(file: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("`{}` cannot be removed; remove it by hand", file.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cut off at any point, the removal is finished by doing it again, and until then the enrollment is there to do so.
    #[test]
    fn removal_that_was_cut_off_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        files::write_secret(&paths.enrollment(), b"{}").unwrap();
        std::fs::create_dir(paths.outbox()).unwrap();
        std::fs::write(paths.state(), "database").unwrap();
        files::write_secret(&paths.emergency(), b"count").unwrap();
        remove_file(&folder.path().join("state.db-wal")).unwrap();
        assert!(paths.enrollment().exists());
        remove(&paths).unwrap();
        let left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(left, [paths.outbox()]);
        remove(&paths).unwrap();
    }

    #[test]
    fn secrets_below_the_keys_are_gone() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        files::write_secret(&paths.device_key(), b"secret").unwrap();
        files::write_secret(&paths.expiry_keys().join("1.key"), b"secret").unwrap();
        remove(&paths).unwrap();
        assert!(!paths.keys().exists());
    }
}
