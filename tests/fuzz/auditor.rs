//! What an auditor and a restore read: exports, pins, backups. A file of a real one is changed; nothing but the unchanged
//! one is taken.

use std::path::{Path, PathBuf};

use gateway_ledger::{CheckpointKey, ProofFile};

use super::pin::Pin;
use super::verify::verify;
use crate::admin::{self, Command, LogName};
use crate::backup::make::{Places, make};
use crate::backup::restore::{Source, restore};
use crate::config::layout::Layout;
use crate::domain::search::Filter;
use crate::edits::edited;
use crate::relay::tests::World;

/// An export, a pin and a backup of one gateway.
struct Evidence {
    folder: tempfile::TempDir,
    vkey: String,
}

impl Evidence {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        let vkey = runtime.block_on(async {
            let world = World::new().await;
            let gateway = &world.gateway;
            gateway.relay.submit(world.submission(1, 0)).await.unwrap();
            let export = Command::LogExport {
                filter: Filter::default(),
                person: None,
                out: path("export"),
            };
            admin::run(gateway, export).await.unwrap();
            let log = LogName::Ledger;
            let reply = admin::run(gateway, Command::LogPin { log }).await.unwrap().json;
            let text = |name: &str| reply[name].as_str().unwrap().to_owned();
            let (key, checkpoint) = (text("key"), text("checkpoint"));
            Pin { key, checkpoint }.write(&path("pin")).unwrap();
            let places = Places {
                out: path("backup"),
                key: path("backup.key"),
                subject_keys: Some(path("subject-keys")),
            };
            make(gateway, places).await.unwrap();
            gateway.ledger.vkey().to_owned()
        });
        Self { folder, vkey }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files.extend(files_below(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files.sort();
    files
}

/// A file as the input says, while something is done with it: whether it is another one then.
fn with_edited<T>(files: &[PathBuf], input: &[u8], then: impl FnOnce(&Path) -> T) -> (bool, T) {
    let (which, edits) = input.split_first().unwrap_or((&0, &[]));
    let path = &files[usize::from(*which) % files.len()];
    let real = std::fs::read(path).unwrap();
    let changed = edited(&real, edits);
    std::fs::write(path, &changed).unwrap();
    let done = then(path);
    std::fs::write(path, &real).unwrap();
    (changed != real, done)
}

/// An export with one changed file, whichever it is, does not verify.
#[test]
fn export() {
    let evidence = Evidence::new();
    let folder = evidence.path("export");
    let files = files_below(&folder);
    bolero::check!(name = "export").for_each(|input: &[u8]| {
        let (is_changed, verified) = with_edited(&files, input, |_| verify(&folder, Some(&evidence.vkey)));
        assert_eq!(verified.is_ok(), !is_changed);
    });
}

/// C2SP tlog-proof: a changed proof may be read, and proves nothing else.
#[test]
fn proof_file() {
    let evidence = Evidence::new();
    let folder = evidence.path("export");
    let key = CheckpointKey::parse(&evidence.vkey).unwrap();
    let proofs = files_below(&folder.join("proofs"));
    bolero::check!(name = "proof_file").for_each(|input: &[u8]| {
        let (_, ()) = with_edited(&proofs, input, |path| {
            let entry = folder.join("entries").join(path.file_stem().unwrap());
            let text = String::from_utf8(std::fs::read(path).unwrap());
            let proof = text.ok().and_then(|text| ProofFile::open(&text, &key).ok());
            if let Some(proof) = proof
                && proof.verify(&std::fs::read(&entry).unwrap()).is_ok()
            {
                assert_eq!(
                    proof.index().to_string(),
                    entry.file_name().unwrap().to_str().unwrap()
                );
            }
        });
    });
}

#[test]
fn pin() {
    let evidence = Evidence::new();
    let file = evidence.path("pin");
    let (_, real) = Pin::read(&file).unwrap();
    bolero::check!(name = "pin").for_each(|input: &[u8]| {
        let (_, read) = with_edited(std::slice::from_ref(&file), input, Pin::read);
        if let Ok((pin, checkpoint)) = read
            && pin.key == evidence.vkey
        {
            assert_eq!(checkpoint, real);
        }
    });
}

/// A backup with one changed file, its keys included, is not restored, and leaves nothing behind.
#[test]
fn backup() {
    let evidence = Evidence::new();
    let mut files = files_below(&evidence.path("backup"));
    files.extend(["backup.key", "subject-keys"].map(|name| evidence.path(name)));
    let source = Source {
        backup: evidence.path("backup"),
        key: evidence.path("backup.key"),
        subject_keys: Some(evidence.path("subject-keys")),
    };
    let layout = Layout::new(evidence.path("restored"));
    bolero::check!(name = "backup").for_each(|input: &[u8]| {
        let (is_changed, restored) = with_edited(&files, input, |_| restore(&source, &layout));
        assert!(is_changed || restored.is_ok());
        assert_eq!(layout.root().exists(), restored.is_ok());
        if restored.is_ok() {
            std::fs::remove_dir_all(layout.root()).unwrap();
        }
        assert!(!evidence.path("restored.restoring").exists());
    });
}
