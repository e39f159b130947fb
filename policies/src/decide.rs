//! The decision: plan + facts + evidence -> verdict. Pure, total, deterministic (P7, K21).
//!
//! ```text
//! each rule by itself ─► the highest action wins ─► Verdict ─► Permit ─► (agent-seal)
//!                                                     │ warn: confirmed   │
//!                                                     │ justify: a reason │
//!                                                     └ redact: decided again over what is left
//! ```
//! **Architecture Invariant.** Only this module makes a [`Permit`], and sealing demands one (K1).

use std::collections::BTreeSet;

use crate::plan::Plan;
pub use crate::rule::ReportLevel;
use crate::rule::{Mode, OfflineRule, Rule};
use crate::terms::{
    Action, App, AudienceClass, AudienceId, Binding, Capabilities, Digest, Evidence, GroupName, Label,
    PolicyRef, RuleId, Tier, words,
};

mod condition;
mod permit;
#[cfg(test)]
mod tests;

pub use permit::{Held, Justification, Permit};

words! {
    /// How a draft was let through, as its clearance says it (sealing.md, claims).
    VerdictCode {
        /// No rule fired, or one that allows.
        Allow = "allow",
        /// A rule recorded it.
        Audit = "audit",
        /// The author confirmed a warning.
        WarnAccepted = "warn_accepted",
        /// The author gave a reason.
        Justified = "justified",
        /// What was found was removed first.
        Redacted = "redacted",
    }
}

/// Everything that rules may know beside the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// For whom.
    pub audience: AudienceId,
    /// Whether an outsider is among them.
    pub audience_class: AudienceClass,
    /// How many persons.
    pub audience_size: u32,
    /// From which app.
    pub app: App,
    /// Where the device's key lives.
    pub tier: Tier,
    /// Who seals.
    pub binding: Binding,
    /// The author's groups.
    pub groups: BTreeSet<GroupName>,
    /// Labels that the author added.
    pub labels_added: BTreeSet<Label>,
    /// Unix seconds.
    pub now_s: u64,
    /// Whether the agent is without its gateway.
    pub offline: bool,
}

/// One rule that fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleOutcome {
    /// The rule.
    pub rule: RuleId,
    /// What it asks for.
    pub action: Action,
    /// Why, for the employee.
    pub sentence: String,
    /// Whom to ask; empty for nobody.
    pub owner: String,
    /// Where to read more; empty for nowhere.
    pub link: String,
    /// The quickest ways out.
    pub fixes: Vec<String>,
    /// Reasons to choose from.
    pub reasons: Vec<String>,
    /// What is reported.
    pub report: ReportLevel,
    /// Which conditions held, in plain words without content (P8).
    pub trace: Vec<String>,
}

/// What was decided for a draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    action: Action,
    rules: Vec<RuleOutcome>,
    shadow: Vec<RuleOutcome>,
    labels: BTreeSet<Label>,
    content: Digest,
    audience: AudienceId,
    policy: PolicyRef,
    capabilities: Capabilities,
    /// Rules of the verdict over the draft before redaction; `None` if nothing was redacted.
    redacted_by: Option<Vec<RuleId>>,
}

impl Verdict {
    /// The highest action of the rules that fired; `allow` if none did.
    #[must_use]
    pub const fn action(&self) -> Action {
        self.action
    }

    /// The enforced rules that fired, in the policy's order.
    #[must_use]
    pub fn rules(&self) -> &[RuleOutcome] {
        &self.rules
    }

    /// The rules on trial that fired; they changed nothing.
    #[must_use]
    pub fn shadow(&self) -> &[RuleOutcome] {
        &self.shadow
    }

    /// The draft's labels.
    #[must_use]
    pub const fn labels(&self) -> &BTreeSet<Label> {
        &self.labels
    }

    /// [`crate::terms::draft_digest`] of the draft.
    #[must_use]
    pub const fn content(&self) -> Digest {
        self.content
    }

    /// For whom.
    #[must_use]
    pub const fn audience(&self) -> AudienceId {
        self.audience
    }

    /// Under which policy.
    #[must_use]
    pub const fn policy(&self) -> PolicyRef {
        self.policy
    }

    /// The most that any enforced rule reports.
    #[must_use]
    pub fn report(&self) -> ReportLevel {
        self.rules
            .iter()
            .map(|outcome| outcome.report)
            .max()
            .unwrap_or(ReportLevel::None)
    }

    /// What the inspector could do.
    #[must_use]
    pub const fn capabilities(&self) -> Capabilities {
        self.capabilities
    }
}

/// Decides. First every rule by itself, then the highest action wins (P5).
///
/// Labels that rules set are seen by the rules that ask for labels; such a rule sets none itself, so two passes are
/// enough and their order does not matter.
#[must_use]
pub fn decide(plan: &Plan, facts: &Facts, evidence: &Evidence) -> Verdict {
    let mut labels = facts.labels_added.clone();
    let (asking, setting): (Vec<&Rule>, Vec<&Rule>) =
        plan.rules().iter().partition(|rule| rule.asks_for_labels());
    let scene = condition::Scene::new(facts, evidence, plan.zone(), BTreeSet::new());
    let mut fired: Vec<(&Rule, RuleOutcome)> = fire(&setting, &scene);
    for (rule, _) in fired.iter().filter(|(rule, _)| rule.mode == Mode::Enforce) {
        labels.extend(rule.set_labels.iter().cloned());
    }
    let scene = condition::Scene::new(facts, evidence, plan.zone(), labels.clone());
    fired.extend(fire(&asking, &scene));
    fired.sort_by_key(|(rule, _)| plan.rules().iter().position(|other| other.id == rule.id));
    let (enforced, shadow): (Vec<_>, Vec<_>) = fired
        .into_iter()
        .partition(|(rule, _)| rule.mode == Mode::Enforce);
    let outcomes =
        |fired: Vec<(&Rule, RuleOutcome)>| fired.into_iter().map(|(_, outcome)| outcome).collect::<Vec<_>>();
    let rules = outcomes(enforced);
    Verdict {
        action: rules
            .iter()
            .map(|outcome| outcome.action)
            .max()
            .unwrap_or(Action::Allow),
        rules,
        shadow: outcomes(shadow),
        labels,
        content: evidence.content,
        audience: facts.audience,
        policy: plan.policy(),
        capabilities: evidence.capabilities,
        redacted_by: None,
    }
}

fn fire<'a>(rules: &[&'a Rule], scene: &condition::Scene<'_>) -> Vec<(&'a Rule, RuleOutcome)> {
    let live = rules.iter().filter(|rule| rule.mode != Mode::Off);
    live.filter_map(|rule| Some((*rule, outcome(rule, scene)?)))
        .collect()
}

fn outcome(rule: &Rule, scene: &condition::Scene<'_>) -> Option<RuleOutcome> {
    let (mut action, mut trace) = scene.fires(rule)?;
    if scene.facts.offline && rule.offline == OfflineRule::Block {
        action = Action::Block;
        trace.push("the agent is without its gateway, and the rule then blocks".to_owned());
    }
    Some(RuleOutcome {
        rule: rule.id.clone(),
        action,
        sentence: rule.sentence.clone(),
        owner: rule.owner.clone(),
        link: rule.link.clone(),
        fixes: rule.fixes.clone(),
        reasons: rule.reasons.clone(),
        report: rule.report,
        trace,
    })
}
