//! `doctor`

use serde_json::json;

use super::Context;
use crate::doctor::{self, Finding};
use crate::exit::Exit;
use crate::print;

/// Fails if anything is wrong.
pub(crate) async fn execute(context: &Context) -> anyhow::Result<Exit> {
    let findings = doctor::examine(&context.paths).await;
    let ok = findings.iter().all(|finding| finding.ok);
    if context.json {
        print::json(&json!({ "ok": ok, "findings": findings }))?;
    } else {
        print::line(&findings.iter().map(line).collect::<Vec<_>>().join("\n"));
    }
    Ok(if ok { Exit::Done } else { Exit::Failed })
}

fn line(finding: &Finding) -> String {
    let state = if finding.ok { "ok   " } else { "WRONG" };
    let mend = finding
        .mend
        .as_ref()
        .map(|mend| format!("\n                    {mend}"))
        .unwrap_or_default();
    format!("{state}  {:<11}  {}{mend}", finding.check, finding.found)
}
