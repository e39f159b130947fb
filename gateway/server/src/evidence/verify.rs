//! `sealgate verify --export DIR`: everything in an export checked offline, with the ledger's key alone; the first file
//! that is wrong is named.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gateway_ledger::{CheckpointKey, Entry, ProofFile, SignedCheckpoint, WriterCounts};
use policies::bundle::UnverifiedBundle;
use policies::terms::{Digest, EntryId};
use serde_json::Value;

use super::manifest::{FileDigest, Manifest};
use super::{CHECKPOINT, KEY, LINES, MANIFEST, SIGNATURE, STATEMENT, entry_path, policy_path, proof_path};

/// The first file that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{file}`: {fault}")]
pub(crate) struct ExportFault {
    /// Its path within the export.
    pub(crate) file: String,
    /// In what way.
    pub(crate) fault: String,
}

/// An export in which everything holds.
pub(crate) struct VerifiedExport {
    pub(crate) manifest: Manifest,
    pub(crate) checkpoint: SignedCheckpoint,
}

/// Verifies an export; without a key against the one in the export, which proves less.
pub(crate) fn verify(folder: &Path, vkey: Option<&str>) -> Result<VerifiedExport, ExportFault> {
    let key = match vkey {
        Some(vkey) => vkey.to_owned(),
        None => text(folder, KEY)?,
    };
    let key = CheckpointKey::parse(&key).map_err(|error| fault(KEY, error))?;
    let manifest = manifest(folder, &key)?;
    check_files(folder, &manifest)?;
    let checkpoint =
        SignedCheckpoint::open(&text(folder, CHECKPOINT)?, &key).map_err(|error| fault(CHECKPOINT, error))?;
    let (size, root) = (checkpoint.checkpoint().size, checkpoint.checkpoint().root);
    if size != manifest.coverage.tree_size || root.to_string() != manifest.root {
        return Err(fault(CHECKPOINT, "it is not the one that the manifest names"));
    }
    check_entries(folder, &manifest, &checkpoint, &key)?;
    check_policies(folder, &manifest)?;
    Ok(VerifiedExport { manifest, checkpoint })
}

/// Only what is signed is read.
fn manifest(folder: &Path, key: &CheckpointKey) -> Result<Manifest, ExportFault> {
    let note = text(folder, SIGNATURE)?;
    let signed = key
        .open_statement(STATEMENT, &note)
        .map_err(|error| fault(SIGNATURE, error))?;
    let bytes = read(folder, MANIFEST)?;
    if Digest::of(&bytes).to_string() != signed {
        return Err(fault(MANIFEST, "it is not the one that was signed"));
    }
    serde_json::from_slice(&bytes).map_err(|error| fault(MANIFEST, error))
}

/// No file is missing, changed or added.
fn check_files(folder: &Path, manifest: &Manifest) -> Result<(), ExportFault> {
    let listed: BTreeSet<String> = manifest.files.keys().cloned().collect();
    if listed != manifest.expected_files() {
        return Err(fault(
            MANIFEST,
            "its files are not those of its entries and policies",
        ));
    }
    for (path, expected) in &manifest.files {
        if FileDigest::of(&read(folder, path)?) != *expected {
            return Err(fault(path, "it is not the file that was exported"));
        }
    }
    let mut present = Vec::new();
    list(folder, &PathBuf::new(), &mut present)?;
    let known = |path: &String| listed.contains(path) || [MANIFEST, SIGNATURE].contains(&path.as_str());
    match present.into_iter().find(|path| !known(path)) {
        Some(added) => Err(fault(&added, "it is not part of the export; take it out")),
        None => Ok(()),
    }
}

fn check_entries(
    folder: &Path,
    manifest: &Manifest,
    checkpoint: &SignedCheckpoint,
    key: &CheckpointKey,
) -> Result<(), ExportFault> {
    let lines = text(folder, LINES)?;
    let mut lines = lines.lines();
    let mut counts = WriterCounts::default();
    for index in &manifest.entries {
        let (bytes, path) = (read(folder, &entry_path(*index))?, proof_path(*index));
        let proof = ProofFile::open(&text(folder, &path)?, key).map_err(|error| fault(&path, error))?;
        if proof.index() != *index || proof.checkpoint() != checkpoint {
            return Err(fault(&path, "it is the proof of another entry or checkpoint"));
        }
        proof
            .verify(&bytes)
            .map_err(|error| fault(&entry_path(*index), error))?;
        let entry = Entry::decode(&bytes).map_err(|error| fault(&entry_path(*index), error))?;
        counts
            .take(*index, &entry.header.writer_id, entry.header.writer_seq)
            .map_err(|gap| fault(&entry_path(*index), gap))?;
        if !lines.next().is_some_and(|line| is_of(line, *index, &entry)) {
            return Err(fault(
                LINES,
                format!("it does not agree with the bytes of entry {index}"),
            ));
        }
    }
    match lines.next() {
        Some(_) => Err(fault(LINES, "it has lines without an entry")),
        None => Ok(()),
    }
}

/// Whether a line says of an entry what stands in its clear header.
fn is_of(line: &str, index: u64, entry: &Entry) -> bool {
    let Ok(line) = serde_json::from_str::<Value>(line) else {
        return false;
    };
    let header = &entry.header;
    let says = |field: &str, value: Value| line.get(field) == Some(&value);
    says("index", index.into())
        && says("at_s", header.at_s.into())
        && says("kind", header.kind.as_str().into())
        && says("policy_version", header.policy_version.into())
        && says("entry", EntryId::from_bytes(header.entry_id).to_string().into())
}

fn check_policies(folder: &Path, manifest: &Manifest) -> Result<(), ExportFault> {
    for (version, digest) in &manifest.policies {
        let path = policy_path(*version);
        let bundle = UnverifiedBundle::parse(&read(folder, &path)?).map_err(|error| fault(&path, error))?;
        if bundle.version() != *version || bundle.digest() != *digest {
            return Err(fault(&path, "it is not the policy that the manifest names"));
        }
    }
    Ok(())
}

fn list(root: &Path, folder: &Path, present: &mut Vec<String>) -> Result<(), ExportFault> {
    let name = |path: &Path| path.display().to_string();
    let listing = std::fs::read_dir(root.join(folder)).map_err(|error| fault(&name(folder), error.kind()))?;
    for entry in listing {
        let entry = entry.map_err(|error| fault(&name(folder), error.kind()))?;
        let path = folder.join(entry.file_name());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(root, &path, present)?;
        } else {
            present.push(name(&path));
        }
    }
    Ok(())
}

fn text(folder: &Path, path: &str) -> Result<String, ExportFault> {
    String::from_utf8(read(folder, path)?).map_err(|_| fault(path, "it is not text"))
}

fn read(folder: &Path, path: &str) -> Result<Vec<u8>, ExportFault> {
    std::fs::read(folder.join(path))
        .map_err(|error| fault(path, format!("it cannot be read: {}", error.kind())))
}

fn fault(file: &str, fault: impl std::fmt::Display) -> ExportFault {
    ExportFault {
        file: file.to_owned(),
        fault: fault.to_string(),
    }
}
