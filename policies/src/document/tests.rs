use super::*;
use crate::testing::{POLICY, RULES, folder, problems, with_rules};

/// P13: all problems of all files at once, each with file, line, column, words and help.
#[test]
fn every_problem_is_told_at_once() {
    let mut broken = folder(
        "dlp.toml",
        r#"
[[rule]]
id = "Cards"
mode = "on"
action = "stop"
sentence = ""
repotr = "event"
set_labels = ["secret"]
[rule.when]
findings = [{ family = "payment-crad", count = 0 }, { confidence = "high" }]
time = { from = "25:00", days = ["Monday"] }
[[rule.except]]
when = { group = "press" }
until = "2027-02-30"
why = 7
"#,
    );
    broken.files.insert(
        "policy.toml".to_owned(),
        POLICY
            .replace("Europe/Berlin", "Berlin")
            .replace("@1", "@2")
            .into(),
    );
    broken.files.insert("notes.txt".to_owned(), Vec::new());
    broken.files.remove("sharing/policy.csv");
    insta::assert_snapshot!(check(&broken).unwrap_err(), @r#"
dlp.toml:3:6: `id` cannot be `Cards`
  help: give a name: lower-case letters, digits, `.`, `_`, `-`

dlp.toml:4:8: `mode` cannot be `on`
  help: give one of off, shadow, enforce

dlp.toml:5:10: `action` cannot be `stop`
  help: give one of allow, audit, warn, justify, redact, block

dlp.toml:6:12: `sentence` is empty
  help: say something here

dlp.toml:7:1: `repotr` is not known here
  help: known here: action, except, fixes, id, link, mode, offline, on_unscannable, owner, reasons, report, sentence, set_labels, when

dlp.toml:8:15: there is no label `secret`
  help: policy.toml has: internal, confidential

dlp.toml:10:24: no detector of the family `payment-crad` is in this policy
  help: add its pack to `packs` in policy.toml, or correct the name

dlp.toml:10:48: `count` is no number in its range
  help: give a whole number from 1 to 4294967295

dlp.toml:10:53: the condition names neither `family` nor `detector`
  help: name one of the two

dlp.toml:11:17: `from` is no time of day
  help: write hours and minutes: "18:00"

dlp.toml:11:34: `Monday` is no day
  help: one of mon, tue, wed, thu, fri, sat, sun

dlp.toml:14:9: `until` cannot be `2027-02-30`
  help: give its last day: "2027-01-31"

dlp.toml:15:7: `why` is of the type integer
  help: give a text in quotes

notes.txt:1:1: the file is no part of a policy
  help: a folder has policy.toml, dlp.toml, detectors/*.toml, sharing/model.conf, sharing/policy.csv and tests/

policy.toml:4:13: `Berlin` is no time zone
  help: give an IANA name, such as `Europe/Berlin` or `UTC`

policy.toml:6:10: pack `payment-cards` has version 1, not 2
  help: say `payment-cards@1` after reading what changed

policy.toml:6:29: pack `contact` has version 1, not 2
  help: say `contact@1` after reading what changed

sharing/policy.csv:1:1: the file is missing
  help: every policy folder has policy.toml, dlp.toml, sharing/model.conf and sharing/policy.csv
"#);
}

#[test]
fn syntax_errors_have_a_place() {
    insta::assert_snapshot!(problems("policy.toml", "tenant = acme\nname = \"x\nlabels = [1]\n"), @r#"
policy.toml:1:10: string values must be quoted, expected literal string
  help: write it as TOML: key = value, texts in quotes (https://toml.io)

policy.toml:2:10: invalid basic string, expected `"`
  help: write it as TOML: key = value, texts in quotes (https://toml.io)
"#);
}

/// P1
#[test]
fn detector_without_examples_does_not_load() {
    let own = r#"
id = "own"
version = 1
title = "Own"
[[detector]]
id = "card-number"
family = "cards"
name = "x"
finds = "x"
pattern = '(a*'
confidence = "medium"
keyword = "required"
[[detector]]
id = "empty"
family = "custom"
name = "x"
finds = "x"
pattern = 'a*'
group = 2
confidence = "medium"
examples = ["a"]
"#;
    insta::assert_snapshot!(problems("detectors/own.toml", own), @r#"
detectors/own.toml:5:1: `keyword` is `required`, but there are no `keywords`
  help: add `keywords`, or say keyword = "none"

detectors/own.toml:7:10: there is no family `cards`
  help: one of payment-card, bank-account, bank-routing, national-id, tax-id, passport, driving-licence, health, secret, credential, private-key, email, phone, postal-address, network-address, crypto-wallet, source-code, finance, classification, sensitivity-label, hr, legal, location, metadata-author, hash-list, fingerprint, exact-data, person-name, custom, unscannable

detectors/own.toml:10:11: `pattern` is no regular expression: unclosed group
  help: see https://docs.rs/regex#syntax

detectors/own.toml:13:1: detector `empty` has no `counter_examples`
  help: a detector shows what it finds and what it leaves alone: add at least one of each

detectors/own.toml:18:11: `group` is 2, but the pattern has 0 groups
  help: number the group of the value from 1, or leave `group` out

detectors/own.toml:18:11: `pattern` matches the empty text
  help: make at least one character necessary
"#);
}

#[test]
fn detector_ids_are_unique_over_packs_and_own_files() {
    let detector = |id: &str| {
        format!(
            "[[detector]]\nid = \"{id}\"\nfamily = \"custom\"\nname = \"x\"\nfinds = \"x\"\npattern = 'a'\n\
             confidence = \"low\"\nexamples = [\"a\"]\ncounter_examples = [\"b\"]\n"
        )
    };
    let own = format!(
        "id = \"own\"\nversion = 1\ntitle = \"Own\"\n{}{}",
        detector("card-number"),
        detector("image-location")
    );
    insta::assert_snapshot!(problems("detectors/own.toml", &own), @r#"
detectors/own.toml:4:1: detector `card-number` is already in packs/payment-cards.toml
  help: give it an id of its own

detectors/own.toml:13:1: detector `image-location` comes with the inspector
  help: give it an id of its own
"#);
}

#[test]
fn rules_are_unique_and_never_empty() {
    let twice = format!(
        "{RULES}{RULES}[[rule]]\nid = \"all\"\nmode = \"enforce\"\naction = \"warn\"\nsentence = \"x\"\n"
    );
    insta::assert_snapshot!(problems("dlp.toml", &twice), @r#"
dlp.toml:10:1: rule `cards` is already on line 2
  help: give every rule its own id

dlp.toml:17:1: the rule has no `[rule.when]`
  help: say when it fires, such as [rule.when] findings = [...]
"#);
}

/// K24: so that the order of rules cannot matter.
#[test]
fn rule_that_asks_for_labels_sets_none() {
    let rule = "[[rule]]\nid = \"x\"\nmode = \"enforce\"\naction = \"warn\"\nsentence = \"x\"\n\
                set_labels = [\"internal\"]\nwhen = { label = [\"confidential\"] }\n";
    insta::assert_snapshot!(problems("dlp.toml", rule), @r#"
dlp.toml:1:1: a rule that asks for labels cannot set labels
  help: split it: one rule sets the label, the other asks for it
"#);
}

/// B4
#[test]
fn offline_mode_and_its_grace_are_read() {
    for mode in ["keep", "strict", "audit"] {
        let policy = format!("offline_mode = \"{mode}\"\noffline_grace_s = 3600\n{POLICY}");
        let checked = check(&folder("policy.toml", &policy)).unwrap();
        assert_eq!(checked.policy.offline_mode.as_str(), mode);
        assert_eq!(checked.policy.offline_grace_s, 3_600);
    }
    let unsaid = check(&folder("policy.toml", POLICY)).unwrap();
    assert_eq!(unsaid.policy.offline_mode, OfflineMode::Keep);
    assert_eq!(unsaid.policy.offline_grace_s, limits::OFFLINE_GRACE_S);
    let long = format!("offline_grace_s = {}\n{POLICY}", limits::OFFLINE_GRACE_S_MAX + 1);
    assert!(check(&folder("policy.toml", &long)).is_err());
}

/// R9
#[test]
fn labels_are_few_and_none_is_taken() {
    let labels: Vec<String> = (0..9)
        .map(|index| format!("\"l{index}\""))
        .chain(["\"none\"".to_owned()])
        .collect();
    let policy = POLICY
        .replace("\"internal\", \"confidential\"", &labels.join(", "))
        .replace("payment-cards@1", "cards@1");
    insta::assert_snapshot!(check(&folder("policy.toml", &policy)).unwrap_err(), @r#"
policy.toml:5:59: there are more than 8 labels
  help: labels leave the device: keep them few and coarse

policy.toml:5:65: `none` cannot be a label
  help: sharing rules use it for stories without labels

policy.toml:6:10: there is no pack `cards`
  help: one of bank, contact, national-ids, payment-cards, secrets
"#);
}

#[test]
fn tests_of_the_policy_are_read_with_a_fixed_clock() {
    let text = r#"
[[test]]
name = "a card is blocked"
metadata = { findings = [{ detector = "card-number", count = 2 }] }
expect = { action = "block", rule = "cards" }
[[test]]
name = "nothing is let through"
draft = { text = "hello", files = ["tests/files/a.txt"] }
audience = { class = "guest", size = 9 }
time = "2026-11-23T18:30"
expect = { action = "allow" }
[[test]]
name = "staff share within the house"
sharing = { group = "staff", audience = "internal", label = "none", time = "18:30" }
expect = { sharing = "allow", line = 1 }
"#;
    let mut folder = folder("tests/all.toml", text);
    folder.files.insert("tests/files/a.txt".to_owned(), b"a".to_vec());
    let plan = crate::plan::Plan::draft(&check(&folder).unwrap());
    let [metadata, draft, sharing] = plan.tests() else {
        panic!("three tests")
    };
    assert_eq!(metadata.run_metadata(&plan), Some(Ok(())));
    assert_eq!(draft.run_metadata(&plan), None);
    assert_eq!(
        (draft.context.now_s, draft.context.audience_size),
        (1_795_455_000, 9)
    );
    assert!(matches!(
        sharing.given,
        crate::cases::Given::Sharing { minute: 1110 }
    ));
    assert_eq!(plan.file("tests/files/a.txt"), Some(b"a".as_slice()));
}

#[test]
fn failing_metadata_test_says_what_came_instead() {
    let text = "[[test]]\nname = \"x\"\nmetadata = { findings = [{ detector = \"card-number\" }] }\nexpect = { action = \"warn\" }\n";
    let plan = crate::plan::Plan::draft(&check(&folder("tests/all.toml", text)).unwrap());
    let case = plan.tests().first().unwrap();
    assert_eq!(
        case.run_metadata(&plan),
        Some(Err("expected `warn`, got `block` by cards".to_owned()))
    );
}

#[test]
fn faults_in_tests_of_the_policy_are_told() {
    let text = "[[test]]\nname = \"x\"\ndraft = { files = [\"photo.jpg\"] }\nmetadata = {}\nexpect = { action = \"block\", rule = \"nope\" }\n\
                [[test]]\nname = \"y\"\nsharing = { audience = \"all\", label = \"secret\" }\nexpect = { sharing = \"yes\" }\n";
    insta::assert_snapshot!(problems("tests/all.toml", text), @r#"
tests/all.toml:1:1: the test must give exactly one of `draft`, `metadata`, `sharing`
  help: keep one of them

tests/all.toml:3:20: there is no file `photo.jpg`
  help: give its path in the policy folder, such as `tests/files/photo.jpg`

tests/all.toml:5:37: there is no rule `nope`
  help: dlp.toml lists the rules

tests/all.toml:8:24: `audience` cannot be `all`
  help: give one of internal, guest

tests/all.toml:8:39: there is no label `secret`
  help: policy.toml lists the labels

tests/all.toml:9:22: `sharing` is neither `allow` nor `deny`
  help: give one of the two
"#);
}

/// A bundle needs nothing that is not in it.
#[test]
fn parts_of_a_checked_folder_check_by_themselves() {
    let checked = with_rules(RULES);
    let parts = Folder {
        files: checked.parts(),
    };
    assert!(parts.files.contains_key("packs/payment-cards.toml"));
    assert_eq!(check_parts(&parts).unwrap().parts(), checked.parts());
    assert!(
        check(&parts).is_err(),
        "an author's folder has no packs of its own"
    );
}

#[test]
fn readme_and_dot_files_are_left_alone() {
    let mut folder = folder("README.md", "# Mine");
    folder.files.insert(".git/HEAD".to_owned(), vec![0xff]);
    assert!(
        check(&folder)
            .unwrap()
            .parts()
            .keys()
            .all(|file| !file.contains("README") && !file.contains(".git"))
    );
}
