//! The MLS leaf key in a file of its own, encrypted: what destroys the database leaves it, and with it the device can
//! put a fresh leaf in the place of its old one (M4).

use agent_seal::Member;
use anyhow::Context as _;
use zeroize::Zeroizing;

use super::cipher::StateCipher;
use super::files;
use crate::config::paths::Paths;

/// Writes the member's leaf key, if the file does not hold it already.
pub(crate) fn keep(paths: &Paths, cipher: &StateCipher, member: &Member) -> anyhow::Result<()> {
    let key = member.leaf_key()?;
    let known = read(paths, cipher).ok().flatten();
    if known.is_some_and(|known| known == key) {
        return Ok(());
    }
    files::write_secret(&paths.leaf_key(), &cipher.seal("leaf-key", &[], &key)?)
}

/// The kept leaf key; none before the first start.
///
/// # Errors
/// The file is damaged, or was written under another state key.
pub(crate) fn read(paths: &Paths, cipher: &StateCipher) -> anyhow::Result<Option<Zeroizing<Vec<u8>>>> {
    let file = paths.leaf_key();
    if !file.exists() {
        return Ok(None);
    }
    let sealed = files::read_secret(&file)?;
    let key = cipher.open("leaf-key", &[], &sealed);
    key.map(Some)
        .with_context(|| format!("`{}` cannot be read", file.display()))
}
