use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::limits;
use crate::terms::{Confidence, Finding, ItemFacts, ItemKind};
use crate::testing::{encrypted, evidence, facts, finding, with_rules};

const NOON_MONDAY_S: u64 = 1_767_610_800;

fn plan(rules: &str) -> Plan {
    Plan::draft(&with_rules(rules))
}

/// One enforced rule with this action and these conditions.
fn rule(id: &str, action: &str, rest: &str) -> String {
    format!(
        "[[rule]]\nid = \"{id}\"\nmode = \"enforce\"\naction = \"{action}\"\nsentence = \"Because.\"\n{rest}\n"
    )
}

fn cards(count: u32, confidence: Confidence) -> Finding {
    finding("card-number", "payment-card", confidence, count)
}

const ANY_CARD: &str = "[rule.when]\nfindings = [{ family = \"payment-card\" }]";
const ANY_STORY: &str = "[rule.when]\naudience = { class = [\"internal\", \"guest\"] }";

fn action(rules: &str, facts: &Facts, evidence: &Evidence) -> Action {
    decide(&plan(rules), facts, evidence).action()
}

/// P5
#[test]
fn highest_action_wins_and_every_rule_is_told() {
    let rules = rule("first", "warn", ANY_CARD)
        + &rule("second", "block", ANY_CARD)
        + &rule("third", "audit", ANY_CARD);
    let verdict = decide(
        &plan(&rules),
        &facts(),
        &evidence(vec![cards(1, Confidence::High)]),
    );
    assert_eq!(verdict.action(), Action::Block);
    let fired: Vec<&str> = verdict
        .rules()
        .iter()
        .map(|outcome| outcome.rule.as_str())
        .collect();
    assert_eq!(fired, ["first", "second", "third"]);
}

/// B4: `offline_mode = "audit"`: what fired and what is reported stay, nothing is stopped.
#[test]
fn audited_plan_records_and_stops_nothing() {
    let rules = rule(
        "cards",
        "block",
        &format!("report = \"event\"\non_unscannable = \"block\"\noffline = \"block\"\n{ANY_CARD}"),
    );
    let decided = |plan: &Plan, facts: &Facts, evidence: &Evidence| decide(plan, facts, evidence);
    let (card, unread) = (
        evidence(vec![cards(1, Confidence::High)]),
        encrypted(evidence(Vec::new())),
    );
    let away = Facts {
        offline: true,
        ..facts()
    };
    let audited = plan(&rules).audited();
    for found in [&card, &unread] {
        assert_eq!(decided(&plan(&rules), &away, found).action(), Action::Block);
        let verdict = decided(&audited, &away, found);
        assert_eq!(verdict.action(), Action::Audit);
        assert_eq!(verdict.report(), ReportLevel::Event);
        assert!(verdict.permit().is_ok());
    }
}

#[test]
fn no_rule_means_allow() {
    let verdict = decide(
        &plan(&rule("cards", "block", ANY_CARD)),
        &facts(),
        &evidence(Vec::new()),
    );
    assert_eq!(
        (verdict.action(), verdict.report()),
        (Action::Allow, ReportLevel::None)
    );
    assert_eq!(verdict.permit().unwrap().code(), VerdictCode::Allow);
}

/// P5
#[test]
fn counts_confidence_and_distinct_values_are_thresholds() {
    let rules = rule(
        "many",
        "block",
        "[rule.when]\nfindings = [{ family = \"payment-card\", confidence = \"medium\", count = 3, distinct = 2 }]",
    );
    let check = |findings, expected| assert_eq!(action(&rules, &facts(), &evidence(findings)), expected);
    check(vec![cards(3, Confidence::Medium)], Action::Block);
    check(vec![cards(3, Confidence::Low)], Action::Allow);
    check(vec![cards(2, Confidence::High)], Action::Allow);
    check(
        vec![cards(2, Confidence::High), cards(1, Confidence::Medium)],
        Action::Block,
    );
    check(
        vec![Finding {
            distinct: 1,
            ..cards(3, Confidence::High)
        }],
        Action::Allow,
    );
    check(
        vec![finding("email-address", "email", Confidence::High, 9)],
        Action::Allow,
    );
}

#[test]
fn context_conditions_must_all_hold() {
    let rules = rule(
        "context",
        "block",
        "[rule.when]\naudience = { class = [\"guest\"], size_over = 2 }\napp = \"sealgate\"\ntier = [\"file\"]\nbinding = \"agent-sealed\"\ngroup = [\"finance\"]\nitem = { kind = [\"image\"], size_over_bytes = 10 }",
    );
    let finance: BTreeSet<GroupName> = [GroupName::parse("finance").unwrap()].into();
    let good = Facts {
        audience_class: AudienceClass::Guest,
        groups: finance,
        ..facts()
    };
    let mut with_photo = evidence(Vec::new());
    with_photo.items = vec![ItemFacts {
        kind: ItemKind::Image,
        size_bytes: 11,
    }];
    assert_eq!(action(&rules, &good, &with_photo), Action::Block);
    let wrong = [
        Facts {
            audience_class: AudienceClass::Internal,
            ..good.clone()
        },
        Facts {
            audience_size: 2,
            ..good.clone()
        },
        Facts {
            app: App::parse("other").unwrap(),
            ..good.clone()
        },
        Facts {
            binding: Binding::AppAsserted,
            ..good.clone()
        },
        Facts {
            tier: Tier::Hardware,
            ..good.clone()
        },
        Facts {
            groups: BTreeSet::new(),
            ..good.clone()
        },
    ];
    for facts in wrong {
        assert_eq!(action(&rules, &facts, &with_photo), Action::Allow, "{facts:?}");
    }
    with_photo.items = vec![ItemFacts {
        kind: ItemKind::Image,
        size_bytes: 10,
    }];
    assert_eq!(action(&rules, &good, &with_photo), Action::Allow);
}

/// P6
#[test]
fn unscannable_item_fires_on_unscannable_without_a_finding() {
    let rules = rule(
        "cards",
        "audit",
        &format!("on_unscannable = \"block\"\n{ANY_CARD}"),
    );
    assert_eq!(
        action(&rules, &facts(), &encrypted(evidence(Vec::new()))),
        Action::Block
    );
    assert_eq!(action(&rules, &facts(), &evidence(Vec::new())), Action::Allow);
    assert_eq!(
        action(&rules, &facts(), &evidence(vec![cards(1, Confidence::Low)])),
        Action::Audit
    );
}

/// P6
#[test]
fn rule_may_block_while_offline() {
    let rules = rule("cards", "warn", &format!("offline = \"block\"\n{ANY_CARD}"));
    let found = evidence(vec![cards(1, Confidence::High)]);
    assert_eq!(action(&rules, &facts(), &found), Action::Warn);
    assert_eq!(
        action(
            &rules,
            &Facts {
                offline: true,
                ..facts()
            },
            &found
        ),
        Action::Block
    );
}

/// K21
#[test]
fn rule_may_ask_for_a_capability() {
    let rules = rule("ocr", "block", "[rule.when]\nwithout = [\"ocr\"]");
    let mut found = evidence(Vec::new());
    assert_eq!(action(&rules, &facts(), &found), Action::Block);
    found.capabilities.ocr = true;
    assert_eq!(action(&rules, &facts(), &found), Action::Allow);
}

/// P15
#[test]
fn shadow_rule_is_shown_and_changes_nothing() {
    let shadow = rule(
        "trial",
        "block",
        &format!("set_labels = [\"confidential\"]\n{ANY_CARD}"),
    )
    .replace("enforce", "shadow");
    let verdict = decide(
        &plan(&shadow),
        &facts(),
        &evidence(vec![cards(1, Confidence::High)]),
    );
    assert_eq!(
        (verdict.action(), verdict.rules().len(), verdict.shadow().len()),
        (Action::Allow, 0, 1)
    );
    assert!(verdict.labels().is_empty());
}

/// P4, K24: the last day counts in the tenant's zone.
#[test]
fn exception_holds_until_the_end_of_its_last_day() {
    let exception =
        "[[rule.except]]\nwhen = { group = [\"press\"] }\nuntil = \"2026-01-05\"\nwhy = \"They may.\"";
    let rules = rule("cards", "block", &format!("{ANY_CARD}\n{exception}"));
    let press = Facts {
        groups: [GroupName::parse("press").unwrap()].into(),
        ..facts()
    };
    let found = evidence(vec![cards(1, Confidence::High)]);
    let end_of_day_in_berlin_s = 1_767_654_000;
    assert_eq!(action(&rules, &press, &found), Action::Allow);
    assert_eq!(
        action(
            &rules,
            &Facts {
                now_s: end_of_day_in_berlin_s - 1,
                ..press.clone()
            },
            &found
        ),
        Action::Allow
    );
    assert_eq!(
        action(
            &rules,
            &Facts {
                now_s: end_of_day_in_berlin_s,
                ..press
            },
            &found
        ),
        Action::Block
    );
    assert_eq!(action(&rules, &facts(), &found), Action::Block);
}

/// K24: minutes and days are the tenant's, and a window over midnight belongs to the day on which it starts.
#[test]
fn time_window_is_read_in_the_tenants_zone() {
    let check = |time: &str, hours_from_noon_monday: i64, expected: Action| {
        let rules = rule("hours", "block", &format!("[rule.when]\ntime = {time}"));
        let now_s = NOON_MONDAY_S
            .checked_add_signed(hours_from_noon_monday * 3_600)
            .unwrap();
        assert_eq!(
            action(&rules, &Facts { now_s, ..facts() }, &evidence(Vec::new())),
            expected,
            "{time} {hours_from_noon_monday}"
        );
    };
    let office = "{ from = \"12:00\", to = \"18:00\" }";
    check(office, 0, Action::Block);
    check(office, 6, Action::Allow);
    check(office, -1, Action::Allow);
    let night = "{ from = \"18:00\", to = \"07:00\", days = [\"mon\"] }";
    check(night, 6, Action::Block);
    check(night, 18, Action::Block);
    check(night, 19, Action::Allow);
    check(night, -6, Action::Allow);
    check("{ days = [\"mon\"] }", 11, Action::Block);
    check("{ days = [\"mon\"] }", 12, Action::Allow);
}

/// K24: labels of other rules and of the author are seen; nothing is ever taken away.
#[test]
fn labels_are_set_added_and_asked_for() {
    let rules = rule(
        "sets",
        "audit",
        &format!("set_labels = [\"confidential\"]\n{ANY_CARD}"),
    ) + &rule("asks", "block", "[rule.when]\nlabel = [\"confidential\"]");
    let found = evidence(vec![cards(1, Confidence::High)]);
    assert_eq!(action(&rules, &facts(), &found), Action::Block);
    assert_eq!(action(&rules, &facts(), &evidence(Vec::new())), Action::Allow);
    let added = Facts {
        labels_added: [Label::parse("confidential").unwrap()].into(),
        ..facts()
    };
    assert_eq!(action(&rules, &added, &evidence(Vec::new())), Action::Block);
}

/// P8: the trace names conditions and detectors, never content.
#[test]
fn trace_says_which_conditions_held() {
    let rules = rule(
        "cards",
        "block",
        "[rule.when]\nfindings = [{ family = \"payment-card\", confidence = \"medium\" }]\naudience = { class = [\"internal\"] }\ntime = { from = \"08:00\", to = \"18:00\" }",
    );
    let verdict = decide(
        &plan(&rules),
        &facts(),
        &evidence(vec![cards(2, Confidence::High)]),
    );
    let trace: Vec<String> = verdict
        .rules()
        .iter()
        .flat_map(|outcome| outcome.trace.clone())
        .collect();
    insta::assert_snapshot!(trace.join("\n"), @r#"
audience is internal
found 2 by card-number: something of the family `payment-card` (confidence medium or higher)
it is between 08:00 and 18:00
"#);
}

fn verdict_of(action: &str) -> Verdict {
    decide(
        &plan(&rule("rule", action, ANY_STORY)),
        &facts(),
        &evidence(Vec::new()),
    )
}

/// K1
#[test]
fn only_the_fitting_way_leads_to_a_permit() {
    for (word, code) in [("allow", VerdictCode::Allow), ("audit", VerdictCode::Audit)] {
        assert_eq!(verdict_of(word).permit().unwrap().code(), code);
    }
    assert_eq!(
        verdict_of("warn").accept_warning().unwrap().code(),
        VerdictCode::WarnAccepted
    );
    for word in ["warn", "justify", "redact", "block"] {
        assert_eq!(verdict_of(word).permit().unwrap_err().action.as_str(), word);
    }
    for word in ["allow", "audit", "justify", "redact", "block"] {
        assert!(verdict_of(word).accept_warning().is_err(), "{word}");
    }
    for word in ["allow", "audit", "warn", "redact", "block"] {
        assert!(
            verdict_of(word).justification("because".to_owned(), 1).is_err(),
            "{word}"
        );
    }
}

/// P9
#[test]
fn reason_is_for_one_draft_one_audience_and_ten_minutes() {
    let reason = || {
        verdict_of("justify")
            .justification("  the customer asked ".to_owned(), 1_000)
            .unwrap()
    };
    let permit = verdict_of("justify").permit_justified(reason(), 1_600).unwrap();
    assert_eq!(
        (permit.code(), permit.justification()),
        (VerdictCode::Justified, Some("the customer asked"))
    );
    assert!(verdict_of("justify").permit_justified(reason(), 1_601).is_err());
    assert!(verdict_of("justify").permit_justified(reason(), 999).is_err());
    let plan = plan(&rule("rule", "justify", ANY_STORY));
    let elsewhere = Facts {
        audience: AudienceId::from_bytes([8; 16]),
        ..facts()
    };
    assert!(
        decide(&plan, &elsewhere, &evidence(Vec::new()))
            .permit_justified(reason(), 1_000)
            .is_err()
    );
    let other = Evidence {
        content: Digest::of(b"another draft"),
        ..evidence(Vec::new())
    };
    assert!(
        decide(&plan, &facts(), &other)
            .permit_justified(reason(), 1_000)
            .is_err()
    );
    assert!(verdict_of("justify").justification(" ".to_owned(), 1).is_err());
    assert!(
        verdict_of("justify")
            .justification("x".repeat(limits::JUSTIFICATION_BYTES_MAX + 1), 1)
            .is_err()
    );
}

/// K1: a redacted draft is decided again, and what it was redacted by stays on record.
#[test]
fn redacted_draft_gets_its_own_permit() {
    let plan = plan(&(rule("location", "redact", ANY_CARD) + &rule("always", "audit", ANY_STORY)));
    let original = || decide(&plan, &facts(), &evidence(vec![cards(1, Confidence::High)]));
    let clean = Evidence {
        content: Digest::of(b"redacted"),
        ..evidence(Vec::new())
    };
    let redacted = decide(&plan, &facts(), &clean)
        .redacted_from(&original())
        .unwrap();
    let permit = redacted.permit().unwrap();
    assert_eq!(
        (permit.code(), permit.content()),
        (VerdictCode::Redacted, Digest::of(b"redacted"))
    );
    assert_eq!(
        permit.rules().iter().map(RuleId::as_str).collect::<Vec<_>>(),
        ["location", "always"]
    );
    assert!(original().redacted_from(&original()).is_err());
    let elsewhere = Facts {
        audience: AudienceId::from_bytes([8; 16]),
        ..facts()
    };
    assert!(
        decide(&plan, &elsewhere, &clean)
            .redacted_from(&original())
            .is_err()
    );
    let nothing_to_redact = decide(&plan, &facts(), &clean);
    assert!(
        decide(&plan, &facts(), &clean)
            .redacted_from(&nothing_to_redact)
            .is_err()
    );
}

#[test]
fn debug_of_a_justification_shows_its_size_only() {
    let reason = verdict_of("justify")
        .justification("because of Mr X".to_owned(), 1)
        .unwrap();
    assert_eq!(format!("{reason:?}"), "Justification(15 B)");
}

prop_compose! {
    fn any_finding()(
        family in prop::sample::select(vec![("card-number", "payment-card"), ("email-address", "email")]),
        confidence in prop::sample::select(Confidence::ALL.to_vec()),
        count in any::<u32>(),
        distinct in any::<u32>(),
        item in any::<u16>(),
    ) -> Finding {
        Finding { distinct, item, ..finding(family.0, family.1, confidence, count) }
    }
}

prop_compose! {
    fn any_evidence()(
        findings in prop::collection::vec(any_finding(), 0..6),
        sizes in prop::collection::vec(any::<u64>(), 0..4),
        unscannable in any::<bool>(),
        ocr in any::<bool>(),
    ) -> Evidence {
        let mut found = evidence(findings);
        found.items = sizes.into_iter().map(|size_bytes| ItemFacts { kind: ItemKind::Document, size_bytes }).collect();
        found.capabilities.ocr = ocr;
        if unscannable { encrypted(found) } else { found }
    }
}

prop_compose! {
    fn any_facts()(
        guest in any::<bool>(),
        audience_size in any::<u32>(),
        press in any::<bool>(),
        label in any::<bool>(),
        now_s in any::<u64>(),
        offline in any::<bool>(),
    ) -> Facts {
        let audience_class = if guest { AudienceClass::Guest } else { AudienceClass::Internal };
        let groups = press.then(|| GroupName::parse("press").unwrap()).into_iter().collect();
        let labels_added = label.then(|| Label::parse("internal").unwrap()).into_iter().collect();
        Facts { audience_class, audience_size, groups, labels_added, now_s, offline, ..facts() }
    }
}

prop_compose! {
    fn any_rules()(
        rules in prop::collection::vec((
            prop::sample::select(Action::ALL.to_vec()),
            prop::sample::select(vec!["off", "shadow", "enforce"]),
            prop::sample::select(vec![
                "[rule.when]\nfindings = [{ family = \"payment-card\", confidence = \"medium\", count = 2 }]",
                "[rule.when]\nfindings = [{ detector = \"email-address\", distinct = 5 }]\naudience = { class = [\"guest\"] }",
                "[rule.when]\nunscannable = true",
                "[rule.when]\nlabel = [\"internal\", \"confidential\"]",
                "set_labels = [\"confidential\"]\noffline = \"block\"\n[rule.when]\naudience = { size_over = 100 }",
                "on_unscannable = \"block\"\n[rule.when]\nwithout = [\"ocr\"]\ntime = { from = \"18:00\", to = \"07:00\", days = [\"sat\"] }",
                "[rule.when]\nitem = { size_over_bytes = 5 }\n[[rule.except]]\nwhen = { group = [\"press\"] }\nuntil = \"2030-01-01\"\nwhy = \"Yes.\"",
            ]),
        ), 0..7),
    ) -> String {
        let rules = rules.iter().enumerate().map(|(index, (action, mode, rest))| {
            rule(&format!("rule-{index}"), action.as_str(), rest).replace("enforce", mode)
        });
        rules.collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// P7: total and deterministic, whatever the input; the highest action wins; the author's labels stay.
    #[test]
    fn decision_is_total_deterministic_and_the_highest(rules in any_rules(), facts in any_facts(), found in any_evidence()) {
        let plan = plan(&rules);
        let verdict = decide(&plan, &facts, &found);
        prop_assert_eq!(&verdict, &decide(&plan, &facts, &found));
        let highest = verdict.rules().iter().map(|outcome| outcome.action).max().unwrap_or(Action::Allow);
        prop_assert_eq!(verdict.action(), highest);
        prop_assert!(verdict.labels().is_superset(&facts.labels_added));
        prop_assert_eq!(verdict.permit().is_ok(), highest <= Action::Audit);
    }

    /// P15: without its rules on trial a policy decides the same.
    #[test]
    fn shadow_rules_never_change_the_outcome(rules in any_rules(), facts in any_facts(), found in any_evidence()) {
        let with = decide(&plan(&rules), &facts, &found);
        let without = decide(&plan(&rules.replace("\"shadow\"", "\"off\"")), &facts, &found);
        prop_assert!(without.shadow().is_empty());
        prop_assert_eq!(with.action(), without.action());
        prop_assert_eq!(with.rules(), without.rules());
        prop_assert_eq!(with.labels(), without.labels());
    }

    /// P5: one more rule never lowers the outcome.
    #[test]
    fn another_rule_never_lowers_the_action(rules in any_rules(), facts in any_facts(), found in any_evidence()) {
        let fewer = decide(&plan(&rules), &facts, &found);
        let more = decide(&plan(&(rules + &rule("last", "justify", ANY_STORY))), &facts, &found);
        prop_assert_eq!(more.action(), fewer.action().max(Action::Justify));
    }
}
