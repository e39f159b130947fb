//! The record verifies, and shows where it was touched.

use std::fs;

use crate::world::{World, copy_folder, files_below, run};

/// L8, promise 3.
#[test]
fn flipped_ledger_byte_is_named() {
    let world = World::with_team();
    world.share("Alice", "team", "nothing special");
    for log in ["ledger", "directory"] {
        let copy = world.path(&format!("{log}-copy"));
        world.gateway(["log", "publish"]).succeeded();
        copy_folder(&world.path("gateway").join(log), &copy);
        let path = copy.to_str().unwrap();
        let size = run("sealgate", ["verify", path, "--json"]).succeeded().json()["size"]
            .as_u64()
            .unwrap();
        assert!(size > 0);
        let (file, original) = files_below(&copy.join("tile/entries")).pop().unwrap();
        for position in [2, original.len() / 2, original.len() - 1] {
            let mut flipped = original.clone();
            flipped[position] ^= 0x10;
            fs::write(&file, &flipped).unwrap();
            let report = run("sealgate", ["verify", path, "--json"]).ended_with(1).json();
            let fault = report["fault"].as_str().unwrap();
            assert!(fault.starts_with("entry "), "{fault}");
            assert!(report["entry"].as_u64().unwrap() < size);
        }
    }
}

/// K34, L9: reading sealed findings takes the compliance key, and is itself an entry.
#[test]
fn opening_sealed_findings_is_recorded() {
    let world = World::with_team();
    let text = "Please transfer it to NL89INGB0004821937.";
    let reason = "supplier asked for our account";
    world
        .agent(
            "Alice",
            ["share", "--audience", "team", "--text", text, "--reason", reason],
        )
        .succeeded();
    let entries = world
        .gateway(["log", "search", "--kind", "relay"])
        .succeeded()
        .json();
    let index = entries["entries"][0]["index"].to_string();
    let key = world.path("authors/compliance.key").display().to_string();
    let opened = world.gateway(["log", "open", &index, "--key", &key]).succeeded();
    assert!(opened.text.contains(reason), "{}", opened.text);
    assert!(
        !opened.text.contains("NL89INGB0004821937"),
        "matched text is never sealed into the record"
    );
    let opens = world
        .gateway(["log", "search", "--kind", "log-open"])
        .succeeded()
        .json();
    assert_eq!(opens["entries"].as_array().unwrap().len(), 1);
}
