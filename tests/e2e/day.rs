//! The demo's day, as a newcomer runs it.

use serde_json::Value;

use crate::world::run;

/// Product promises 1-3: every step of the demo has the outcome that it announces.
#[test]
fn every_step_of_the_demo_has_the_expected_outcome() {
    let folder = tempfile::Builder::new().prefix("sg").tempdir().unwrap();
    let dir = folder.path().join("demo");
    let answer = run(
        "sealgate",
        ["demo", "--once", "--json", "--dir", dir.to_str().unwrap()],
    );
    let steps: Vec<Value> = answer
        .text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let failed: Vec<&Value> = steps.iter().filter(|step| step["ok"] != true).collect();
    assert!(failed.is_empty(), "{failed:#?}\n{}", answer.errors);
    assert_eq!(answer.code, 0, "{}", answer.errors);
    assert!(steps.len() >= 18, "only {} steps", steps.len());
}
