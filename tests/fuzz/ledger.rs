//! What `gateway-ledger` reads: entries, commit segments, tiles, checkpoints, keys, the edge of a log.

use gateway_ledger::commit::{Tail, read_segment};
use gateway_ledger::{
    CHECKPOINT_PATH, CheckpointKey, CheckpointSigner, Entry, Frontier, SignedCheckpoint, TilePath, tile,
    verify_log,
};

fn signer() -> CheckpointSigner {
    CheckpointSigner::new("fuzz.example/ledger", &[7; 32]).unwrap()
}

#[test]
fn ledger_entry() {
    bolero::check!(name = "ledger_entry").for_each(|bytes: &[u8]| {
        if let Ok(entry) = Entry::decode(bytes) {
            // An entry whose header no writer would write is read (it may be in a log), and not written again.
            if let Ok(written) = entry.encode() {
                assert_eq!(written, bytes);
            }
        }
    });
}

/// L5: recovery takes whole commits, and says what follows them.
#[test]
fn segment() {
    bolero::check!(name = "segment").for_each(|bytes: &[u8]| {
        let Ok(segment) = read_segment(bytes) else {
            return;
        };
        assert_eq!(segment.entries.len(), segment.leaves.len());
        assert_eq!(
            segment.start.size() + segment.entries.len() as u64,
            segment.committed.size()
        );
        assert!(segment.whole_bytes <= bytes.len());
        match segment.tail {
            Tail::Clean => assert_eq!(segment.whole_bytes, bytes.len()),
            Tail::Unfinished { bytes: cut } => assert_eq!(segment.whole_bytes + cut, bytes.len()),
            Tail::Damaged { entry, offset } => {
                assert!(entry >= segment.start.size() && offset < bytes.len());
            }
        }
        // What was recovered is what is recovered again.
        let again = read_segment(&bytes[..segment.whole_bytes]).unwrap();
        assert_eq!((again.committed, again.tail), (segment.committed, Tail::Clean));
    });
}

#[test]
fn tile_of_entries() {
    bolero::check!(name = "tile_of_entries").for_each(|bytes: &[u8]| {
        let Some((width, bytes)) = bytes.split_first() else {
            return;
        };
        let width = u16::from(*width) + 1;
        if let Some(entries) = tile::decode_bundle(bytes, width) {
            assert_eq!(entries.len(), usize::from(width));
            let mut written = Vec::new();
            for entry in entries {
                tile::push_entry(&mut written, entry).unwrap();
            }
            assert_eq!(written, bytes);
        }
        if let Some(hashes) = tile::decode_hashes(bytes) {
            assert_eq!(tile::encode_hashes(&hashes), bytes);
        }
    });
}

#[test]
fn tile_path() {
    bolero::check!(name = "tile_path").for_each(|bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(path) = text.parse::<TilePath>() {
            assert_eq!(path.to_string(), text);
        }
    });
}

#[test]
fn checkpoint() {
    let signer = signer();
    let key = signer.key();
    bolero::check!(name = "checkpoint").for_each(|bytes: &[u8]| {
        let note = String::from_utf8_lossy(bytes);
        if let Ok(checkpoint) = SignedCheckpoint::open(&note, key) {
            assert_eq!(checkpoint.as_str(), note);
        }
        let _ = CheckpointKey::parse(&note);
    });
}

#[test]
fn edge() {
    bolero::check!(name = "edge").for_each(|bytes: &[u8]| {
        if let Ok(edge) = Frontier::from_bytes(bytes) {
            assert_eq!(edge.to_bytes(), bytes);
        }
    });
}

/// L8: a served log is anybody's bytes to the verifier; only what was signed passes. The input is the one tile of
/// entries beside an honest checkpoint and tile of hashes.
#[test]
fn served_log() {
    let signer = signer();
    let (mut honest, mut hashes, mut edge) = (Vec::new(), Vec::new(), Frontier::new());
    for entry in [b"first".as_slice(), b"second"] {
        tile::push_entry(&mut honest, entry).unwrap();
        let leaf = gateway_ledger::leaf_hash(entry);
        hashes.push(leaf);
        edge.append(leaf);
    }
    let checkpoint = signer.sign(edge.size(), edge.root());
    let hashes = tile::encode_hashes(&hashes);
    bolero::check!(name = "served_log").for_each(|bytes: &[u8]| {
        let read = |path: &str| -> Result<Vec<u8>, &str> {
            Ok(match path {
                CHECKPOINT_PATH => checkpoint.as_str().as_bytes().to_vec(),
                path if path.starts_with("tile/entries/") => bytes.to_vec(),
                _ => hashes.clone(),
            })
        };
        assert_eq!(verify_log(read, signer.key()).is_ok(), bytes == honest);
    });
}
