//! `sealgate doctor`: exits with 1 if anything is wrong.

use std::process::ExitCode;

use serde_json::json;

use super::{Common, output};
use crate::admin::Reply;
use crate::config::layout::Layout;
use crate::doctor::{Doctor, Finding};

pub(super) async fn run(common: &Common) -> anyhow::Result<ExitCode> {
    let doctor = Doctor::new(Layout::new(&common.dir));
    doctor.check_folder()?;
    let findings = doctor.examine().await;
    let ok = findings.iter().all(|finding| finding.ok);
    let text: Vec<String> = findings.iter().map(line).collect();
    output::reply(
        common,
        &Reply {
            json: json!({ "ok": ok, "findings": findings }),
            text: text.join("\n"),
        },
    )?;
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn line(finding: &Finding) -> String {
    let state = if finding.ok { "ok   " } else { "WRONG" };
    let mend = finding
        .mend
        .as_ref()
        .map(|mend| format!("\n                     {mend}"))
        .unwrap_or_default();
    format!("{state}  {:<12}  {}{mend}", finding.check, finding.found)
}
