//! Writes an export. The manifest's signature comes last: a folder without it is not one.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, ensure};
use gateway_ledger::{Frontier, ProofFile};
use policies::terms::Digest;

use super::manifest::{FileDigest, Manifest};
use super::{
    CHECKPOINT, KEY, LINES, MANIFEST, README, SIGNATURE, STATEMENT, entry_path, policy_path, proof_path,
};
use crate::config::files;
use crate::domain::search::{Filter, Scan};
use crate::store::bundles::StoredBundle;
use crate::store::logs::{Ledger, ReadEntry};

/// What is exported.
pub(crate) struct Export {
    pub(crate) tenant: policies::terms::TenantId,
    pub(crate) made_at_s: u64,
    pub(crate) filter: Filter,
    /// Where the ledger stood.
    pub(crate) edge: Frontier,
    pub(crate) scan: Scan,
    pub(crate) policies: Vec<StoredBundle>,
}

/// Writes the export into a folder that does not exist yet, durably: its manifest.
///
/// # Errors
/// The folder exists or cannot be written, or the ledger cannot be read.
pub(crate) fn write(ledger: &Ledger, export: &Export, out: &Path) -> anyhow::Result<Manifest> {
    ensure!(
        !out.exists(),
        "`{}` exists; choose a folder that does not",
        out.display()
    );
    files::make_folder(out)?;
    for folder in ["entries", "proofs", "policies"] {
        files::make_folder(&out.join(folder))?;
    }
    let mut writer = Writer {
        out,
        files: BTreeMap::new(),
    };
    let Export { edge, scan, .. } = export;
    let indices: Vec<u64> = scan.found.iter().map(|entry| entry.index).collect();
    let (checkpoint, proofs) = ledger.prove(edge, &indices)?;
    writer.write(CHECKPOINT, checkpoint.as_str().as_bytes())?;
    writer.write(KEY, format!("{}\n", ledger.vkey()).as_bytes())?;
    writer.write(LINES, lines(&scan.found)?.as_bytes())?;
    for (index, proof) in indices.iter().zip(proofs) {
        writer.write(&entry_path(*index), &ledger.exact(*index)?)?;
        let file = ProofFile::new(proof, checkpoint.clone())?;
        writer.write(&proof_path(*index), file.to_string().as_bytes())?;
    }
    for bundle in &export.policies {
        writer.write(&policy_path(bundle.version), &bundle.bytes)?;
    }
    writer.write(README, readme(ledger.vkey()).as_bytes())?;
    let manifest = Manifest {
        tenant: export.tenant.clone(),
        made_at_s: export.made_at_s,
        filter: export.filter.clone(),
        coverage: scan.coverage.clone(),
        root: edge.root().to_string(),
        entries: indices,
        policies: export
            .policies
            .iter()
            .map(|bundle| (bundle.version, bundle.digest))
            .collect(),
        files: std::mem::take(&mut writer.files),
    };
    let bytes = serde_json::to_vec_pretty(&manifest)?;
    writer.write(MANIFEST, &bytes)?;
    let signature = ledger.state(STATEMENT, &Digest::of(&bytes).to_string())?;
    writer.write(SIGNATURE, signature.as_bytes())?;
    Ok(manifest)
}

/// Writes files and remembers what they hold.
struct Writer<'a> {
    out: &'a Path,
    files: BTreeMap<String, FileDigest>,
}

impl Writer<'_> {
    fn write(&mut self, path: &str, bytes: &[u8]) -> anyhow::Result<()> {
        files::write_new(&self.out.join(path), bytes)?;
        self.files.insert(path.to_owned(), FileDigest::of(bytes));
        Ok(())
    }
}

fn lines(entries: &[ReadEntry]) -> anyhow::Result<String> {
    let mut text = String::new();
    for entry in entries {
        text.push_str(&serde_json::to_string(&entry.to_json()).context("an entry cannot be written")?);
        text.push('\n');
    }
    Ok(text)
}

fn readme(vkey: &str) -> String {
    format!(
        "EVIDENCE FROM A SEALGATE LEDGER\n\
         \n\
         Check all of it, offline:\n\
         \n\
         \x20   sealgate verify --export . --key KEY\n\
         \n\
         KEY is the ledger's verifier key. Take it from a place that the gateway's operator does not control: an\n\
         enrollment file, or a pin that you made with `sealgate log pin`. The key that signed this export says that it is\n\
         \n\
         \x20   {vkey}\n\
         \n\
         What is proved, by that key alone:\n\
         - manifest.note   a signed note (C2SP signed-note) over the SHA-256 of manifest.json; the manifest holds the\n\
         \x20                 SHA-256 of each other file. No file may be missing, changed or added.\n\
         - checkpoint      size and root of the ledger (C2SP tlog-checkpoint).\n\
         - proofs/         one file per entry (C2SP tlog-proof): the bytes in entries/ are in the ledger of that\n\
         \x20                 checkpoint, at that index. Any tool for that format checks them; leaves are hashed as in\n\
         \x20                 RFC 6962, SHA-256(0x00 || bytes).\n\
         - entries.jsonl   index, time, kind, policy version and id are those in the exact bytes.\n\
         - policies/       each bundle is the one whose digest the manifest names. Its own two signatures are checked by\n\
         \x20                 agents; the author's and approver's keys are in every enrollment file.\n\
         \n\
         What rests on the gateway's word, signed with the manifest:\n\
         - the payloads in entries.jsonl are what the sealed payloads say (only the gateway can open those);\n\
         - coverage: that no other entry matches the filter. An export without a filter holds every entry, which its\n\
         \x20 proofs show.\n\
         \n\
         Entries of which `shredded` is true were erased on purpose: their bytes are proved, nobody can read them.\n\
         No witness has countersigned the checkpoint: whether others were shown the same ledger is told by comparing it\n\
         with pins (`sealgate verify FOLDER --pin FILE`).\n"
    )
}
