//! Private keys in a backup: AES-256-GCM under a key that is kept apart from it (K7).

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, anyhow, ensure};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use gateway_api::bytes::Bytes;
use zeroize::Zeroizing;

use super::files_below;
use crate::config::files;
use crate::domain::random;

/// What is sealed: it cannot be exchanged for another.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Keys,
    SubjectKeys,
}

impl Part {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Keys => b"sealgate/backup/keys/1",
            Self::SubjectKeys => b"sealgate/backup/subject-keys/1",
        }
    }
}

/// The backup's key. `Debug` prints nothing of it.
pub(super) struct BackupKey(LessSafeKey);

impl BackupKey {
    /// Reads the key's file, or makes it (hex, mode 0600).
    pub(super) fn load_or_make(path: &Path) -> anyhow::Result<Self> {
        if !path.exists() {
            let key = Zeroizing::new(random::bytes::<32>()?);
            let text = Zeroizing::new(format!("{}\n", hex::encode(key.as_slice())));
            files::write_new(path, text.as_bytes())?;
        }
        Self::load(path)
    }

    pub(super) fn load(path: &Path) -> anyhow::Result<Self> {
        let refused = || format!("`{}` is not the key of a backup", path.display());
        let text = Zeroizing::new(files::read(path)?);
        let key = Zeroizing::new(hex::decode(text.trim_ascii()).with_context(refused)?);
        let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| anyhow!(refused()))?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// The files of a folder, sealed.
    pub(super) fn seal_folder(&self, part: Part, folder: &Path) -> anyhow::Result<Vec<u8>> {
        let mut contents = BTreeMap::new();
        for name in files_below(folder)? {
            let bytes = files::read(&folder.join(&name))?;
            contents.insert(name, Bytes(bytes));
        }
        let mut sealed = serde_json::to_vec(&contents)?;
        let nonce = random::bytes::<NONCE_LEN>()?;
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(part.label()),
                &mut sealed,
            )
            .map_err(|_| anyhow!("the keys cannot be sealed"))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// What was sealed.
    pub(super) fn open(&self, part: Part, sealed: &[u8]) -> anyhow::Result<BTreeMap<String, Bytes>> {
        let refused =
            || anyhow!("the sealed keys do not open: this is another backup's key, or the file was changed");
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or_else(refused)?;
        let mut clear = Zeroizing::new(sealed.to_vec());
        let clear = self
            .0
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(part.label()),
                &mut clear,
            )
            .map_err(|_| refused())?;
        let contents: BTreeMap<String, Bytes> = serde_json::from_slice(clear)?;
        let is_name = |name: &String| !name.is_empty() && !name.contains('/') && !name.starts_with('.');
        ensure!(
            contents.keys().all(is_name),
            "the sealed keys have names that are none"
        );
        Ok(contents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_folder_opens_with_its_key_for_its_part_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (keys, file) = (folder.path().join("keys"), folder.path().join("backup.key"));
        files::make_folder(&keys).unwrap();
        files::write_new(&keys.join("a.key"), b"private").unwrap();
        let key = BackupKey::load_or_make(&file).unwrap();
        let sealed = key.seal_folder(Part::Keys, &keys).unwrap();
        assert!(!sealed.windows(7).any(|window| window == b"private"));
        let again = BackupKey::load_or_make(&file).unwrap();
        let opened = again.open(Part::Keys, &sealed).unwrap();
        assert_eq!(opened.get("a.key").unwrap().0, b"private");
        assert!(again.open(Part::SubjectKeys, &sealed).is_err());
        let other = BackupKey::load_or_make(&folder.path().join("other.key")).unwrap();
        assert!(other.open(Part::Keys, &sealed).is_err());
    }
}
