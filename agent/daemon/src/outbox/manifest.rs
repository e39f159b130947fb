//! The optional manifest beside a file (O4): `NAME.outbox.json`, written before the file, says what the
//! file will be. Until the file is exactly that, it is not taken.
//!
//! ```json
//! {"sha256": "<64 hexadecimal digits>", "audience": "team"}
//! ```

use std::path::{Path, PathBuf};

use policies::terms::Digest;
use serde::Deserialize;

use super::open::{copy_once, copy_up_to};
use crate::limits::OUTBOX_MANIFEST_BYTES_MAX;

/// How the name of a manifest ends.
pub(crate) const SUFFIX: &str = ".outbox.json";

/// What a file is promised to be.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    sha256: Digest,
    audience: String,
}

/// What a manifest says of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    /// There is no manifest.
    None,
    Kept,
    /// Manifest or file is not whole yet.
    Open,
    /// It was put into another audience's folder than the manifest names.
    OtherAudience,
}

/// The manifest of a file.
pub(crate) fn beside(file: &Path) -> PathBuf {
    let mut name = file
        .file_name()
        .map(std::ffi::OsStr::to_owned)
        .unwrap_or_default();
    name.push(SUFFIX);
    file.with_file_name(name)
}

/// Judges a file by the manifest beside it.
pub(crate) fn judge(folder: &Path, name: &str, audience: &str) -> Promise {
    let manifest_name = format!("{name}{SUFFIX}");
    if std::fs::symlink_metadata(folder.join(&manifest_name)).is_err() {
        return Promise::None;
    }
    let manifest = copy_up_to(folder, &manifest_name, OUTBOX_MANIFEST_BYTES_MAX).ok();
    let manifest = manifest.and_then(|bytes| serde_json::from_slice::<Manifest>(&bytes).ok());
    match manifest {
        None => Promise::Open,
        Some(manifest) if manifest.audience != audience => Promise::OtherAudience,
        Some(manifest) => {
            let bytes = copy_once(folder, name);
            if bytes.is_ok_and(|bytes| Digest::of(&bytes) == manifest.sha256) {
                Promise::Kept
            } else {
                Promise::Open
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(manifest: Option<&str>, text: &str, promise: Promise) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("plan.txt"), text).unwrap();
        if let Some(manifest) = manifest {
            std::fs::write(folder.path().join("plan.txt.outbox.json"), manifest).unwrap();
        }
        assert_eq!(judge(folder.path(), "plan.txt", "team"), promise, "{manifest:?}");
    }

    /// O4: until file and manifest are whole and of each other, nothing is taken.
    #[test]
    fn a_file_with_a_manifest_is_taken_when_it_is_what_was_promised() {
        let whole = Digest::of(b"the whole plan");
        let of = |audience: &str| format!(r#"{{"sha256":"{whole}","audience":"{audience}"}}"#);
        check(None, "the whole", Promise::None);
        check(Some(&of("team")), "the whole plan", Promise::Kept);
        check(Some(&of("team")), "the whole", Promise::Open);
        check(Some(&of("board")), "the whole plan", Promise::OtherAudience);
        for unfinished in ["", "{", r#"{"sha256":"00"}"#, "null"] {
            check(Some(unfinished), "the whole plan", Promise::Open);
        }
        check(Some(&" ".repeat(100_000)), "the whole plan", Promise::Open);
    }
}
