//! Which rules fire.

use std::collections::BTreeSet;

use super::{Facts, RuleOutcome};
use crate::plan::{Condition, FindingCondition, Mode, OfflineAction, Plan, Rule, TimeWindow, local};
use crate::terms::{Action, Evidence, Label};

/// What the rules add up to.
pub(super) struct Decided {
    pub(super) enforced: Vec<RuleOutcome>,
    pub(super) shadow: Vec<RuleOutcome>,
    pub(super) labels: BTreeSet<Label>,
}

/// Evaluates every rule. Rules with a condition on labels see the labels that the others set.
pub(super) fn evaluate(plan: &Plan, facts: &Facts, evidence: &Evidence) -> Decided {
    let mut labels = facts.labels_added.clone();
    let mut fired: Vec<(usize, &Rule, RuleOutcome)> = Vec::new();
    for about_labels in [false, true] {
        let seen = labels.clone();
        let scene = Scene { plan, facts, evidence, labels: &seen };
        for (index, rule) in plan.rules().iter().enumerate() {
            if rule.when.label.is_empty() == about_labels || rule.mode == Mode::Off {
                continue;
            }
            let Some(outcome) = scene.fires(rule) else { continue };
            if rule.mode == Mode::Enforce {
                labels.extend(rule.set_labels.iter().cloned());
            }
            fired.push((index, rule, outcome));
        }
    }
    fired.sort_by_key(|(index, ..)| *index);
    let (enforced, shadow): (Vec<_>, Vec<_>) = fired.into_iter().partition(|(_, rule, _)| rule.mode == Mode::Enforce);
    let outcomes = |list: Vec<(usize, &Rule, RuleOutcome)>| list.into_iter().map(|(.., outcome)| outcome).collect();
    Decided { enforced: outcomes(enforced), shadow: outcomes(shadow), labels }
}

struct Scene<'a> {
    plan: &'a Plan,
    facts: &'a Facts,
    evidence: &'a Evidence,
    labels: &'a BTreeSet<Label>,
}

impl Scene<'_> {
    fn fires(&self, rule: &Rule) -> Option<RuleOutcome> {
        let (action, mut trace) = self.matches(rule)?;
        if let Some(why) = self.excepted(rule) {
            return (action == Action::Allow).then(|| outcome(rule, action, vec![why.to_owned()]));
        }
        let action = if self.facts.offline && rule.offline == OfflineAction::Block {
            trace.push("the gateway is out of reach, and this rule blocks then".to_owned());
            Action::Block
        } else {
            action
        };
        Some(outcome(rule, action, trace))
    }

    fn matches(&self, rule: &Rule) -> Option<(Action, Vec<String>)> {
        let mut trace = Vec::new();
        let holds = self.holds(&rule.when, &mut trace);
        let blind = rule.on_unscannable.filter(|_| !self.evidence.unscannable.is_empty());
        let blind = blind.filter(|_| self.holds(&Condition { findings: Vec::new(), ..rule.when.clone() }, &mut Vec::new()));
        if let Some(action) = blind {
            trace.extend(self.evidence.unscannable.iter().map(|u| format!("item {} cannot be inspected: {}", u.item, u.reason)));
            return Some((if holds { action.max(rule.action) } else { action }, trace));
        }
        holds.then_some((rule.action, trace))
    }

    fn excepted<'r>(&self, rule: &'r Rule) -> Option<&'r str> {
        let today = local(self.plan.time_zone(), self.facts.now_s).date();
        let mut exceptions = rule.exceptions.iter().filter(|exception| today <= exception.until);
        exceptions.find(|exception| self.holds(&exception.when, &mut Vec::new())).map(|exception| exception.why.as_str())
    }

    fn holds(&self, condition: &Condition, trace: &mut Vec<String>) -> bool {
        self.audience(condition)
            && (condition.app.is_empty() || condition.app.contains(&self.facts.app))
            && (condition.tier.is_empty() || condition.tier.contains(&self.facts.tier))
            && (condition.group.is_empty() || condition.group.iter().any(|group| self.facts.groups.contains(group)))
            && (condition.label.is_empty() || condition.label.iter().any(|label| self.labels.contains(label)))
            && self.item(condition)
            && condition.time.as_ref().is_none_or(|window| self.within(window))
            && self.unscannable(condition, trace)
            && self.findings(condition, trace)
    }

    fn audience(&self, condition: &Condition) -> bool {
        condition.audience.as_ref().is_none_or(|wanted| {
            (wanted.class.is_empty() || wanted.class.contains(&self.facts.audience_class))
                && wanted.size_over.is_none_or(|size| self.facts.audience_size > size)
        })
    }

    fn item(&self, condition: &Condition) -> bool {
        condition.item.as_ref().is_none_or(|wanted| {
            self.evidence.items.iter().any(|item| {
                (wanted.kind.is_empty() || wanted.kind.contains(&item.kind))
                    && wanted.size_over_bytes.is_none_or(|size| item.size_bytes > size)
            })
        })
    }

    fn within(&self, window: &TimeWindow) -> bool {
        let now = local(self.plan.time_zone(), self.facts.now_s);
        let time = now.time();
        let in_hours = match (window.from, window.to) {
            (None, None) => true,
            (Some(from), None) => time >= from,
            (None, Some(to)) => time < to,
            (Some(from), Some(to)) if from <= to => time >= from && time < to,
            (Some(from), Some(to)) => time >= from || time < to,
        };
        in_hours && (window.days.is_empty() || window.days.contains(&now.weekday()))
    }

    fn unscannable(&self, condition: &Condition, trace: &mut Vec<String>) -> bool {
        let Some(wanted) = condition.unscannable else { return true };
        if wanted {
            trace.extend(self.evidence.unscannable.iter().map(|u| format!("item {} cannot be inspected: {}", u.item, u.reason)));
        }
        wanted != self.evidence.unscannable.is_empty()
    }

    fn findings(&self, condition: &Condition, trace: &mut Vec<String>) -> bool {
        if condition.findings.is_empty() {
            return true;
        }
        let held: Vec<String> = condition.findings.iter().filter_map(|wanted| self.finding(wanted)).collect();
        let any = !held.is_empty();
        trace.extend(held);
        any
    }

    /// In words, what makes a condition on findings hold.
    fn finding(&self, wanted: &FindingCondition) -> Option<String> {
        let found = self.evidence.findings.iter().filter(|finding| {
            wanted.detector.as_ref().is_none_or(|detector| *detector == finding.detector)
                && wanted.family.as_ref().is_none_or(|family| *family == finding.family)
                && finding.confidence >= wanted.confidence
        });
        let (mut count, mut distinct, mut detectors) = (0_u32, 0_u32, BTreeSet::new());
        for finding in found {
            count = count.saturating_add(finding.count);
            distinct = distinct.saturating_add(finding.distinct);
            detectors.insert(finding.detector.as_str());
        }
        let enough = count >= wanted.count.max(1) && distinct >= wanted.distinct;
        let names: Vec<&str> = detectors.into_iter().collect();
        enough.then(|| format!("{count} found by {}, confidence {} or higher", names.join(", "), wanted.confidence))
    }
}

fn outcome(rule: &Rule, action: Action, trace: Vec<String>) -> RuleOutcome {
    RuleOutcome {
        rule: rule.id.clone(),
        action,
        sentence: rule.sentence.clone(),
        owner: rule.owner.clone(),
        link: rule.link.clone(),
        fixes: rule.fixes.clone(),
        reasons: rule.reasons.clone(),
        report: rule.report,
        trace,
    }
}
