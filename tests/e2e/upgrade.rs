//! Data folders of an earlier format, opened by the present programs: `fixtures/README.md` says how each was made.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::world::{Answer, repository, run};

/// A gateway and two agents as commit 5de62c9 left them: a story in the audience `team`, a block, a kept draft.
struct Earlier {
    folder: tempfile::TempDir,
    expected: Value,
}

impl Earlier {
    fn unpack() -> Self {
        let folder = tempfile::Builder::new().prefix("sg").tempdir().unwrap();
        let archive = repository().join("tests/e2e/fixtures/5de62c9.tar.gz");
        let unpacked = Command::new("tar")
            .args([
                "-xzf",
                archive.to_str().unwrap(),
                "-C",
                folder.path().to_str().unwrap(),
            ])
            .status()
            .unwrap();
        assert!(unpacked.success());
        let expected =
            serde_json::from_slice(&fs::read(folder.path().join("expected.json")).unwrap()).unwrap();
        Self { folder, expected }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn gateway(&self, arguments: &[&str]) -> Value {
        let folder = self.path("gateway");
        run("sealgate", [arguments, &["--dir", &folder, "--json"]].concat())
            .succeeded()
            .json()
    }

    /// The log verifies, and begins with all that it held when the earlier program had closed it.
    fn verify(&self, log: &str) -> Answer {
        let pin = self.path(&format!("{log}.pin"));
        fs::write(&pin, self.expected[log].to_string()).unwrap();
        let folder = self.path(&format!("gateway/{log}"));
        run("sealgate", ["verify", &folder, "--pin", &pin, "--json"]).succeeded()
    }
}

/// Logs verify and continue, every entry can be read, devices and stories are known; the program that comes after the
/// present one finds nothing to do.
#[test]
fn gateway_of_the_issue_before_is_opened_without_loss() {
    let earlier = Earlier::unpack();
    for log in ["ledger", "directory"] {
        earlier.verify(log);
    }
    let devices = earlier.gateway(&["device", "list"]);
    let devices = devices["devices"].as_array().unwrap();
    for known in earlier.expected["devices"].as_array().unwrap() {
        let device = devices.iter().find(|device| device["device"] == *known).unwrap();
        assert_eq!(device["revoked"], false);
    }
    let search = earlier.gateway(&["log", "search"]);
    assert_eq!(search["complete"], true, "{}", search["coverage"]);
    let entries = search["entries"].as_array().unwrap();
    assert!(entries.len() as u64 >= earlier.expected["entries"].as_u64().unwrap());
    assert!(
        entries
            .iter()
            .all(|entry| entry["shredded"] == false && entry["payload"].is_object())
    );
    for (kind, flags) in [
        ("relay", ["--person", "Alice"]),
        ("event", ["--verdict", "block"]),
        ("bundle", ["--policy-version", "0"]),
    ] {
        let found = earlier.gateway(&["log", "search", "--kind", kind, flags[0], flags[1]]);
        assert_eq!(found["entries"].as_array().unwrap().len(), 1, "{kind}");
    }
    let story = earlier.expected["story"].as_str().unwrap();
    assert_ne!(earlier.gateway(&["story", "show", story])["state"], "unknown");
    for log in ["ledger", "directory"] {
        earlier.verify(log);
    }
    let again = earlier.gateway(&["log", "search", "--kind", "relay"]);
    assert_eq!(again["entries"].as_array().unwrap().len(), 1);
}

/// An agent's audiences, journal and kept drafts are there. Its certificate has ended long since, so it stays offline:
/// the doctor says so, and what to do.
#[test]
fn agent_of_the_issue_before_is_opened_without_loss() {
    let earlier = Earlier::unpack();
    let folder = earlier.path("agent-alice");
    let log = earlier.folder.path().join("alice.log");
    let (process, ready) =
        crate::world::Process::start("sealgate-agent", &["run", "--dir", &folder], Path::new(&log));
    assert_eq!(ready["online"], false);
    let agent = |arguments: &[&str]| {
        let answer = run(
            "sealgate-agent",
            [arguments, &["--dir", &folder, "--json"]].concat(),
        );
        answer.succeeded().json()
    };
    let status = agent(&["status"]);
    assert!(
        earlier.expected["devices"]
            .as_array()
            .unwrap()
            .contains(&status["device"])
    );
    assert_eq!(status["audiences"], 1);
    let audiences = agent(&["audience", "list"]).to_string();
    assert!(audiences.contains("team"), "{audiences}");
    let activity = agent(&["activity"]).to_string();
    assert!(activity.contains("block"), "{activity}");
    let pending = agent(&["pending"]);
    let kept = earlier.expected["kept"].as_str().unwrap();
    let drafts = pending["drafts"].as_array().unwrap();
    let draft = drafts.iter().find(|draft| draft["id"] == kept).unwrap();
    assert_eq!(draft["audience"], "team", "{draft}");
    process.stop();
}
