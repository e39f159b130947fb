//! What `agent-inspect` reads: any file that an employee attaches.

use agent_inspect::Limits;

#[path = "../../agent/inspect/tests/inspect/company.rs"]
mod company;

/// X3, X4: every file is read within its limits or said to be unread; a match lies in what was given.
#[test]
fn attachment() {
    let engine = company::engine();
    let limits = Limits::default();
    bolero::check!(name = "attachment").for_each(|bytes: &[u8]| {
        let report = engine.inspect_item("file", bytes, &limits);
        let _ = report.evidence();
    });
}
