//! Keys of expiry buckets (D4): each story's content is encrypted under the key of the bucket in
//! which it ends; at the bucket's end the key file is destroyed, and with it every copy of the
//! content in the database, its log and its backups.

use std::path::{Path, PathBuf};

use agent_seal::sealed_store::STATE_KEY_BYTES;
use anyhow::{Context as _, bail};
use policies::terms::Digest;
use rand::Rng as _;
use zeroize::Zeroizing;

use super::cipher::StateCipher;
use super::files;
use crate::limits::LOCAL_BUCKET_S;

const CHECK_BYTES: usize = 8;

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
        if let Some(cipher) = self.existing(bucket)? {
            return Ok(cipher);
        }
        let mut key = Zeroizing::new([0; STATE_KEY_BYTES]);
        rand::rng().fill_bytes(key.as_mut());
        let bytes = Zeroizing::new([key.as_slice(), &check_of(bucket, key.as_slice())].concat());
        files::write_secret(&self.file(bucket), &bytes)?;
        StateCipher::from_key(key.as_slice())
    }

    /// The bucket's cipher, if it was not destroyed.
    ///
    /// # Errors
    /// The file is not as it was written.
    pub(crate) fn existing(&self, bucket: u64) -> anyhow::Result<Option<StateCipher>> {
        let file = self.file(bucket);
        if !file.exists() {
            return Ok(None);
        }
        let bytes: Zeroizing<Vec<u8>> = files::read_secret(&file)?;
        let sound = bytes.split_at_checked(STATE_KEY_BYTES);
        let sound = sound.filter(|(key, check)| check.is_empty() || *check == check_of(bucket, key));
        let Some((key, _)) = sound else {
            bail!(
                "the expiry key `{}` is damaged: the stories that end with it cannot be read any more; move the file away to \
                 go on without them",
                file.display()
            );
        };
        StateCipher::from_key(key).map(Some)
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

/// What stands behind a key in its file: it tells damage, not forgery. Files of before have none.
fn check_of(bucket: u64, key: &[u8]) -> [u8; CHECK_BYTES] {
    let digest = Digest::of(&Zeroizing::new(
        [b"sealgate/expiry-key/1".as_slice(), &bucket.to_be_bytes(), key].concat(),
    ));
    let mut check = [0; CHECK_BYTES];
    check
        .iter_mut()
        .zip(digest.as_bytes())
        .for_each(|(check, byte)| *check = *byte);
    check
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

    /// A folder of before: keys without a check.
    #[test]
    fn a_key_without_a_check_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let keys = ExpiryKeys::open(folder.path()).unwrap();
        files::write_secret(&folder.path().join("7.key"), &[7; STATE_KEY_BYTES]).unwrap();
        let sealed = keys.cipher(7).unwrap().seal("story", b"id", b"words").unwrap();
        let bare = StateCipher::from_key(&[7; STATE_KEY_BYTES]).unwrap();
        assert_eq!(bare.open("story", b"id", &sealed).unwrap().as_slice(), b"words");
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
