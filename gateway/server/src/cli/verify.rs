//! `sealgate verify`: a log, whole, or an export, offline: everything hashed again, the first that is wrong named (L8).

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::ensure;
use clap::Args;
use gateway_ledger::Checkpoint;
use serde_json::{Value, json};

use super::output;
use crate::evidence;
use crate::evidence::pin::Pin;
use crate::store::ledger::verify::{check_pinned_size, verify_folder};

/// Who rewrites a log can put another key beside it.
const KEY_FROM_FOLDER: &str = "the verifier key was read from the folder itself; to exclude a rewritten log, give \
                               --key a checkpoint key that was pinned elsewhere, or --pin a pin";

/// Flags of `verify`.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// A log's folder, or a copy of it
    #[arg(required_unless_present = "export", conflicts_with = "export")]
    path: Option<PathBuf>,
    /// An export of `sealgate log export`
    #[arg(long, value_name = "DIR")]
    export: Option<PathBuf>,
    /// The log's verifier key, from a place that the log's keeper does not control; else the folder's own `key` file
    #[arg(long)]
    key: Option<String>,
    /// A checkpoint that `sealgate log pin` wrote: the log must not be smaller, nor have another past
    #[arg(long, value_name = "FILE")]
    pin: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(verify: &Verify) -> anyhow::Result<ExitCode> {
    let (key, pinned) = match &verify.pin {
        Some(path) => {
            let (pin, checkpoint) = Pin::read(path)?;
            let given = verify.key.as_deref().map_or(pin.key.as_str(), str::trim);
            ensure!(
                given == pin.key,
                "--key is not the key of the pin; one of the two is of another log"
            );
            (Some(pin.key), Some(checkpoint))
        }
        None => (verify.key.clone(), None),
    };
    let outcome = match (&verify.path, &verify.export) {
        (_, Some(export)) => of_export(export, key.as_deref(), pinned.as_ref()),
        (Some(path), None) => of_log(path, key.as_deref(), pinned.as_ref()),
        (None, None) => anyhow::bail!("give a log's folder, or --export DIR"),
    };
    tell(verify, outcome, key.is_some())
}

/// What is said of something that verifies, and of something that does not.
type Outcome = Result<(Value, String), (Value, String)>;

fn of_log(path: &Path, key: Option<&str>, pinned: Option<&Checkpoint>) -> Outcome {
    match verify_folder(path, key, pinned) {
        Ok(report) => {
            let (size, root) = (report.size, report.root.to_string());
            let mut text = format!("the log verifies: {size} entries, root {root}");
            if let Some(pinned) = pinned {
                text.push_str(&format!(
                    "\nit begins with the {} entries that were pinned",
                    pinned.size
                ));
            }
            let json =
                json!({ "ok": true, "size": size, "root": root, "pinned_size": pinned.map(|p| p.size) });
            Ok((json, text))
        }
        Err(fault) => {
            let json = json!({ "ok": false, "entry": fault.entry, "fault": fault.sentence });
            Err((json, format!("the log does not verify: {}", fault.sentence)))
        }
    }
}

fn of_export(folder: &Path, key: Option<&str>, pinned: Option<&Checkpoint>) -> Outcome {
    let refused = |file: &str, fault: String| {
        let text = format!("the export does not verify: {fault}");
        Err((json!({ "ok": false, "file": file, "fault": fault }), text))
    };
    let export = match evidence::verify::verify(folder, key) {
        Ok(export) => export,
        Err(fault) => return refused(&fault.file, fault.to_string()),
    };
    let (manifest, checkpoint) = (&export.manifest, export.checkpoint.checkpoint());
    if let Some(Err(fault)) = pinned.map(|pinned| check_pinned_size(checkpoint, pinned)) {
        return refused("checkpoint", fault.sentence);
    }
    let coverage = &manifest.coverage;
    let mut text = format!(
        "the export verifies: {} entries of a ledger of {}, root {}",
        manifest.entries.len(),
        checkpoint.size,
        checkpoint.root
    );
    if coverage.unreadable > 0 {
        text.push_str(&format!(
            "\n{} more entries may match, and cannot be read any more",
            coverage.unreadable
        ));
    }
    let continues = pinned.map(|pinned| pinned.size == checkpoint.size);
    if continues == Some(false) {
        text.push_str(
            "\nthe ledger is larger than it was when it was pinned; that it has the same past is shown by \
             `sealgate verify FOLDER --pin FILE` on the ledger itself",
        );
    }
    let json = json!({
        "ok": true, "entries": manifest.entries.len(), "size": checkpoint.size, "root": manifest.root,
        "filter": manifest.filter, "coverage": coverage, "complete": coverage.is_complete(),
        "made_at_s": manifest.made_at_s, "continues_pin": continues.filter(|same| *same),
    });
    Ok((json, text))
}

fn tell(verify: &Verify, outcome: Outcome, has_key: bool) -> anyhow::Result<ExitCode> {
    let (mut json, mut text, code) = match outcome {
        Ok((json, text)) => (json, text, ExitCode::SUCCESS),
        Err((json, text)) => (json, text, ExitCode::FAILURE),
    };
    if let Some(report) = json
        .as_object_mut()
        .filter(|report| report.get("ok") == Some(&true.into()))
    {
        let from = if has_key { "argument" } else { "folder" };
        report.insert("key_from".to_owned(), from.into());
        if !has_key {
            report.insert("warning".to_owned(), KEY_FROM_FOLDER.into());
            text.push_str(&format!("\nwarning: {KEY_FROM_FOLDER}"));
        }
    }
    if verify.json {
        output::json(&json)?;
    } else {
        output::text(&text)?;
    }
    Ok(code)
}
