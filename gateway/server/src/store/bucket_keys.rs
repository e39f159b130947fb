//! Keys of expiry buckets (K18): what makes deletion final.
//!
//! Every stored object has its own key, wrapped by the key of the bucket in which it expires. When a bucket ends its
//! key is destroyed, and everything wrapped by it is noise, wherever a copy lies. So these keys have a folder of
//! their own, outside database and backups, behind a seam: a key file on the same disk is no more erasable than the
//! ciphertext, and the seam exists so that it need not be there.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use zeroize::Zeroizing;

use crate::config::files::{self, CHECK};
use crate::domain::random;

const SUFFIX: &str = ".key";

/// A bucket's key. `Debug` prints nothing of it.
pub(crate) struct BucketKey(Zeroizing<[u8; 32]>);

impl BucketKey {
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for BucketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BucketKey")
    }
}

/// Where bucket keys live: a folder, later tmpfs, a TPM or a KMS. Buckets are named by their end, Unix seconds.
pub(crate) trait BucketKeys: Send + Sync {
    /// The bucket's key, made durable before it is first returned.
    fn key(&self, end_s: u64) -> anyhow::Result<Arc<BucketKey>>;
    /// The bucket's key, if it still exists.
    fn existing(&self, end_s: u64) -> anyhow::Result<Option<Arc<BucketKey>>>;
    /// Destroys the keys of all buckets that ended by `now_s`: how many.
    fn destroy_ended(&self, now_s: u64) -> anyhow::Result<u64>;
}

/// The end of the bucket that `at_s` falls behind: expiry is rounded down (K18).
pub(crate) fn floor(at_s: u64, width_s: u64) -> u64 {
    at_s - at_s.checked_rem(width_s).unwrap_or(0)
}

/// One file per bucket.
pub(crate) struct FileBucketKeys {
    folder: PathBuf,
    keys_by_end: Mutex<BTreeMap<u64, Arc<BucketKey>>>,
}

impl FileBucketKeys {
    /// Opens the folder, or makes it. A key that is not as it was written is refused; one whose destruction a crash cut
    /// short is destroyed.
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Self> {
        files::ensure_folder(folder)?;
        let keys = Self {
            folder: folder.to_owned(),
            keys_by_end: Mutex::default(),
        };
        for end_s in keys.ends()? {
            let path = keys.path(end_s);
            let bytes = Zeroizing::new(files::read(&path)?);
            if bytes.len() >= 32 && bytes.iter().all(|byte| *byte == 0) {
                destroy(&path).context("cannot destroy a bucket key")?;
            } else {
                keys.load(end_s)?;
            }
        }
        Ok(keys)
    }

    fn path(&self, end_s: u64) -> PathBuf {
        self.folder.join(format!("{end_s}{SUFFIX}"))
    }

    fn load(&self, end_s: u64) -> anyhow::Result<Option<Arc<BucketKey>>> {
        let path = self.path(end_s);
        if !path.exists() {
            return Ok(None);
        }
        let bytes = Zeroizing::new(files::read(&path)?);
        let key = bytes.split_first_chunk::<32>();
        let key = key.filter(|(key, check)| check.is_empty() || *check == check_of(end_s, key));
        let (key, _) = key.with_context(|| {
            format!(
                "the bucket key `{}` is damaged: no story of its bucket can be read any more; move the file away to go on \
                 without them",
                path.display()
            )
        })?;
        Ok(Some(Arc::new(BucketKey(Zeroizing::new(*key)))))
    }

    fn ends(&self) -> anyhow::Result<Vec<u64>> {
        let mut ends = Vec::new();
        for entry in std::fs::read_dir(&self.folder).context("cannot list the bucket keys")? {
            let name = entry?.file_name();
            ends.extend(
                name.to_str()
                    .and_then(|name| name.strip_suffix(SUFFIX))
                    .and_then(|end| end.parse::<u64>().ok()),
            );
        }
        Ok(ends)
    }
}

impl BucketKeys for FileBucketKeys {
    fn key(&self, end_s: u64) -> anyhow::Result<Arc<BucketKey>> {
        let mut keys = self.keys_by_end.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = keys.get(&end_s) {
            return Ok(Arc::clone(key));
        }
        let key = match self.load(end_s)? {
            Some(key) => key,
            None => {
                let key = BucketKey(Zeroizing::new(random::bytes()?));
                // By rename, so that a crash leaves no short key.
                let file = [key.as_bytes().as_slice(), &check_of(end_s, key.as_bytes())].concat();
                files::replace(&self.path(end_s), &Zeroizing::new(file))?;
                Arc::new(key)
            }
        };
        keys.insert(end_s, Arc::clone(&key));
        Ok(key)
    }

    fn existing(&self, end_s: u64) -> anyhow::Result<Option<Arc<BucketKey>>> {
        let keys = self.keys_by_end.lock().unwrap_or_else(PoisonError::into_inner);
        match keys.get(&end_s) {
            Some(key) => Ok(Some(Arc::clone(key))),
            None => self.load(end_s),
        }
    }

    fn destroy_ended(&self, now_s: u64) -> anyhow::Result<u64> {
        let mut keys = self.keys_by_end.lock().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|end_s, _| *end_s > now_s);
        let mut destroyed = 0_u64;
        for end_s in self.ends()?.into_iter().filter(|end_s| *end_s <= now_s) {
            destroy(&self.path(end_s)).context("cannot destroy a bucket key")?;
            destroyed = destroyed.saturating_add(1);
        }
        Ok(destroyed)
    }
}

/// What stands behind a key in its file. Files of before have none.
fn check_of(end_s: u64, key: &[u8; 32]) -> [u8; CHECK] {
    let label = [b"sealgate/bucket-key/1".as_slice(), &end_s.to_be_bytes()].concat();
    files::check_of(&label, key)
}

/// Overwrites, then unlinks, both durably.
fn destroy(path: &Path) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.write_all(&[0; 32 + CHECK])?;
    file.sync_all()?;
    std::fs::remove_file(path)?;
    files::sync_parent(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K18
    #[test]
    fn expiry_rounds_down_to_the_bucket() {
        for (at_s, width_s, expected) in [(7_199, 3_600, 3_600), (7_200, 3_600, 7_200), (17, 1, 17)] {
            assert_eq!(floor(at_s, width_s), expected);
        }
    }

    /// K18: the key outlives a restart, and is gone for good at the bucket's end.
    #[test]
    fn key_of_an_ended_bucket_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let first = FileBucketKeys::open(folder.path()).unwrap();
        let key = *first.key(100).unwrap().as_bytes();
        let second = FileBucketKeys::open(folder.path()).unwrap();
        assert_eq!(*second.key(100).unwrap().as_bytes(), key);
        assert_eq!(second.destroy_ended(99).unwrap(), 0);
        assert_eq!(second.destroy_ended(100).unwrap(), 1);
        assert!(second.existing(100).unwrap().is_none());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    /// K18: a crash between the overwriting and the end of the file leaves no key of zeros.
    #[test]
    fn half_destroyed_key_is_destroyed() {
        let folder = tempfile::tempdir().unwrap();
        for (name, length) in [("100.key", 32), ("200.key", 40)] {
            std::fs::write(folder.path().join(name), vec![0; length]).unwrap();
        }
        FileBucketKeys::open(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    /// A folder of before: keys without a check.
    #[test]
    fn key_without_a_check_is_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("100.key"), [7; 32]).unwrap();
        let keys = FileBucketKeys::open(folder.path()).unwrap();
        assert_eq!(*keys.key(100).unwrap().as_bytes(), [7; 32]);
    }

    /// K18: what a crash left before the rename is no key, and does not stand in the way of one.
    #[test]
    fn half_written_key_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("100.new"), [7; 5]).unwrap();
        let keys = FileBucketKeys::open(folder.path()).unwrap();
        assert!(keys.existing(100).unwrap().is_none());
        let key = *keys.key(100).unwrap().as_bytes();
        assert!(
            std::fs::read(folder.path().join("100.key"))
                .unwrap()
                .starts_with(&key)
        );
        assert!(!folder.path().join("100.new").exists());
    }
}
