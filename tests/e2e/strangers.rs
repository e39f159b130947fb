//! A log of several tiles, read by somebody else's code: Cloudflare's `tlog_tiles` and `signed_note`. `tests/run` gives
//! the copy that this leaves to Go's `x/mod/sumdb` and to pymerkle too (`tests/strangers`).

use std::fs;
use std::path::{Path, PathBuf};

use policies::terms::AudienceId;
use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{
    Checkpoint, HashReader as _, Tile, TileHashReader, TileReader, check_record, check_tree, prove_record,
    prove_tree, record_hash, stored_hash_index, tree_hash,
};

use crate::world::{World, copy_folder};

const HEIGHT: u8 = 8;
const WIDTH: u64 = 256;
/// Entries beyond one full tile of hashes, so that a tile of level 1 is there.
const ENTRIES: usize = 300;

/// A folder as C2SP tlog-tiles lays it out; `tlog_tiles`' own paths carry the height first.
struct Folder(PathBuf);

impl Folder {
    fn path(&self, tile: &Tile) -> PathBuf {
        let path = tile.path();
        let below = path.strip_prefix(&format!("tile/{HEIGHT}/")).unwrap();
        self.0.join("tile").join(below.replacen("data/", "entries/", 1))
    }
}

impl TileReader for Folder {
    fn height(&self) -> u8 {
        HEIGHT
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        tiles
            .iter()
            .map(|tile| fs::read(self.path(tile)).map_err(|_| tlog_tiles::Error::InvalidTile))
            .collect()
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

/// The checkpoint, its signature verified.
fn checkpoint(folder: &Path, key: &str) -> Checkpoint {
    let note = Note::from_bytes(&fs::read(folder.join("checkpoint")).unwrap()).unwrap();
    let verifier = StandardVerifier::new(key.trim()).unwrap();
    let (verified, _) = note.verify(&VerifierList::new(vec![Box::new(verifier)])).unwrap();
    assert_eq!(verified.len(), 1);
    Checkpoint::from_bytes(note.text()).unwrap()
}

/// Every entry, from the bundles.
fn entries(folder: &Folder, size: u64) -> Vec<Vec<u8>> {
    let mut entries = Vec::new();
    for first in (0..size).step_by(256) {
        let width = (size - first).min(WIDTH);
        let mut tile = Tile::new(HEIGHT, 0, first / WIDTH, u32::try_from(width).unwrap(), false);
        tile.set_is_data();
        let mut bundle = fs::read(folder.path(&tile)).unwrap();
        for _ in 0..width {
            let length = usize::from(u16::from_be_bytes([bundle[0], bundle[1]]));
            entries.push(bundle[2..2 + length].to_vec());
            bundle.drain(..2 + length);
        }
        assert!(bundle.is_empty());
    }
    entries
}

/// L2: tiles, entries, proofs and signature of a log that a gateway wrote.
#[test]
fn strangers_read_a_log_of_several_tiles() {
    let world = World::with_team();
    let device = world.device("Bob");
    // Each refusal is an entry.
    for _ in 0..ENTRIES {
        device.post(AudienceId::from_bytes([7; 16]), b"no story", None);
    }
    world.gateway(["log", "publish"]).succeeded();
    let log = world.path("gateway").join("ledger");
    let key = fs::read_to_string(log.join("key")).unwrap();

    let checkpoint = checkpoint(&log, &key);
    let (size, root) = (checkpoint.size(), *checkpoint.hash());
    assert!(size > WIDTH, "{size} entries");
    let folder = Folder(log.clone());
    let reader = TileHashReader::new(size, root, &folder);
    assert_eq!(tree_hash(size, &reader).unwrap().0, root.0);
    for (index, entry) in (0..).zip(entries(&folder, size)) {
        let leaf = record_hash(&entry);
        let stored = reader.read_hashes(&[stored_hash_index(0, index)]).unwrap();
        assert_eq!(stored[0].0, leaf.0, "entry {index}");
        let proof = prove_record(size, index, &reader).unwrap();
        check_record(&proof, size, root, index, leaf).unwrap();
        let earlier = tree_hash(index + 1, &reader).unwrap();
        let proof = prove_tree(size, index + 1, &reader).unwrap();
        check_tree(&proof, size, root, index + 1, earlier).unwrap();
    }

    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("strangers/ledger");
    if copy.exists() {
        fs::remove_dir_all(&copy).unwrap();
    }
    copy_folder(&log, &copy);
}
