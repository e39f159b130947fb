//! The shipped packs over their own examples, and the example policy over its own drafts.

#![expect(clippy::disallowed_methods, reason = "tests read the folder that they check")]

use std::collections::BTreeMap;
use std::path::Path;

use agent_inspect::{Draft, DraftFile, Engine, Limits, examples_hold};
use policies::cases::{Case, Given};
use policies::decide::decide;
use policies::document::{Folder, check};
use policies::plan::Plan;
use policies::terms::Confidence;

use crate::support::plan;

/// P1: every detector finds something in each of its examples and nothing in its counter-examples.
#[test]
fn examples_and_counter_examples_of_every_shipped_detector_hold() {
    let faults: Vec<String> = examples_hold(plan().detectors())
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// P1
#[test]
fn every_shipped_detector_has_examples_and_look_alikes() {
    for detector in plan().detectors() {
        assert!(!detector.examples.is_empty(), "{}", detector.id);
        assert!(detector.counter_examples.len() >= 3, "{}", detector.id);
        assert!(!detector.references.is_empty(), "{}", detector.id);
    }
}

/// P1: what a part, a telephone, a room or a file may be called is doubtful until a word says otherwise.
#[test]
fn national_ids_that_look_like_other_numbers_are_doubtful_without_a_word() {
    let engine = Engine::compile(&example()).unwrap();
    let surest = |text: &str| -> Option<Confidence> {
        let report = engine.inspect(&Draft::new(text.to_owned(), Vec::new()), &Limits::default());
        let ids = report
            .matches()
            .iter()
            .filter(|m| m.family.as_str() == "national-id");
        ids.map(|m| m.confidence).max()
    };
    for text in [
        "part 212-09-9999",
        "call 800-55-5555",
        "Zimmer 54362315K",
        "Akte 880320-0016",
    ] {
        assert_eq!(surest(text), Some(Confidence::Low), "{text}");
    }
    for text in ["ssn 212-09-9999", "DNI 54362315K", "personnummer 880320-0016"] {
        assert_eq!(surest(text), Some(Confidence::High), "{text}");
    }
}

/// K3: what `sealgate policy test` has the agent do.
#[test]
fn drafts_of_the_example_policy_come_to_what_its_tests_say() {
    let plan = example();
    let engine = Engine::compile(&plan).unwrap();
    let drafts: Vec<(&Case, Draft)> = plan
        .tests()
        .iter()
        .filter_map(|case| Some((case, draft(&plan, case)?)))
        .collect();
    let faults: Vec<String> = drafts
        .iter()
        .filter_map(|(case, draft)| Some(format!("{}: {}", case.name, fault(&plan, &engine, case, draft)?)))
        .collect();
    assert!(drafts.len() >= 15, "{} drafts", drafts.len());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn fault(plan: &Plan, engine: &Engine, case: &Case, draft: &Draft) -> Option<String> {
    let report = engine.inspect(draft, &Limits::default());
    case.judge(&decide(plan, &case.facts(), &report.evidence()))
}

fn draft(plan: &Plan, case: &Case) -> Option<Draft> {
    let Given::Draft { text, files } = &case.given else {
        return None;
    };
    let files = files.iter().map(|path| DraftFile {
        name: path.clone(),
        bytes: plan.file(path).unwrap().to_vec(),
    });
    Some(Draft::new(text.clone(), files.collect()))
}

fn example() -> Plan {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/example");
    let mut files = BTreeMap::new();
    read(&root, "", &mut files);
    Plan::draft(&check(&Folder { files }).unwrap())
}

fn read(root: &Path, below: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(root.join(below)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{below}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            read(root, &format!("{path}/"), files);
        } else {
            files.insert(path.clone(), std::fs::read(root.join(&path)).unwrap());
        }
    }
}
