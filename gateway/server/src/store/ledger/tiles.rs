//! Proofs from the published tiles, each of which is read once.

use std::collections::BTreeMap;
use std::path::Path;

use gateway_ledger::{Hash, InclusionProof, ProveError, TilePath, tile};

use super::{LedgerError, commits, disk};

/// The tiles of a log as it was at a size, read from those of a later publication.
pub(super) struct Tiles<'a> {
    folder: &'a Path,
    size: u64,
    published: u64,
    bytes_by_path: BTreeMap<String, Vec<u8>>,
}

impl<'a> Tiles<'a> {
    /// `size` is at most `published`.
    pub(super) fn new(folder: &'a Path, size: u64, published: u64) -> Self {
        Self {
            folder,
            size,
            published,
            bytes_by_path: BTreeMap::new(),
        }
    }

    /// That an entry is in the log of this size.
    pub(super) fn prove(&mut self, index: u64) -> Result<InclusionProof, LedgerError> {
        let (folder, size) = (self.folder, self.size);
        let node = |level, node| match tile::node(size, level, node, |path| self.read(path)) {
            Ok(Some(hash)) => Ok(hash),
            Ok(None) => Err(commits::damaged(
                folder,
                format!("entry {index}: a tile of hashes is not whole"),
            )),
            Err(error) => Err(error),
        };
        InclusionProof::prove(index, size, node).map_err(|error| match error {
            ProveError::OutOfRange { wanted, size } => LedgerError::NoSuchEntry { index: wanted, size },
            ProveError::Read(error) => error,
        })
    }

    /// A tile only grows, so the one of an earlier size is the beginning of the published one.
    fn read(&mut self, path: &str) -> Result<Vec<u8>, LedgerError> {
        if let Some(bytes) = self.bytes_by_path.get(path) {
            return Ok(bytes.clone());
        }
        let wanted: TilePath = path
            .parse()
            .map_err(|_| commits::damaged(self.folder, format!("`{path}` is no tile")))?;
        let present = match wanted {
            TilePath::Hashes { level, index, .. } => TilePath::hashes(level, index, self.published),
            TilePath::Entries { index, .. } => TilePath::entries(index, self.published),
        };
        let present = present.unwrap_or(wanted).to_string();
        let mut bytes = disk::read_if_exists(&self.folder.join(&present))?
            .ok_or_else(|| commits::damaged(self.folder, format!("`{present}` is missing")))?;
        bytes.truncate(usize::from(wanted.width()) * Hash::LEN);
        self.bytes_by_path.insert(path.to_owned(), bytes.clone());
        Ok(bytes)
    }
}
