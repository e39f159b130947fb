//! Encryption of the store's values, by `agent-seal`'s record cipher: each value is bound to its
//! table and its key, so that rows cannot be swapped.

use std::path::Path;

use agent_seal::sealed_store::{RecordCipher, STATE_KEY_BYTES};
use anyhow::{Context as _, bail};
use rand::Rng as _;
use zeroize::Zeroizing;

use super::files;

/// A 32-byte key from a file of its own, and what it encrypts with.
#[derive(Debug)]
pub(crate) struct StateCipher {
    records: RecordCipher,
}

impl StateCipher {
    /// Reads the key file, or makes it (0600, fsynced) at first use.
    ///
    /// # Errors
    /// The file cannot be read or written, or others can read it.
    pub(crate) fn load_or_create(file: &Path) -> anyhow::Result<Self> {
        if !file.exists() {
            let mut key = Zeroizing::new([0; STATE_KEY_BYTES]);
            rand::rng().fill_bytes(key.as_mut());
            files::write_secret(file, key.as_ref())?;
        }
        Self::from_key(&files::read_secret(file)?).with_context(|| format!("in `{}`", file.display()))
    }

    /// Takes a key that was read.
    pub(crate) fn from_key(key: &[u8]) -> anyhow::Result<Self> {
        let Ok(key) = <&[u8; STATE_KEY_BYTES]>::try_from(key) else {
            bail!("a state key has {STATE_KEY_BYTES} bytes; restore the file, or enrol this device again");
        };
        Ok(Self {
            records: RecordCipher::new(key)?,
        })
    }

    /// Encrypts a value for its place.
    pub(crate) fn seal(&self, table: &str, key: &[u8], value: &[u8]) -> anyhow::Result<Vec<u8>> {
        Ok(self.records.seal(&place(table, key), value, &mut rand::rng())?)
    }

    /// Decrypts what was sealed for the same place.
    pub(crate) fn open(&self, table: &str, key: &[u8], sealed: &[u8]) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        Ok(self.records.open(&place(table, key), sealed)?)
    }
}

fn place(table: &str, key: &[u8]) -> Vec<u8> {
    [table.as_bytes(), b"/", key].concat()
}
