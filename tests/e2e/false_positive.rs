//! An employee says that a finding is none.

use serde_json::Value;

use crate::world::{BLOCKED, PATIENCE, World, contains, files_below};

const CARD: &str = "4556737586899855";

fn report<'a>(world: &World, more: impl IntoIterator<Item = &'a str>) -> Vec<Value> {
    let mut arguments = vec!["report-false-positive"];
    arguments.extend(more);
    let answer = world.agent("Alice", arguments).succeeded();
    answer
        .text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The ledger's entries of this kind, once the agent has uploaded what it had.
fn recorded(world: &World, kind: &str) -> Vec<Value> {
    world
        .agent("Alice", ["status", "--wait-spool", "--timeout", PATIENCE])
        .succeeded();
    let found = world
        .gateway(["log", "search", "--kind", kind])
        .succeeded()
        .json();
    found["entries"].as_array().unwrap().clone()
}

/// K25: a report is shown before it leaves, and without a confirmation nothing does.
#[test]
fn a_report_is_shown_first_and_leaves_only_when_confirmed() {
    let mut world = World::new();
    world.employ("Alice", "employees");
    let text = format!("invoice {CARD}");
    let shown = world.agent(
        "Alice",
        [
            "report-false-positive",
            "--text",
            &text,
            "--finding",
            "payment-card",
        ],
    );
    assert_eq!(shown.code, 2, "{}", shown.errors);
    assert_eq!(shown.json()["done"], false);
    let activity = world.agent("Alice", ["activity"]).json();
    assert!(activity["entries"].as_array().unwrap().is_empty());
    let unknown = world.agent(
        "Alice",
        [
            "report-false-positive",
            "--text",
            &text,
            "--finding",
            "iban",
            "--yes",
        ],
    );
    assert_eq!(unknown.code, 2);
    assert!(unknown.errors.contains("payment-card"), "{}", unknown.errors);
    assert!(recorded(&world, "false-positive").is_empty());
}

/// K25: the gateway sees rule and family; the compliance key opens the detector and the comment, and the matched text
/// only where its author chose to include it.
#[test]
fn a_report_is_coarse_and_its_matched_text_the_authors_choice() {
    let mut world = World::with_team();
    let text = format!("invoice {CARD}");
    world
        .agent("Alice", ["share", "--audience", "team", "--text", &text])
        .ended_with(BLOCKED);
    let decided = world.agent("Alice", ["activity"]).json()["entries"][0]["id"].clone();
    let decided = decided.as_str().unwrap();
    let plain = [
        "--activity",
        decided,
        "--finding",
        "payment-card",
        "--comment",
        "an order",
        "--yes",
    ];
    let plain = report(&world, plain);
    let chosen = [
        "--text",
        &text,
        "--finding",
        "payment-card",
        "--include-match",
        "--yes",
    ];
    let chosen = report(&world, chosen);
    for steps in [&plain, &chosen] {
        let [before, after] = steps.as_slice() else {
            panic!("shown and reported: {steps:?}")
        };
        assert_eq!((&before["done"], &after["done"]), (&false.into(), &true.into()));
        for (field, value) in before["reported"].as_object().unwrap() {
            assert_eq!(&after["reported"][field], value, "{field} is not what was shown");
        }
    }
    assert!(plain[0]["matched"].as_array().unwrap().is_empty());
    assert_eq!(chosen[0]["matched"][0], CARD);

    let entries = recorded(&world, "false-positive");
    assert_eq!(entries.len(), 2, "{entries:?}");
    let key = world.path("authors/compliance.key").display().to_string();
    let mut matched = Vec::new();
    for entry in &entries {
        let entry_text = entry.to_string();
        assert!(entry_text.contains("payment-card"), "{entry_text}");
        assert!(!entry_text.contains(CARD) && !entry_text.contains("an order"));
        let index = entry["index"].to_string();
        let opened = world
            .gateway(["log", "open", &index, "--key", &key])
            .succeeded()
            .json();
        matched.push(opened["opened"]["matched_text"].to_string());
        let is_plain = opened["opened"]["justification"] == "an order";
        assert_eq!(is_plain, opened["opened"]["matched_text"].is_null());
    }
    matched.sort();
    assert_eq!(matched, [format!("[\"{CARD}\"]"), "null".to_owned()]);
    world.stop_gateway();
    for (path, bytes) in files_below(&world.path("gateway")) {
        assert!(!contains(&bytes, CARD.as_bytes()), "{}", path.display());
    }
    let activity = world.agent("Alice", ["activity"]).json();
    let disputes = activity["entries"].as_array().unwrap().iter();
    assert_eq!(disputes.filter(|entry| entry["dispute"].is_object()).count(), 2);
}
