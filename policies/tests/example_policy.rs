//! The shipped packs and the example policy hold.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests read the folders that they check; a failed expectation fails the test"
)]

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
            files.insert(
                path.to_str().unwrap().to_owned(),
                std::fs::read(folder.join(&path)).unwrap(),
            );
        }
    }
}

fn example() -> Folder {
    let mut files = BTreeMap::new();
    read(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("example"),
        Path::new(""),
        &mut files,
    );
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
    let policy = format!(
        "tenant = \"acme\"\nname = \"Acme\"\ntime_zone = \"UTC\"\nlabels = [\"public\", \"internal\", \"confidential\", \"restricted\"]\npacks = [{}]\n",
        packs.join(", ")
    );
    folder.files.insert("policy.toml".to_owned(), policy.into_bytes());
    if let Err(problems) = check(&folder) {
        panic!("{problems}");
    }
    let on_disk = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("packs")).unwrap();
    assert_eq!(
        on_disk
            .filter(|entry| entry.as_ref().unwrap().path().is_dir())
            .count(),
        SHIPPED.len()
    );
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
    let words: Vec<String> = plan
        .rules()
        .iter()
        .map(policies::rule::Rule::in_plain_words)
        .collect();
    insta::assert_snapshot!(words.join("\n"), @r#"
Payment card numbers do not belong in a story. When it holds something of the family `payment-card` (confidence medium or higher), nothing is sealed. A coarse event without content is reported.
Passwords, keys and tokens are shared through the vault only. When it holds something of the family `secret` (confidence medium or higher), nothing is sealed. A coarse event without content is reported.
Identity and social security numbers stay in the systems that are made for them. When it holds something of the family `national-id` (confidence medium or higher), nothing is sealed. The story gets the label restricted. A coarse event without content is reported.
Account numbers identify a customer: say why they are needed here. When it holds something of the family `bank-account` (confidence medium or higher), you are asked for a reason. The story gets the label confidential. A coarse event without content is reported.
Photos are shared without the place where they were taken. When it holds something of the family `location` (confidence low or higher), what was found is removed before sealing. Only that it happened is reported.
This looks like a list of people's addresses or telephone numbers. When it holds something of the family `email` (confidence medium or higher, 5 different ones or more) or something of the family `phone` (confidence medium or higher, 5 different ones or more), you are asked to confirm. The story gets the label internal. Until the end of 2027-06-30 it does not apply when you are in the group press-office: The press office publishes its contact sheet until the new site has one. Only that it happened is reported.
Guests get only what could be inspected; this file is encrypted, damaged or of a kind that is not read. When something in it cannot be read and a guest is in the audience, nothing is sealed. A coarse event without content is reported.
This file could not be inspected: say what it is. When something in it cannot be read and only colleagues are in the audience, you are asked for a reason. The story gets the label internal. A coarse event without content is reported.
Customer numbers make a story confidential. When it holds `acme-customer-number` (confidence medium or higher), it may be shared, and that is recorded. The story gets the label confidential. Only that it happened is reported.
Bank routing numbers rarely help a guest. When it holds something of the family `bank-routing` (confidence medium or higher) and a guest is in the audience, nothing happens: the rule is on trial (otherwise: you are asked to confirm). Only that it happened is reported.
Large files to many people are worth a look. When the audience has more than 50 people and it has an item of the kind document, archive or other of more than 5000000 bytes, nothing happens: the rule is on trial (otherwise: it may be shared, and that is recorded). Only that it happened is reported.
"#);
}
