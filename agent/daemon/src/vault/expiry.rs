//! Keys of expiry buckets (D4): each story's content is encrypted under the key of the bucket in
//! which it ends; at the bucket's end the key file is destroyed, and with it every copy of the
//! content in the database, its log and its backups.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use zeroize::Zeroizing;

use super::cipher::StateCipher;
use super::files;
use crate::limits::LOCAL_BUCKET_S;

/// The folder of bucket keys, apart from the database.
#[derive(Debug)]
pub(crate) struct ExpiryKeys {
    folder: PathBuf,
}

/// The bucket in which a story that ends at `expires_s` is destroyed: never later than one width.
pub(crate) const fn bucket_of(expires_s: u64) -> u64 {
    expires_s.div_ceil(LOCAL_BUCKET_S)
}

/// When the bucket's key is destroyed.
pub(crate) const fn bucket_end_s(bucket: u64) -> u64 {
    bucket.saturating_mul(LOCAL_BUCKET_S)
}

impl ExpiryKeys {
    /// Opens or creates the folder.
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Self> {
        files::private_folder(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// The bucket's cipher, made (and fsynced) at its first use.
    pub(crate) fn cipher(&self, bucket: u64) -> anyhow::Result<StateCipher> {
        StateCipher::load_or_create(&self.file(bucket))
    }

    /// The bucket's cipher, if it was not destroyed.
    pub(crate) fn existing(&self, bucket: u64) -> anyhow::Result<Option<StateCipher>> {
        let file = self.file(bucket);
        if !file.exists() {
            return Ok(None);
        }
        let key: Zeroizing<Vec<u8>> = files::read_secret(&file)?;
        StateCipher::from_key(&key).map(Some)
    }

    /// Destroys the keys of buckets that have ended; how many there were.
    pub(crate) fn destroy_ended(&self, now_s: u64) -> anyhow::Result<usize> {
        let mut destroyed = 0;
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let ended = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .and_then(|stem| stem.parse::<u64>().ok())
                .is_some_and(|bucket| bucket_end_s(bucket) <= now_s);
            if ended {
                files::destroy(&path).with_context(|| format!("cannot destroy `{}`", path.display()))?;
                destroyed += 1;
            }
        }
        Ok(destroyed)
    }

    fn file(&self, bucket: u64) -> PathBuf {
        self.folder.join(format!("{bucket}.key"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// D4
    #[test]
    fn content_is_unreadable_after_its_bucket_ended() {
        let folder = tempfile::tempdir().unwrap();
        let keys = ExpiryKeys::open(folder.path()).unwrap();
        let bucket = bucket_of(100);
        let sealed = keys
            .cipher(bucket)
            .unwrap()
            .seal("story", b"id", b"words")
            .unwrap();
        let opened = keys
            .existing(bucket)
            .unwrap()
            .unwrap()
            .open("story", b"id", &sealed)
            .unwrap();
        assert_eq!(opened.as_slice(), b"words");

        assert_eq!(keys.destroy_ended(99).unwrap(), 0);
        assert_eq!(keys.destroy_ended(bucket_end_s(bucket)).unwrap(), 1);
        assert!(keys.existing(bucket).unwrap().is_none());
    }

    #[test]
    fn a_bucket_ends_at_most_one_width_after_its_stories() {
        for expires_s in [1, 59, 60, 61, 1_000_003] {
            let end_s = bucket_end_s(bucket_of(expires_s));
            assert!(
                end_s >= expires_s && end_s < expires_s + LOCAL_BUCKET_S,
                "{expires_s}"
            );
        }
    }
}
