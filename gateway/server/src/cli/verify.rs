//! `sealgate verify PATH`: offline, everything hashed again, the first wrong entry named (L8).

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::output;
use crate::store::ledger::verify::verify_folder;

/// Who rewrites a log can put another key beside it.
const KEY_FROM_FOLDER: &str = "the verifier key was read from the log's own folder; to exclude a rewritten log, give \
                               --key a checkpoint key that was pinned elsewhere";

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
            let pinned = verify.key.is_some();
            if verify.json {
                let mut report = json!({
                    "ok": true, "size": size, "root": root, "key_from": if pinned { "argument" } else { "folder" },
                });
                if let (false, Some(report)) = (pinned, report.as_object_mut()) {
                    report.insert("warning".to_owned(), KEY_FROM_FOLDER.into());
                }
                output::json(&report)?;
            } else {
                output::text(&format!("the log verifies: {size} entries, root {root}"))?;
                if !pinned {
                    output::text(&format!("warning: {KEY_FROM_FOLDER}"))?;
                }
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
