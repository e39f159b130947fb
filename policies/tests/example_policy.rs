//! The shipped packs and the example policy hold.

#![expect(clippy::disallowed_methods, reason = "tests read the folders that they check")]

use std::collections::BTreeMap;
use std::path::Path;

use policies::document::packs::SHIPPED;
use policies::document::{Folder, check};
use policies::plan::Plan;

fn read(folder: &Path, below: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder.join(below)).unwrap() {
        let path = below.join(entry.unwrap().file_name());
        if folder.join(&path).is_dir() {
            read(folder, &path, files);
        } else {
            files.insert(path.to_str().unwrap().to_owned(), std::fs::read(folder.join(&path)).unwrap());
        }
    }
}

fn example() -> Folder {
    let mut files = BTreeMap::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("example"), Path::new(""), &mut files);
    Folder { files }
}

#[test]
fn example_policy_has_no_problem() {
    match check(&example()) {
        Ok(checked) => assert!(checked.parts().contains_key("packs/bank.toml")),
        Err(problems) => panic!("{problems}"),
    }
}

#[test]
fn every_shipped_pack_loads_and_is_listed() {
    let mut folder = example();
    let packs: Vec<String> = SHIPPED.iter().map(|(id, _)| format!("\"{id}@1\"")).collect();
    let policy = format!("tenant = \"acme\"\nname = \"Acme\"\ntime_zone = \"UTC\"\nlabels = [\"public\", \"internal\", \"confidential\", \"restricted\"]\npacks = [{}]\n", packs.join(", "));
    folder.files.insert("policy.toml".to_owned(), policy.into_bytes());
    if let Err(problems) = check(&folder) {
        panic!("{problems}");
    }
    let on_disk = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("packs")).unwrap();
    assert_eq!(on_disk.filter(|entry| entry.as_ref().unwrap().path().is_dir()).count(), SHIPPED.len());
}

#[test]
fn metadata_tests_of_the_example_hold() {
    let plan = Plan::draft(&check(&example()).unwrap());
    for case in plan.tests() {
        if let Some(Err(fault)) = case.run_metadata(&plan) {
            panic!("{}:{}: {}: {fault}", case.file, case.line, case.name);
        }
    }
}

/// R3
#[test]
fn every_rule_of_the_example_has_plain_words() {
    let plan = Plan::draft(&check(&example()).unwrap());
    let words: Vec<String> = plan.rules().iter().map(policies::rule::Rule::in_plain_words).collect();
    insta::assert_snapshot!(words.join("\n"), @"");
}
