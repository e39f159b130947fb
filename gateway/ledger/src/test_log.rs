//! A published log in memory, for tests: its files by path, and ways to damage them.

use std::collections::BTreeMap;

use crate::frontier::TileEdge;
use crate::hash::leaf_hash;
use crate::note::{CheckpointKey, CheckpointSigner};
use crate::tile::{TilePath, decode_bundle, encode_hashes, push_entry};
use crate::verify::CHECKPOINT_PATH;

pub(crate) struct TestLog {
    size: u64,
    signer: CheckpointSigner,
    files: BTreeMap<String, Vec<u8>>,
}

impl TestLog {
    pub(crate) fn of(size: u64) -> Self {
        Self::with(size, Self::entry)
    }

    pub(crate) fn entry(index: u64) -> Vec<u8> {
        format!("entry {index}").into_bytes()
    }

    pub(crate) fn with(size: u64, entry: impl Fn(u64) -> Vec<u8>) -> Self {
        let signer = CheckpointSigner::new("acme/ledger", &[9; 32]).unwrap();
        let mut log = Self {
            size,
            signer,
            files: BTreeMap::new(),
        };
        let (mut edge, mut bundle) = (TileEdge::new(), Vec::new());
        for index in 0..size {
            let entry = entry(index);
            push_entry(&mut bundle, &entry).unwrap();
            for tile in edge.append(leaf_hash(&entry)) {
                let path = TilePath::Hashes {
                    level: tile.level,
                    index: tile.index,
                    width: 256,
                };
                log.put(&path.to_string(), encode_hashes(&tile.hashes));
            }
            if index % 256 == 255 || index + 1 == size {
                let path = TilePath::entries(index / 256, size).unwrap();
                log.put(&path.to_string(), std::mem::take(&mut bundle));
            }
        }
        for level in 0..8 {
            if let hashes @ [_, ..] = edge.partial(level) {
                let path = TilePath::hashes(level, size >> (8 * (level + 1)), size).unwrap();
                log.put(&path.to_string(), encode_hashes(hashes));
            }
        }
        let note = log.signer.sign(size, edge.root()).as_str().to_owned();
        log.put(CHECKPOINT_PATH, note.into_bytes());
        log
    }

    pub(crate) fn key(&self) -> CheckpointKey {
        self.signer.key().clone()
    }

    pub(crate) fn checkpoint(&self) -> String {
        String::from_utf8(self.files[CHECKPOINT_PATH].clone()).unwrap()
    }

    pub(crate) fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        self.files
            .get(path)
            .cloned()
            .ok_or_else(|| "not found".to_owned())
    }

    pub(crate) fn files(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }

    pub(crate) fn put(&mut self, path: &str, bytes: Vec<u8>) {
        self.files.insert(path.to_owned(), bytes);
    }

    pub(crate) fn remove(&mut self, path: &str) {
        self.files.remove(path).unwrap();
    }

    pub(crate) fn flip(&mut self, path: &str, at: usize) {
        self.flip_bit(path, at, 0);
    }

    pub(crate) fn flip_bit(&mut self, path: &str, at: usize, bit: u8) {
        self.files.get_mut(path).unwrap()[at] ^= 1 << bit;
    }

    pub(crate) fn bundle_of(&self, index: u64) -> String {
        TilePath::entries(index / 256, self.size).unwrap().to_string()
    }

    /// Flips a bit in the last byte of an entry.
    pub(crate) fn flip_entry(&mut self, index: u64) {
        let (path, place) = (self.bundle_of(index), usize::try_from(index % 256).unwrap());
        let width = TilePath::entries(index / 256, self.size).unwrap().width();
        let bytes = self.read(&path).unwrap();
        let end: usize = decode_bundle(&bytes, width)
            .unwrap()
            .iter()
            .take(place + 1)
            .map(|entry| 2 + entry.len())
            .sum();
        self.flip(&path, end - 1);
    }

    /// Makes a full tile of leaf hashes agree with its bundle.
    pub(crate) fn rehash_tile(&mut self, index: u64) {
        let bytes = self
            .read(&TilePath::Entries { index, width: 256 }.to_string())
            .unwrap();
        let hashes: Vec<_> = decode_bundle(&bytes, 256)
            .unwrap()
            .into_iter()
            .map(leaf_hash)
            .collect();
        self.put(
            &TilePath::Hashes {
                level: 0,
                index,
                width: 256,
            }
            .to_string(),
            encode_hashes(&hashes),
        );
    }

    /// The first entry that a byte of a file is about.
    pub(crate) fn entry_at(&self, path: &str, at: usize) -> Option<u64> {
        match path.parse().ok()? {
            TilePath::Hashes { level, index, .. } => Some((index * 256 + at as u64 / 32) << (8 * level)),
            TilePath::Entries { index, .. } => {
                let mut end = 0;
                let lengths = (index * 256..self.size).map(|index| 2 + Self::entry(index).len());
                let before = lengths.take_while(|length| {
                    end += length;
                    end <= at
                });
                Some(index * 256 + before.count() as u64)
            }
        }
    }
}
