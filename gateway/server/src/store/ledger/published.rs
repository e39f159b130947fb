//! Publication: entry bundles, tiles and the signed checkpoint (C2SP tlog-tiles), each written whole, the checkpoint
//! last, so that whatever it signs is there.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use gateway_ledger::limits::{TILE_LEVELS, TILE_WIDTH};
use gateway_ledger::tile::{decode_hashes, encode_hashes, push_entry};
use gateway_ledger::{
    CHECKPOINT_PATH, CheckpointSigner, Frontier, Hash, SignedCheckpoint, TileEdge, TilePath, leaf_hash,
};

use super::commits::{Recovered, damaged};
use super::{LedgerError, WIDTH, disk};

/// What is published.
pub(super) struct Published {
    signer: CheckpointSigner,
    /// None before the first publication.
    checkpoint: Option<SignedCheckpoint>,
    // The tree up to the last full bundle: its level 0 is empty.
    full: TileEdge,
    partials: BTreeSet<TilePath>,
    // Kept for readers that hold the checkpoint before this one.
    partials_before: BTreeSet<TilePath>,
}

impl Published {
    /// Reads what is published and holds it against the commit log: also the index from which entries are in no full
    /// bundle.
    pub(super) fn open(
        folder: &Path,
        signer: CheckpointSigner,
        recovered: &Recovered,
    ) -> Result<(Self, u64), LedgerError> {
        let path = folder.join(CHECKPOINT_PATH);
        let mut published = Self {
            signer,
            checkpoint: None,
            full: TileEdge::new(),
            partials: BTreeSet::new(),
            partials_before: BTreeSet::new(),
        };
        if let Some(note) = disk::read_if_exists(&path)? {
            published.resume(folder, &note, recovered)?;
        }
        let full_to = published.full.size();
        let skipped = full_to
            .checked_sub(recovered.start)
            .and_then(|skipped| usize::try_from(skipped).ok());
        let leaves = skipped.and_then(|skipped| recovered.leaves.get(skipped..));
        let leaves = leaves.ok_or_else(|| {
            damaged(
                folder,
                "the commit log begins behind what is published".to_owned(),
            )
        })?;
        published.check_commits(folder, recovered, leaves)?;
        Ok((published, full_to))
    }

    /// Entries that the published checkpoint signs.
    pub(super) fn size(&self) -> u64 {
        self.checkpoint
            .as_ref()
            .map_or(0, |signed| signed.checkpoint().size)
    }

    /// What signs for this log.
    pub(super) fn signer(&self) -> &CheckpointSigner {
        &self.signer
    }

    /// Publishes the log with this edge; `tail` holds its entries from where full bundles end. Returns where they end
    /// after that.
    pub(super) fn publish(
        &mut self,
        folder: &Path,
        edge: &Frontier,
        tail: &[Arc<[u8]>],
    ) -> Result<u64, LedgerError> {
        let published = self.checkpoint.as_ref().map(|signed| signed.checkpoint().size);
        if published == Some(edge.size()) {
            return Ok(self.full.size());
        }
        let mut full = self.full.clone();
        let (bundles, rest) = tail.as_chunks::<TILE_WIDTH>();
        for entries in bundles {
            write_full(folder, &mut full, entries)?;
        }
        let partials = write_partials(folder, &full, rest, edge, &self.partials)?;
        let signed = self.signer.sign(edge.size(), edge.root());
        disk::write_atomically(&folder.join(CHECKPOINT_PATH), signed.as_str().as_bytes())?;
        self.full = full;
        self.checkpoint = Some(signed);
        self.retire(folder, partials)?;
        Ok(self.full.size())
    }

    fn resume(&mut self, folder: &Path, note: &[u8], recovered: &Recovered) -> Result<(), LedgerError> {
        let note = String::from_utf8_lossy(note);
        let signed = SignedCheckpoint::open(&note, self.signer.key())
            .map_err(|error| damaged(folder, format!("`{CHECKPOINT_PATH}`: {error}")))?;
        let size = signed.checkpoint().size;
        if recovered.edge.size() < size {
            let missing = recovered.edge.size();
            return Err(damaged(
                folder,
                format!("entry {missing}: the commit log ends before it, and {size} entries are published"),
            ));
        }
        self.full = read_full(folder, size)?;
        self.partials = partial_paths(size);
        self.checkpoint = Some(signed);
        Ok(())
    }

    /// The published tiles with the committed entries must lead to the signed root, and to the root of the commits.
    fn check_commits(
        &self,
        folder: &Path,
        recovered: &Recovered,
        leaves: &[Hash],
    ) -> Result<(), LedgerError> {
        let mut edge = self.full.clone();
        let signed = self.checkpoint.as_ref().map(SignedCheckpoint::checkpoint);
        let mut agrees = true;
        for leaf in leaves.iter().map(Some).chain([None]) {
            if let Some(signed) = signed.filter(|signed| signed.size == edge.size()) {
                agrees = edge.root() == signed.root;
            }
            if let Some(leaf) = leaf {
                edge.append(*leaf);
            }
        }
        if agrees && edge.root() == recovered.edge.root() {
            Ok(())
        } else {
            Err(damaged(
                folder,
                "published tiles, signed root and commit log do not agree".to_owned(),
            ))
        }
    }

    /// Removes the partial files of the publication before the last one.
    fn retire(&mut self, folder: &Path, partials: BTreeSet<TilePath>) -> Result<(), LedgerError> {
        let before = std::mem::replace(&mut self.partials, partials);
        let outdated = std::mem::replace(&mut self.partials_before, before);
        for path in outdated {
            if !self.partials.contains(&path) && !self.partials_before.contains(&path) {
                disk::remove(&folder.join(path.to_string()))?;
            }
        }
        Ok(())
    }
}

/// Writes a full bundle and every tile that it fills.
fn write_full(folder: &Path, full: &mut TileEdge, entries: &[Arc<[u8]>]) -> Result<(), LedgerError> {
    let path = TilePath::Entries {
        index: full.size() / WIDTH,
        width: 256,
    };
    write_bundle(folder, path, entries)?;
    for leaf in entries.iter().map(|entry| leaf_hash(entry)) {
        for tile in full.append(leaf) {
            let path = TilePath::Hashes {
                level: tile.level,
                index: tile.index,
                width: 256,
            };
            write(folder, path, &encode_hashes(&tile.hashes))?;
        }
    }
    Ok(())
}

/// Writes the unfinished bundle and tiles, those that are not there from the last publication.
fn write_partials(
    folder: &Path,
    full: &TileEdge,
    rest: &[Arc<[u8]>],
    edge: &Frontier,
    present: &BTreeSet<TilePath>,
) -> Result<BTreeSet<TilePath>, LedgerError> {
    let mut with_rest = full.clone();
    for entry in rest {
        with_rest.append(leaf_hash(entry));
    }
    if with_rest.size() != edge.size() || with_rest.root() != edge.root() {
        return Err(damaged(
            folder,
            "the entries in memory do not lead to the committed root".to_owned(),
        ));
    }
    let partials = partial_paths(edge.size());
    for path in partials.difference(present) {
        match *path {
            TilePath::Entries { .. } => write_bundle(folder, *path, rest)?,
            TilePath::Hashes { level, .. } => write(folder, *path, &encode_hashes(with_rest.partial(level)))?,
        }
    }
    Ok(partials)
}

/// The unfinished bundle and tiles of a log.
fn partial_paths(size: u64) -> BTreeSet<TilePath> {
    let tiles = (0..TILE_LEVELS).filter_map(|level| TilePath::hashes(level, last_tile(level, size), size));
    tiles
        .chain(TilePath::entries(size / WIDTH, size))
        .filter(TilePath::is_partial)
        .collect()
}

/// Index of the unfinished tile of a level.
fn last_tile(level: u8, size: u64) -> u64 {
    size.checked_shr(8 * (u32::from(level) + 1)).unwrap_or(0)
}

/// The tree up to the last full bundle of a log of `size` entries, from its unfinished tiles above level 0.
fn read_full(folder: &Path, size: u64) -> Result<TileEdge, LedgerError> {
    let mut levels = vec![Vec::new()];
    for level in 1..TILE_LEVELS {
        let path = TilePath::hashes(level, last_tile(level, size), size);
        levels.push(match path {
            Some(path) => {
                let bytes = disk::read_if_exists(&folder.join(path.to_string()))?;
                bytes
                    .as_deref()
                    .and_then(decode_hashes)
                    .ok_or_else(|| damaged(folder, format!("`{path}` is not whole")))?
            }
            None => Vec::new(),
        });
    }
    TileEdge::from_levels(size - size % WIDTH, levels).map_err(|_| {
        damaged(
            folder,
            "the unfinished tiles do not have the widths of the checkpoint".to_owned(),
        )
    })
}

fn write_bundle(folder: &Path, path: TilePath, entries: &[Arc<[u8]>]) -> Result<(), LedgerError> {
    let mut bundle = Vec::new();
    for entry in entries {
        push_entry(&mut bundle, entry).map_err(|error| LedgerError::EntryTooLarge(error.bytes))?;
    }
    write(folder, path, &bundle)
}

fn write(folder: &Path, path: TilePath, bytes: &[u8]) -> Result<(), LedgerError> {
    let path = folder.join(path.to_string());
    if let Some(parent) = path.parent() {
        disk::ensure_folder(parent)?;
    }
    disk::write_atomically(&path, bytes)
}
