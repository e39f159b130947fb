//! Every stored file, cut short and with a flipped bit at each boundary: the gateway starts with everything that it
//! acknowledged, or refuses with the file's kind and what to do. It never panics, and never takes damage for good.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use gateway_ledger::commit::read_segment;
use policies::terms::{Cti, Digest};
use serde_json::json;

use super::tests::{DEVICE, commit, event, request, stored_blob, takeback, upload};
use crate::domain::record::Kind;
use crate::domain::{enrollment, events};
use crate::jobs;
use crate::relay::tests::{START_S, World, copy_folder, group};
use crate::store::objects::{ChunkOpener, ObjectKey, Part};
use crate::store::stories::StoryState;

/// What is done to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// It ends here.
    Cut(usize),
    /// A bit of this byte is another one.
    Flip(usize),
}

/// Stored files, the words by which a refusal names them, and what it tells to do.
const KINDS: [(&str, &str, &str); 9] = [
    ("gateway.toml", "gateway.toml", ""),
    ("gateway.db-wal", "database", "back"),
    ("gateway.db", "database", "restore"),
    ("keys/", "keys/", "restore"),
    ("ledger/", "ledger", "restore"),
    ("directory/", "directory", "restore"),
    ("blobs/", "", ""),
    ("bucket-keys/", "bucket key", "move the file away"),
    ("subject-keys/", "subject-keys", "restore"),
];

/// Files that hold nothing: made anew at each start.
const WITHOUT_CONTENT: [&str; 4] = ["lock", "ballast", "gateway.db-shm", "admin.sock"];

/// What was acknowledged, as a start finds it.
#[derive(Debug, PartialEq, Eq)]
struct Acknowledged {
    ledger: Vec<serde_json::Value>,
    directory: u64,
    devices: usize,
    epoch: u64,
    log: Vec<u64>,
    stories: Vec<Option<StoryState>>,
    envelopes: Vec<Result<Vec<u8>, String>>,
    blob: Result<Vec<u8>, String>,
}

impl Acknowledged {
    /// Whether this is what a crash before the last commit leaves, which a write-ahead log without its end cannot be told
    /// from: the last change was recorded, and the ledger says that it had no effect.
    fn is_without_last_change(&self, sound: &Self) -> bool {
        let Some((last, ledger)) = self.ledger.split_last() else {
            return false;
        };
        last["kind"] == Kind::NoEffect.as_str()
            && ledger == sound.ledger
            && self.epoch == 0
            && self.log == sound.log[..3]
            && (self.directory, self.devices) == (sound.directory, sound.devices)
            && (&self.stories, &self.envelopes, &self.blob) == (&sound.stories, &sound.envelopes, &sound.blob)
    }
}

async fn acknowledged(world: &World) -> anyhow::Result<Acknowledged> {
    let gateway = &world.gateway;
    let mut ledger = Vec::new();
    let mut next = 0;
    while next < gateway.ledger.size() {
        for entry in gateway.ledger.entries(next, u64::MAX).await? {
            next = entry.index + 1;
            ledger.push(entry.to_json());
        }
    }
    let mut stories = Vec::new();
    let mut envelopes = Vec::new();
    for number in 1..=3 {
        stories.push(world.state(number).await);
        envelopes.push(envelope(world, number).await.map_err(|error| error.to_string()));
    }
    let items = gateway.store.log_behind(group(), DEVICE.id, 0).await?;
    Ok(Acknowledged {
        ledger,
        directory: gateway.directory.size(),
        devices: gateway.directory.read(|directory| directory.devices().count()),
        epoch: gateway
            .store
            .audience(group())
            .await?
            .map_or(0, |audience| audience.epoch),
        log: items.iter().map(|item| item.sequence).collect(),
        stories,
        envelopes,
        blob: blob(world).await.map_err(|error| error.to_string()),
    })
}

async fn envelope(world: &World, number: u8) -> anyhow::Result<Vec<u8>> {
    let cti = Cti::from_bytes([number; 16]);
    let Some((story, stored)) = world.gateway.store.story_ciphertext(cti).await? else {
        return Ok(Vec::new());
    };
    let bucket = world.gateway.bucket_keys.existing(story.expires_s)?;
    let bucket = bucket.ok_or_else(|| anyhow::anyhow!("no bucket key"))?;
    let key = ObjectKey::unwrap(&bucket, cti.as_bytes(), &stored.wrapped_key)?;
    Ok(key.open(Part::Envelope, &stored.envelope)?)
}

async fn blob(world: &World) -> anyhow::Result<Vec<u8>> {
    use futures_util::TryStreamExt as _;
    let blob = world.gateway.store.blob(Digest::of(b"a picture")).await?;
    let blob = blob.ok_or_else(|| anyhow::anyhow!("no blob"))?;
    let bucket = world.gateway.bucket_keys.existing(blob.expires_s)?;
    let bucket = bucket.ok_or_else(|| anyhow::anyhow!("no bucket key"))?;
    let key = ObjectKey::unwrap(&bucket, &blob.object, &blob.wrapped_key)?;
    let mut opener = ChunkOpener::new(key);
    let mut stream = world.gateway.objects.read(&blob.object).await?;
    let mut clear = Vec::new();
    while let Some(chunk) = stream.try_next().await? {
        clear.extend(opener.update(&chunk)?);
    }
    clear.extend(opener.finish()?);
    Ok(clear)
}

/// A folder as a crash leaves it, with something in every kind of file: full tiles and a commit log behind them, pages in
/// the database and more in its write-ahead log.
async fn folder() -> tempfile::TempDir {
    let world = World::new().await;
    let gateway = &world.gateway;
    let mut story = world.submission(1, 0);
    let (digest, expires_s) = (Digest::of(b"a picture"), story.story.expires_s);
    let key = stored_blob(gateway, digest, expires_s).await;
    let bucket = gateway.bucket_keys.key(expires_s).unwrap();
    story.blobs.push((digest, key.wrap(&bucket, &[3; 16]).unwrap()));
    gateway.relay.submit(story).await.unwrap();
    let asked = request(gateway, 7).await;
    enrollment::enroll(gateway, &asked).await.unwrap();
    let reads = (0..300).map(|number| {
        gateway
            .entry(Kind::LogRead, None, json!({ "number": number }))
            .unwrap()
    });
    gateway.ledger.append(reads.collect()).await.unwrap();
    jobs::round(gateway).await;
    gateway.store.truncate_wal().await.unwrap();
    for number in 2..=3 {
        gateway.relay.submit(world.submission(number, 0)).await.unwrap();
    }
    gateway.relay.take_back(takeback(gateway, 3)).await.unwrap();
    events::record(gateway, DEVICE, upload(vec![event(1, 1)]))
        .await
        .unwrap();
    gateway
        .relay
        .change(world.change(Some(0), 1, Some(commit())))
        .await
        .unwrap();
    let kept = tempfile::tempdir().unwrap();
    copy_folder(world.layout.root(), &kept.path().join("gateway"));
    kept
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files.extend(files_below(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files.sort();
    files
}

/// Where a file's parts begin: those by which it is read.
fn borders(name: &str, bytes: &[u8]) -> Vec<usize> {
    /// SQLite's pages; in the write-ahead log each has a header, and the log has one.
    const PAGE: usize = 4096;
    const WAL_HEADER: usize = 32;
    const FRAME_HEADER: usize = 24;
    let every = |first: usize, step: usize| -> Vec<usize> { (first..bytes.len()).step_by(step).collect() };
    if name.ends_with(".log") {
        let segment = read_segment(bytes).unwrap();
        let ranges = segment.entries.iter();
        return ranges.flat_map(|Range { start, end }| [*start, *end]).collect();
    }
    match name {
        "gateway.db" => every(0, PAGE),
        "gateway.db-wal" => every(WAL_HEADER, FRAME_HEADER + PAGE),
        _ => Vec::new(),
    }
}

/// At most this many of a file's borders: its first ones, its last ones, and some between.
const BORDERS: usize = 6;

fn damages(name: &str, bytes: &[u8]) -> Vec<Damage> {
    let length = bytes.len();
    let borders = borders(name, bytes);
    let step = borders.len().div_ceil(BORDERS).max(1);
    let chosen = borders.iter().step_by(step).chain(borders.last()).copied();
    let mut cuts: Vec<usize> = chosen
        .flat_map(|border| [border, border.saturating_sub(1)])
        .collect();
    cuts.extend([0, 1, length / 2, length.saturating_sub(1)]);
    cuts.sort_unstable();
    cuts.dedup();
    cuts.retain(|at| *at < length);
    cuts.iter()
        .map(|at| Damage::Cut(*at))
        .chain(cuts.iter().map(|at| Damage::Flip(*at)))
        .collect()
}

fn damage(path: &Path, damage: Damage) {
    let mut bytes = fs::read(path).unwrap();
    match damage {
        Damage::Cut(end) => bytes.truncate(end),
        Damage::Flip(at) => bytes[at] ^= 1,
    }
    fs::write(path, bytes).unwrap();
}

/// Why a start on this folder is neither refused as it should be nor as if nothing had happened.
async fn fault(kept: &Path, name: &str, done: Damage, sound: &Acknowledged) -> Option<String> {
    let (_, kind, remedy) = KINDS
        .iter()
        .find(|(prefix, ..)| name.starts_with(prefix))
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    copy_folder(kept, &folder.path().join("gateway"));
    damage(&folder.path().join("gateway").join(name), done);
    let refusal = match World::open(folder, START_S).await {
        Err(refusal) => format!("{refusal:#}"),
        Ok(world) => match acknowledged(&world).await {
            // A log is not read whole at each start: it is refused where it is read.
            Err(error) => format!("{error:#}"),
            Ok(found) if found == *sound => return None,
            Ok(found) if name == "gateway.db-wal" && found.is_without_last_change(sound) => return None,
            // What cannot be opened is not given out; it is no secret which objects there are.
            Ok(found) if name.starts_with("blobs/") => {
                return (found.blob.is_ok()
                    || Acknowledged {
                        blob: sound.blob.clone(),
                        ..found
                    } != *sound)
                    .then(|| "a damaged blob was taken for good".to_owned());
            }
            // A configuration is what its author wrote.
            Ok(_) if name == "gateway.toml" => return None,
            Ok(found) => {
                return Some(format!(
                    "started with other things: {} entries, epoch {}, {:?}, {:?}, {:?}, {:?}",
                    found.ledger.len(),
                    found.epoch,
                    found.log,
                    found.stories,
                    found.envelopes.iter().map(Result::is_ok).collect::<Vec<_>>(),
                    found.blob.is_ok(),
                ));
            }
        },
    };
    let says = refusal.contains(kind) && refusal.contains(remedy);
    (!says).then(|| format!("refused with `{refusal}`"))
}

#[tokio::test]
async fn damaged_file_is_refused_or_harmless() {
    let folder = folder().await;
    let kept = folder.path().join("gateway");
    let sound = {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(&kept, &copy.path().join("gateway"));
        let world = World::open(copy, START_S).await.unwrap();
        acknowledged(&world).await.unwrap()
    };
    assert_eq!(sound.log, [1, 2, 4, 5]);
    let (mut tried, mut faults) = (0, Vec::new());
    for path in files_below(&kept) {
        let name = path.strip_prefix(&kept).unwrap().to_str().unwrap();
        if WITHOUT_CONTENT.iter().any(|without| name.ends_with(without)) {
            continue;
        }
        for done in damages(name, &fs::read(&path).unwrap()) {
            tried += 1;
            if let Some(fault) = fault(&kept, name, done, &sound).await {
                faults.push(format!("{name} {done:?}: {fault}"));
            }
        }
    }
    assert!(tried > 150, "{tried}");
    assert!(
        faults.is_empty(),
        "{} of {tried}:\n{}",
        faults.len(),
        faults.join("\n")
    );
}
