//! What the offline verifier (L8) costs per entry on one core, against a physical limit of the same run: SHA-256 of the same
//! leaves and nodes, and nothing else. The log lies in memory, so that no disk is measured.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench reads clocks, prints its ratio and stops at the first failure"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gateway_ledger::{CheckpointSigner, Hash, TileEdge, TilePath, leaf_hash, node_hash, tile, verify_log};

const ENTRIES: u32 = 262_144;
/// As the entry of a story is.
const ENTRY_BYTES: usize = 500;
const RATIO_ROUNDS: u32 = 5;

struct Log {
    signer: CheckpointSigner,
    files: BTreeMap<String, Vec<u8>>,
}

fn entry(index: u32) -> Vec<u8> {
    let mut entry = vec![0xA5; ENTRY_BYTES];
    entry[..4].copy_from_slice(&index.to_be_bytes());
    entry
}

impl Log {
    /// A log whose tiles are all full on the two lowest levels.
    fn new() -> Self {
        let (mut edge, mut files, mut bundle) = (TileEdge::new(), BTreeMap::new(), Vec::new());
        for index in 0..ENTRIES {
            let entry = entry(index);
            tile::push_entry(&mut bundle, &entry).unwrap();
            for full in edge.append(leaf_hash(&entry)) {
                let path = TilePath::hashes(full.level, full.index, u64::from(ENTRIES)).unwrap();
                files.insert(path.to_string(), tile::encode_hashes(&full.hashes));
            }
            if index % 256 == 255 {
                let path = TilePath::entries(u64::from(index / 256), u64::from(ENTRIES)).unwrap();
                files.insert(path.to_string(), std::mem::take(&mut bundle));
            }
        }
        for level in 0..4 {
            let (hashes, tile) = (
                edge.partial(level),
                u64::from(ENTRIES) >> (8 * (u32::from(level) + 1)),
            );
            if !hashes.is_empty() {
                let path = TilePath::hashes(level, tile, u64::from(ENTRIES)).unwrap();
                files.insert(path.to_string(), tile::encode_hashes(hashes));
            }
        }
        let signer = CheckpointSigner::new("acme/ledger", &[9; 32]).unwrap();
        let note = signer.sign(u64::from(ENTRIES), edge.root()).as_str().to_owned();
        files.insert("checkpoint".to_owned(), note.into_bytes());
        Self { signer, files }
    }

    fn verify(&self) {
        let read = |path: &str| self.files.get(path).cloned().ok_or("not found");
        let verified = verify_log(read, self.signer.key()).unwrap();
        assert_eq!(verified.checkpoint.size, u64::from(ENTRIES));
    }
}

/// As many hashes of as many bytes as the tree has.
fn hash_alone(entry: &[u8]) {
    let mut root = Hash::from_bytes([0; 32]);
    for _ in 0..ENTRIES {
        root = node_hash(&root, &leaf_hash(black_box(entry)));
    }
    black_box(root);
}

fn timed(work: impl Fn()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn verifying(criterion: &mut Criterion) {
    let (log, entry) = (Log::new(), entry(0));
    let mut group = criterion.benchmark_group("verify");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(u64::from(ENTRIES)));
    group.bench_function("log", |bencher| bencher.iter(|| log.verify()));
    group.bench_function("sha-256 alone", |bencher| bencher.iter(|| hash_alone(&entry)));
    group.finish();
    let (mut whole, mut hashes) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..RATIO_ROUNDS {
        whole += timed(|| log.verify());
        hashes += timed(|| hash_alone(&entry));
    }
    let per_s = f64::from(ENTRIES * RATIO_ROUNDS) / whole.as_secs_f64();
    let ratio = whole.as_secs_f64() / hashes.as_secs_f64();
    println!(
        "verify: {per_s:.0} entries of {ENTRY_BYTES} bytes/s on one core, {ratio:.2} times SHA-256 alone"
    );
}

criterion_group!(benches, verifying);
criterion_main!(benches);
