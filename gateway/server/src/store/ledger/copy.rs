//! A copy of a log's files, durable.

use std::path::{Path, PathBuf};

use super::{LOCK, LedgerError, disk};

/// Tiles that never change.
pub(super) fn full_tiles(from: &Path, to: &Path) -> Result<(), LedgerError> {
    copy(from, to, Path::new("tile"), &|path| !is_partial(path))
}

/// Everything that is not there yet.
pub(super) fn the_rest(from: &Path, to: &Path) -> Result<(), LedgerError> {
    copy(from, to, Path::new(""), &|path| path != Path::new(LOCK))
}

/// `<index>.p/<width>`
fn is_partial(path: &Path) -> bool {
    let parent = path.parent().and_then(Path::extension);
    parent.is_some_and(|extension| extension == "p")
}

fn copy(from: &Path, to: &Path, folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Result<(), LedgerError> {
    let source = from.join(folder);
    if !source.exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(&source).map_err(disk::io_error(&source))? {
        let entry = entry.map_err(disk::io_error(&source))?;
        let path: PathBuf = folder.join(entry.file_name());
        if entry.file_type().map_err(disk::io_error(&source))?.is_dir() {
            copy(from, to, &path, wanted)?;
            continue;
        }
        let target = to.join(&path);
        if wanted(&path) && !target.exists() {
            if let Some(parent) = target.parent() {
                disk::ensure_folder(parent)?;
            }
            let bytes = std::fs::read(from.join(&path)).map_err(disk::io_error(&path))?;
            disk::write_atomically(&target, &bytes)?;
        }
    }
    Ok(())
}
