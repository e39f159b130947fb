//! Appending, publishing, crashing and damaging a log on disk.

use std::fs;

use gateway_ledger::{LogVerifier, SignedCheckpoint};
use tempfile::TempDir;

use super::verify::{VerifyFault, verify_folder};
use super::*;

impl LedgerFiles {
    fn entry(&self, index: u64) -> Result<Vec<u8>, LedgerError> {
        self.entries(index..index + 1)
            .map(|mut entries| entries.remove(0))
    }

    fn root(&self) -> Hash {
        self.read_committed(|committed| committed.edge.root())
    }

    fn checkpoint(&self) -> String {
        String::from_utf8(self.read_file("checkpoint").unwrap().unwrap()).unwrap()
    }
}

fn signer() -> CheckpointSigner {
    CheckpointSigner::new("acme/log", &[9; 32]).unwrap()
}

fn open(folder: &TempDir) -> (LedgerFiles, Recovery) {
    LedgerFiles::open(folder.path(), signer()).unwrap()
}

fn refusal(folder: &TempDir) -> LedgerError {
    LedgerFiles::open(folder.path(), signer()).err().unwrap()
}

fn entries(range: Range<u64>) -> Vec<Vec<u8>> {
    range.map(|index| format!("entry {index}").into_bytes()).collect()
}

/// A closed log of `size` entries, published, in batches of 100; large ones in fewer syncs.
fn log_of(size: u64) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(&folder);
    let batch = if size < 1_000 { 100 } else { 10_000 };
    for first in (0..size).step_by(batch) {
        log.append(entries(first..size.min(first + batch as u64)))
            .unwrap();
    }
    log.publish().unwrap();
    folder
}

fn segment_of(folder: &TempDir) -> PathBuf {
    folder.path().join("commits/00000000000000000000.log")
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn fault_of(folder: &TempDir) -> VerifyFault {
    verify_folder(folder.path(), None, None).unwrap_err()
}

#[test]
fn log_that_begins_is_empty_and_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let (log, recovery) = open(&folder);
    assert_eq!((recovery, log.size()), (Recovery::default(), 0));
    assert_eq!(log.root(), gateway_ledger::empty_root());
    assert_eq!(verify_folder(folder.path(), None, None).unwrap().size, 0);
    assert!(matches!(
        log.entry(0),
        Err(LedgerError::NoSuchEntry { index: 0, size: 0 })
    ));
}

#[test]
fn appended_entries_are_read_before_and_after_publication() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(&folder);
    assert_eq!(log.append(entries(0..3)).unwrap(), 0..3);
    assert_eq!(log.append(entries(3..600)).unwrap(), 3..600);
    assert_eq!(log.entries(0..600).unwrap(), entries(0..600));
    log.publish().unwrap();
    assert_eq!(log.entries(250..515).unwrap(), entries(250..515));
    assert_eq!(log.entry(599).unwrap(), b"entry 599");
    assert!(log.entries(599..601).is_err());
    let report = verify_folder(folder.path(), Some(&signer().key().to_string()), None).unwrap();
    assert_eq!((report.size, report.root), (600, log.root()));
}

#[test]
fn published_files_are_what_a_follower_needs() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(&folder);
    let mut follower = LogVerifier::new(signer().key().clone());
    for to in [1, 255, 256, 300, 700] {
        let from = log.size();
        log.append(entries(from..to)).unwrap();
        log.publish().unwrap();
        let read = |path: &str| log.read_file(path).unwrap().ok_or("not found");
        assert_eq!(
            follower.advance(&log.checkpoint(), read).unwrap().entries,
            entries(from..to)
        );
    }
    for path in [
        "lock",
        "commits/00000000000000000000.log",
        "../key",
        "tile",
        "tile/0/000.p/1/../1",
        "tile/0/009",
    ] {
        assert_eq!(log.read_file(path).unwrap(), None, "{path}");
    }
}

/// Readers that hold the checkpoint before the last one still find its files.
#[test]
fn files_of_the_checkpoint_before_stay_for_its_readers() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(&folder);
    for to in [1, 2, 3] {
        log.append(entries(to - 1..to)).unwrap();
        log.publish().unwrap();
    }
    let there = |width: u64| {
        log.read_file(&format!("tile/entries/000.p/{width}"))
            .unwrap()
            .is_some()
    };
    assert_eq!([there(1), there(2), there(3)], [false, true, true]);
}

#[test]
fn log_goes_on_where_it_stopped() {
    for size in [1, 256, 257, 1_100] {
        let folder = log_of(size);
        let (log, recovery) = open(&folder);
        assert_eq!((log.size(), recovery.truncated_bytes), (size, 0));
        log.append(entries(size..size + 300)).unwrap();
        log.publish().unwrap();
        assert_eq!(verify_folder(folder.path(), None, None).unwrap().size, size + 300);
        assert_eq!(
            log.entries(size - 1..size + 300).unwrap(),
            entries(size - 1..size + 300)
        );
    }
}

/// K34
#[test]
fn second_writer_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(&folder);
    assert!(matches!(refusal(&folder), LedgerError::Locked(_)));
    drop(log);
    open(&folder);
}

#[test]
fn log_of_another_key_is_refused() {
    let folder = log_of(3);
    let other = CheckpointSigner::new("acme/ledger", &[8; 32]).unwrap();
    assert!(matches!(
        LedgerFiles::open(folder.path(), other),
        Err(LedgerError::OtherKey { .. })
    ));
}

/// L5: committed, not published, and then the power fails.
#[test]
fn committed_entries_outlive_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(&folder);
    log.append(entries(0..300)).unwrap();
    drop(log);
    let (log, recovery) = open(&folder);
    assert_eq!((log.size(), recovery.truncated_bytes), (300, 0));
    assert_eq!(
        SignedCheckpoint::open(&log.checkpoint(), signer().key())
            .unwrap()
            .checkpoint()
            .size,
        300
    );
}

/// L5
#[test]
fn append_cut_off_by_a_crash_is_taken_away_and_said() {
    let folder = log_of(5);
    let whole = fs::read(segment_of(&folder)).unwrap();
    let (log, _) = open(&folder);
    log.append(entries(5..9)).unwrap();
    drop(log);
    let more = fs::read(segment_of(&folder)).unwrap();
    for end in [whole.len() + 1, whole.len() + 30, more.len() - 1] {
        // The publication at the end of each round never happened.
        let copy = log_of(5);
        fs::write(segment_of(&copy), &more[..end]).unwrap();
        let (log, recovery) = open(&copy);
        assert_eq!(
            (log.size(), recovery.truncated_bytes),
            (5, (end - whole.len()) as u64)
        );
        assert_eq!(log.append(entries(5..6)).unwrap(), 5..6);
    }
}

/// L5: not a crash, but damage; nothing is thrown away.
#[test]
fn damaged_commit_log_is_refused_and_left_alone() {
    let folder = log_of(300);
    let bytes = fs::read(segment_of(&folder)).unwrap();
    flip(&segment_of(&folder), 100);
    let refusal = refusal(&folder).to_string();
    assert!(
        refusal.contains("damaged: entry") && refusal.contains("restore the folder from a backup"),
        "{refusal}"
    );
    assert_eq!(fs::read(segment_of(&folder)).unwrap().len(), bytes.len());
}

#[test]
fn commit_log_that_ends_before_what_is_published_is_refused() {
    let folder = log_of(300);
    let bytes = fs::read(segment_of(&folder)).unwrap();
    fs::write(segment_of(&folder), &bytes[..bytes.len() - 1]).unwrap();
    assert!(
        refusal(&folder)
            .to_string()
            .contains("entry 200: the commit log ends before it")
    );
}

#[test]
fn missing_commit_log_is_refused() {
    let folder = log_of(3);
    fs::remove_file(segment_of(&folder)).unwrap();
    assert!(matches!(refusal(&folder), LedgerError::Damaged { .. }));
}

#[test]
fn replaced_checkpoint_is_refused() {
    let folder = log_of(300);
    let other = log_of(299);
    fs::copy(other.path().join("checkpoint"), folder.path().join("checkpoint")).unwrap();
    open(&folder);
    let forged = signer().sign(300, gateway_ledger::empty_root());
    fs::write(folder.path().join("checkpoint"), forged.as_str()).unwrap();
    assert!(refusal(&folder).to_string().contains("do not agree"));
}

/// L5: nobody knows what the disk holds after a failed sync.
#[test]
fn failed_sync_poisons_the_log() {
    let folder = log_of(3);
    let (log, _) = open(&folder);
    log.break_disk(BreakAt::Sync);
    for _ in 0..2 {
        let refusal = log.append(entries(3..4)).unwrap_err();
        assert!(
            matches!(&refusal, LedgerError::Poisoned(reason) if reason.contains("input/output error")),
            "{refusal}"
        );
    }
    assert_eq!((log.size(), log.entries(0..3).unwrap()), (3, entries(0..3)));
    log.publish().unwrap();
}

#[test]
fn entry_of_65536_bytes_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(&folder);
    assert!(matches!(
        log.append(vec![vec![0; 65_536]]),
        Err(LedgerError::EntryTooLarge(65_536))
    ));
    assert_eq!(log.append(vec![vec![0; 65_535]]).unwrap(), 0..1);
    assert_eq!(log.append(Vec::new()).unwrap(), 1..1);
}

#[test]
fn segments_covered_by_full_tiles_go() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(&folder);
    let segments = || commits::segments(&folder.path().join("commits")).unwrap();
    log.append(entries(0..300)).unwrap();
    lock(&log.commits).fill_segment();
    log.append(entries(300..500)).unwrap();
    log.publish().unwrap();
    assert_eq!(segments(), [0, 300], "entries 256 to 299 are in no full tile");
    log.append(entries(500..513)).unwrap();
    log.publish().unwrap();
    assert_eq!(segments(), [300]);
    drop(log);
    let (log, recovery) = open(&folder);
    assert_eq!((log.size(), recovery), (513, Recovery::default()));
    assert_eq!(log.entries(0..513).unwrap(), entries(0..513));
    assert_eq!(verify_folder(folder.path(), None, None).unwrap().size, 513);
}

#[test]
fn many_writers_share_the_log_and_every_entry_has_its_index() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(&folder);
    let ranges: Vec<(u64, Range<u64>)> = std::thread::scope(|scope| {
        let log = &log;
        let writers: Vec<_> = (0..8_u64)
            .map(|writer| {
                scope.spawn(move || {
                    (0..20)
                        .map(|_| {
                            (
                                writer,
                                log.append(vec![writer.to_be_bytes().to_vec(); 3]).unwrap(),
                            )
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        writers
            .into_iter()
            .flat_map(|writer| writer.join().unwrap())
            .collect()
    });
    assert_eq!(log.size(), 8 * 20 * 3);
    for (writer, range) in ranges {
        assert_eq!(
            log.entries(range).unwrap(),
            vec![writer.to_be_bytes().to_vec(); 3]
        );
    }
    log.publish().unwrap();
    assert_eq!(verify_folder(folder.path(), None, None).unwrap().size, 480);
}

/// L8: a flipped byte anywhere in the folder is found; the sentence names the entry wherever one is concerned.
#[test]
fn flipped_byte_in_any_file_is_named() {
    let folder = log_of(600);
    let (log, _) = open(&folder);
    log.append(entries(600..620)).unwrap();
    log.publish().unwrap();
    drop(log);
    let mut files = Vec::new();
    let mut folders = vec![folder.path().to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path())
            } else {
                files.push(entry.path())
            }
        }
    }
    for file in files.iter().filter(|file| !file.ends_with("lock")) {
        let original = fs::read(file).unwrap();
        for at in [0, original.len() / 3, original.len() / 2, original.len() - 2] {
            flip(file, at);
            let fault = fault_of(&folder);
            let concerns_an_entry = !file.ends_with("checkpoint") && !file.ends_with("key");
            assert_eq!(
                fault.entry.is_some(),
                concerns_an_entry,
                "{}: {fault}",
                file.display()
            );
            assert_eq!(fault.sentence.starts_with("entr"), concerns_an_entry, "{fault}");
            fs::write(file, &original).unwrap();
        }
    }
    assert_eq!(verify_folder(folder.path(), None, None).unwrap().size, 620);
}

#[test]
fn folder_that_is_no_log_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(
        fault_of(&folder).sentence,
        "`key` cannot be read: entity not found; is this the folder of a log?"
    );
}

/// L8: entries are hashed where they are read, so that a changed one is not taken for good between two verifications.
#[test]
fn flipped_byte_in_a_bundle_is_not_read() {
    for (path, at) in [
        ("tile/entries/000", 5),
        ("tile/entries/000", 0),
        ("tile/0/000", 40),
    ] {
        let folder = log_of(600);
        let (log, _) = open(&folder);
        assert_eq!(log.entries(0..10).unwrap(), entries(0..10));
        flip(&folder.path().join(path), at);
        let refusal = log.entries(0..10).unwrap_err();
        assert!(
            matches!(refusal, LedgerError::Damaged { .. }),
            "{path}: {refusal}"
        );
    }
}

/// A log that is being written can be verified: what is committed behind the checkpoint is no fault.
#[test]
fn unpublished_entries_are_no_fault() {
    let folder = log_of(10);
    let (log, _) = open(&folder);
    log.append(entries(10..14)).unwrap();
    assert_eq!(verify_folder(folder.path(), None, None).unwrap().size, 10);
}

/// L6: whoever numbers entries holds its lock over taking the place, not over the sync.
#[test]
fn entries_are_committed_in_the_order_of_their_places() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(&folder);
    let [first, second, third] = [0..2, 2..3, 3..7].map(|range| log.enqueue(entries(range)).unwrap());
    assert_eq!(log.size(), 0);
    assert_eq!(log.committed(third).unwrap(), 3..7);
    assert_eq!(log.committed(first).unwrap(), 0..2);
    assert_eq!(log.committed(second).unwrap(), 2..3);
    assert_eq!(log.entries(0..7).unwrap(), entries(0..7));
}
