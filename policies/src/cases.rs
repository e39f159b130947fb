//! The tests that a policy carries: given a draft, metadata or a request to share, expect an outcome.
//!
//! Here are the cases and the judging of metadata. Drafts are run by the agent, which has the inspector; requests
//! to share by the gateway, which has casbin (K3).

use std::collections::BTreeSet;

use crate::decide::{Facts, Verdict, decide};
use crate::plan::Plan;
use crate::terms::{
    Action, App, AudienceClass, AudienceId, Binding, Capabilities, Digest, Evidence, Finding, GroupName,
    ItemFacts, Label, RuleId, Tier, Unscannable,
};

/// One test.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it shows, as a sentence.
    pub name: String,
    /// File in the policy folder.
    pub file: String,
    /// Line in that file.
    pub line: u32,
    /// What is given.
    pub given: Given,
    /// The context that is given.
    pub context: CaseContext,
    /// What is expected.
    pub expect: Expectation,
}

/// What a test is given.
#[derive(Clone)]
pub enum Given {
    /// A draft, to be inspected.
    Draft {
        /// Its text.
        text: String,
        /// Its files, by their paths in the policy folder.
        files: Vec<String>,
    },
    /// What an inspector would have found.
    Metadata(Evidence),
    /// A request to share.
    Sharing {
        /// Minutes since local midnight.
        minute: u16,
    },
}

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Draft { text, files } => write!(f, "Draft({} B, {} files)", text.len(), files.len()),
            Self::Metadata(evidence) => write!(f, "Metadata({} findings)", evidence.findings.len()),
            Self::Sharing { minute } => write!(f, "Sharing(minute {minute})"),
        }
    }
}

/// The context of a test.
#[derive(Clone, Debug)]
pub struct CaseContext {
    /// Class of the audience; `internal` unless given.
    pub audience_class: AudienceClass,
    /// Persons in the audience; 2 unless given.
    pub audience_size: u32,
    /// Groups of the author.
    pub groups: BTreeSet<GroupName>,
    /// Labels that the author added, or that the story to be shared has.
    pub labels: BTreeSet<Label>,
    /// The app; `sealgate` unless given.
    pub app: App,
    /// The device's tier; `file` unless given.
    pub tier: Tier,
    /// Who seals; `agent-sealed` unless given.
    pub binding: Binding,
    /// Whether the agent is without its gateway.
    pub offline: bool,
    /// Unix seconds.
    pub now_s: u64,
}

/// What a test expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// A verdict.
    Verdict {
        /// Its action.
        action: Action,
        /// Rules that must have fired, whatever else did.
        rules: Vec<RuleId>,
        /// Labels that the story must get, whatever else it gets.
        labels: Vec<Label>,
    },
    /// A decision about sharing.
    Sharing {
        /// Whether it is allowed.
        allowed: bool,
        /// Line of `sharing/policy.csv` that must have decided.
        line: Option<u32>,
    },
}

impl Case {
    /// The facts for [`decide`].
    #[must_use]
    pub fn facts(&self) -> Facts {
        let context = &self.context;
        Facts {
            audience: AudienceId::from_bytes([0; 16]),
            audience_class: context.audience_class,
            audience_size: context.audience_size,
            app: context.app.clone(),
            tier: context.tier,
            binding: context.binding,
            groups: context.groups.clone(),
            labels_added: context.labels.clone(),
            now_s: context.now_s,
            offline: context.offline,
        }
    }

    /// Why a verdict is not the expected one; `None` if it is.
    #[must_use]
    pub fn judge(&self, verdict: &Verdict) -> Option<String> {
        let Expectation::Verdict {
            action,
            rules,
            labels,
        } = &self.expect
        else {
            return Some("the test expects a decision about sharing".to_owned());
        };
        let fired: Vec<String> = verdict
            .rules()
            .iter()
            .map(|outcome| outcome.rule.to_string())
            .collect();
        let by = if fired.is_empty() {
            "no rule".to_owned()
        } else {
            fired.join(", ")
        };
        if verdict.action() != *action {
            return Some(format!("expected `{action}`, got `{}` by {by}", verdict.action()));
        }
        if let Some(rule) = rules
            .iter()
            .find(|rule| !verdict.rules().iter().any(|outcome| outcome.rule == **rule))
        {
            return Some(format!("expected rule `{rule}` to fire, but it was {by}"));
        }
        let missing = labels.iter().find(|label| !verdict.labels().contains(*label));
        missing.map(|label| format!("expected the label `{label}`"))
    }

    /// Runs a metadata test: `None` for other kinds, else why it failed, if it did.
    #[must_use]
    pub fn run_metadata(&self, plan: &Plan) -> Option<Result<(), String>> {
        let Given::Metadata(evidence) = &self.given else {
            return None;
        };
        let fault = self.judge(&decide(plan, &self.facts(), evidence));
        Some(fault.map_or(Ok(()), Err))
    }
}

/// Evidence as a test states it.
pub(crate) fn evidence(
    findings: Vec<Finding>,
    items: Vec<ItemFacts>,
    unscannable: Vec<Unscannable>,
) -> Evidence {
    let capabilities = Capabilities::default();
    Evidence {
        content: Digest::of(b"sealgate/metadata-test"),
        items,
        findings,
        unscannable,
        capabilities,
    }
}
