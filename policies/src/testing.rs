//! A small policy for tests.

use crate::document::{Checked, Folder, check};
use crate::terms::{
    App, AudienceClass, AudienceId, Binding, Capabilities, Confidence, DetectorId, Digest, Evidence, Family,
    Finding, Tier, Unscannable, UnscannableReason,
};

pub(crate) const POLICY: &str = r#"
tenant = "acme"
name = "Acme"
time_zone = "Europe/Berlin"
labels = ["internal", "confidential"]
packs = ["payment-cards@1", "contact@1"]
"#;

pub(crate) const MODEL: &str = r#"
[request_definition]
r = sub, dom, audience, label, act
[policy_definition]
p = sub, dom, audience, label, act, eft
[role_definition]
g = _, _, _
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = g(r.sub, p.sub, r.dom) && r.dom == p.dom && r.audience == p.audience && r.label == p.label && r.act == p.act
"#;

pub(crate) const LINES: &str = "p, staff, acme, internal, none, share, allow\n";

pub(crate) const RULES: &str = r#"
[[rule]]
id = "cards"
mode = "enforce"
action = "block"
sentence = "No cards."
[rule.when]
findings = [{ family = "payment-card", confidence = "medium" }]
"#;

/// A folder of the parts above, with one file replaced.
pub(crate) fn folder(replaced: &str, text: &str) -> Folder {
    let parts = [
        ("policy.toml", POLICY),
        ("dlp.toml", RULES),
        ("sharing/model.conf", MODEL),
        ("sharing/policy.csv", LINES),
    ];
    let mut files: std::collections::BTreeMap<_, _> = parts
        .into_iter()
        .map(|(file, text)| (file.to_owned(), text.as_bytes().to_vec()))
        .collect();
    files.insert(replaced.to_owned(), text.as_bytes().to_vec());
    Folder { files }
}

/// The checked policy with these rules.
pub(crate) fn with_rules(rules: &str) -> Checked {
    check(&folder("dlp.toml", rules)).unwrap_or_else(|problems| panic!("{problems}"))
}

/// What is wrong with the folder in which one file is replaced.
pub(crate) fn problems(file: &str, text: &str) -> String {
    check(&folder(file, text)).unwrap_err().to_string()
}

pub(crate) fn facts() -> crate::decide::Facts {
    crate::decide::Facts {
        audience: AudienceId::from_bytes([7; 16]),
        audience_class: AudienceClass::Internal,
        audience_size: 3,
        app: App::parse("sealgate").unwrap(),
        tier: Tier::File,
        binding: Binding::AgentSealed,
        groups: std::collections::BTreeSet::new(),
        labels_added: std::collections::BTreeSet::new(),
        now_s: 1_767_610_800,
        offline: false,
    }
}

pub(crate) fn finding(detector: &str, family: &str, confidence: Confidence, count: u32) -> Finding {
    Finding {
        detector: DetectorId::parse(detector).unwrap(),
        family: Family::parse(family).unwrap(),
        confidence,
        count,
        distinct: count,
        item: 0,
    }
}

pub(crate) fn evidence(findings: Vec<Finding>) -> Evidence {
    let (items, unscannable, capabilities) = (Vec::new(), Vec::new(), Capabilities::default());
    Evidence {
        content: Digest::of(b"draft"),
        items,
        findings,
        unscannable,
        capabilities,
    }
}

pub(crate) fn encrypted(mut evidence: Evidence) -> Evidence {
    evidence.unscannable.push(Unscannable {
        item: 1,
        reason: UnscannableReason::Encrypted,
    });
    evidence
}
