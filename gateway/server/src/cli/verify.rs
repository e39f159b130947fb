//! `sealgate verify PATH`: offline, everything hashed again, the first wrong entry named (L8).

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::output;
use crate::store::ledger::verify::verify_folder;

/// Flags of `verify`.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// A log's folder, or a copy or export of it
    path: PathBuf,
    /// The log's verifier key, from a place that the log's keeper does not control; else the folder's own `key` file
    #[arg(long)]
    key: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(verify: &Verify) -> anyhow::Result<ExitCode> {
    match verify_folder(&verify.path, verify.key.as_deref()) {
        Ok(report) => {
            let (size, root) = (report.size, report.root.to_string());
            if verify.json {
                output::json(&json!({ "ok": true, "size": size, "root": root }))?;
            } else {
                output::text(&format!("the log verifies: {size} entries, root {root}"))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(fault) => {
            if verify.json {
                output::json(&json!({ "ok": false, "entry": fault.entry, "fault": fault.sentence }))?;
            } else {
                output::text(&format!("the log does not verify: {}", fault.sentence))?;
            }
            Ok(ExitCode::FAILURE)
        }
    }
}
