//! Inspection and decision of one draft: pure but for the work, which runs off the async threads.

use std::sync::Arc;

use agent_inspect::{Change, ChangeKind, Draft, Limits, Located, Unread, redact};
use policies::decide::{Facts, Held, Permit, Verdict, decide};
use policies::plan::Plan;
use policies::terms::{Action, Evidence};

use crate::local::wire::{Consent, Outcome, ShareHeader};
use crate::uplink::policy::ActivePolicy;

/// A draft that was inspected under one policy.
pub(crate) struct Judged {
    pub policy: Arc<ActivePolicy>,
    /// What may be sealed: the draft itself, or what redaction left of it.
    pub draft: Draft,
    /// The draft as its author made it, if it was redacted.
    pub original: Option<Draft>,
    /// What was found in the author's draft.
    pub first: Evidence,
    /// Where it was found; for the author's eyes.
    pub located: Vec<Located>,
    /// What could not be read, and where.
    pub unread: Vec<Unread>,
    /// What was found after redaction.
    pub second: Option<Evidence>,
    /// What redaction changed, in words.
    pub redactions: Vec<String>,
}

impl Judged {
    /// Inspects, decides, and where the policy says so redacts and inspects again.
    ///
    /// # Errors
    /// The worker thread failed.
    pub(crate) async fn of(policy: Arc<ActivePolicy>, facts: Facts, draft: Draft) -> anyhow::Result<Self> {
        Ok(tokio::task::spawn_blocking(move || Self::inspect(policy, &facts, draft)).await?)
    }

    fn inspect(policy: Arc<ActivePolicy>, facts: &Facts, draft: Draft) -> Self {
        let limits = Limits::default();
        let report = policy.engine.inspect(&draft, &limits);
        let first = report.evidence();
        let located = report.matches().to_vec();
        let unread = report.unread().to_vec();
        let verdict = decide(&policy.plan, facts, &first);
        let redacted = if verdict.action() == Action::Redact {
            redact(&draft, &report, |located| {
                is_to_go(&policy.plan, &verdict, located)
            })
            .ok()
        } else {
            None
        };
        let Some(redacted) = redacted else {
            return Self {
                policy,
                draft,
                original: None,
                first,
                located,
                unread,
                second: None,
                redactions: Vec::new(),
            };
        };
        let second = policy.engine.inspect(&redacted.draft, &limits).evidence();
        let redactions = redacted.changes.iter().map(in_words).collect();
        Self {
            policy,
            draft: redacted.draft,
            original: Some(draft),
            first,
            located,
            unread,
            second: Some(second),
            redactions,
        }
    }

    /// The verdict over the author's draft.
    pub(crate) fn first_verdict(&self, facts: &Facts) -> Verdict {
        decide(&self.policy.plan, facts, &self.first)
    }

    /// The verdict over what may be sealed.
    ///
    /// # Errors
    /// Redaction did not help.
    pub(crate) fn verdict(&self, facts: &Facts) -> Result<Verdict, Held> {
        let first = self.first_verdict(facts);
        match &self.second {
            None => Ok(first),
            Some(second) => decide(&self.policy.plan, facts, second).redacted_from(&first),
        }
    }

    /// A permit for sealing, or the outcome that holds the draft.
    ///
    /// # Errors
    /// The outcome: blocked, or what the author must add.
    pub(crate) fn permit(&self, facts: &Facts, header: &ShareHeader) -> Result<Permit, Outcome> {
        let verdict = self.verdict(facts).map_err(|_| Outcome::Blocked)?;
        let asked = asked(&verdict);
        let answered = header
            .consent
            .as_ref()
            .is_none_or(|consent| consent.covers(&asked));
        let permit = match verdict.action() {
            Action::Allow | Action::Audit => verdict.permit(),
            Action::Warn if answered && header.accept_warning => verdict.accept_warning(),
            Action::Warn => return Err(Outcome::NeedsAcceptance),
            Action::Justify => {
                let reason = header
                    .reason
                    .clone()
                    .filter(|reason| answered && !reason.trim().is_empty());
                let Some(reason) = reason else {
                    return Err(Outcome::NeedsReason);
                };
                verdict
                    .justification(reason, facts.now_s)
                    .and_then(|justification| verdict.permit_justified(justification, facts.now_s))
            }
            Action::Redact | Action::Block => return Err(Outcome::Blocked),
        };
        permit.map_err(|_| Outcome::Blocked)
    }

    /// The header with its answers bound to the rules that ask now, if they are not bound already.
    pub(crate) fn bind(&self, facts: &Facts, header: &ShareHeader) -> ShareHeader {
        let asked = self.verdict(facts).as_ref().map(asked).unwrap_or_default();
        ShareHeader {
            consent: header.consent.clone().or(Some(asked)),
            ..header.clone()
        }
    }

    /// The author's own draft.
    pub(crate) fn authored(&self) -> &Draft {
        self.original.as_ref().unwrap_or(&self.draft)
    }
}

/// The rules that ask for a confirmation or a reason.
fn asked(verdict: &Verdict) -> Consent {
    let asking = verdict
        .rules()
        .iter()
        .filter(|outcome| outcome.action == Action::Warn || outcome.action == Action::Justify);
    Consent {
        rules: asking
            .map(|outcome| (outcome.rule.clone(), outcome.action))
            .collect(),
    }
}

/// Whether a fired rule asks for the redaction of this match.
fn is_to_go(plan: &Plan, verdict: &Verdict, located: &Located) -> bool {
    let fired = verdict
        .rules()
        .iter()
        .filter(|outcome| outcome.action == Action::Redact);
    let rules = fired.filter_map(|outcome| plan.rules().iter().find(|rule| rule.id == outcome.rule));
    rules.flat_map(|rule| &rule.when.findings).any(|wanted| {
        wanted
            .detector
            .as_ref()
            .is_none_or(|detector| *detector == located.detector)
            && wanted
                .family
                .as_ref()
                .is_none_or(|family| *family == located.family)
            && located.confidence >= wanted.confidence
    })
}

fn in_words(change: &Change) -> String {
    let item = if change.item == 0 {
        "the text".to_owned()
    } else {
        format!("file {}", change.item)
    };
    match &change.kind {
        ChangeKind::Masked { detector, mask } => {
            format!("{item}: what `{detector}` found reads {mask} in the story")
        }
        ChangeKind::MetadataStripped => {
            format!("{item}: location and other metadata were taken out; the picture itself is unchanged")
        }
    }
}

#[cfg(test)]
mod tests {
    use policies::terms::RuleId;

    use super::*;

    fn asked(rules: &[(&str, Action)]) -> Consent {
        Consent {
            rules: rules
                .iter()
                .map(|(rule, action)| (RuleId::parse(rule).unwrap(), *action))
                .collect(),
        }
    }

    /// R5: a kept draft does not spend its answers on questions that were never shown.
    #[test]
    fn an_answer_counts_for_the_rules_that_were_shown() {
        let given = asked(&[("card-numbers", Action::Warn), ("iban", Action::Warn)]);
        assert!(given.covers(&asked(&[("iban", Action::Warn)])));
        assert!(!given.covers(&asked(&[("iban", Action::Justify)])));
        assert!(!given.covers(&asked(&[("iban", Action::Warn), ("names", Action::Warn)])));
    }
}
