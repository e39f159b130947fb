//! From verdict to permit: the proof that sealing demands (K1).

use std::collections::BTreeSet;
use std::fmt;

use super::{Verdict, VerdictCode};
use crate::limits;
use crate::terms::{Action, AudienceId, Digest, Label, PolicyRef, RuleId};

/// The draft is held: nothing may be sealed this way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Held {
    /// What was decided.
    pub action: Action,
    /// Why, and what to do.
    pub message: String,
}

/// A draft may be sealed, as it is, for one audience, under one policy. No `Clone`: it is spent by sealing.
#[derive(PartialEq, Eq)]
pub struct Permit {
    content: Digest,
    audience: AudienceId,
    policy: PolicyRef,
    code: VerdictCode,
    labels: BTreeSet<Label>,
    rules: Vec<RuleId>,
    justification: Option<String>,
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("content", &self.content)
            .field("code", &self.code)
            .finish_non_exhaustive()
    }
}

impl Permit {
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

    /// How it was let through.
    #[must_use]
    pub const fn code(&self) -> VerdictCode {
        self.code
    }

    /// The story's labels.
    #[must_use]
    pub const fn labels(&self) -> &BTreeSet<Label> {
        &self.labels
    }

    /// The rules that fired, before redaction and after.
    #[must_use]
    pub fn rules(&self) -> &[RuleId] {
        &self.rules
    }

    /// The author's reason.
    #[must_use]
    pub fn justification(&self) -> Option<&str> {
        self.justification.as_deref()
    }
}

/// An author's reason: for one draft and one audience, for ten minutes, once (P9). No `Clone`.
pub struct Justification {
    content: Digest,
    audience: AudienceId,
    policy: PolicyRef,
    given_s: u64,
    text: String,
}

impl fmt::Debug for Justification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Justification({} B)", self.text.len())
    }
}

impl Verdict {
    /// A permit for a draft that nothing stands against.
    ///
    /// # Errors
    /// [`Held`] unless the action is `allow` or `audit`.
    pub fn permit(self) -> Result<Permit, Held> {
        match self.action {
            Action::Allow => Ok(self.into_permit(VerdictCode::Allow, None)),
            Action::Audit => Ok(self.into_permit(VerdictCode::Audit, None)),
            Action::Warn => Err(self.held("the policy warns: confirm, or change the draft")),
            Action::Justify => Err(self.held("the policy asks for a reason: give one, or change the draft")),
            Action::Redact => Err(self.held("the policy removes what was found: redact, and decide again")),
            Action::Block => Err(self.held("the policy blocks this draft: change it")),
        }
    }

    /// A permit after the author confirmed the warning.
    ///
    /// # Errors
    /// [`Held`] unless the action is `warn`.
    pub fn accept_warning(self) -> Result<Permit, Held> {
        if self.action == Action::Warn {
            return Ok(self.into_permit(VerdictCode::WarnAccepted, None));
        }
        Err(self.held("there is no warning to confirm"))
    }

    /// The author's reason, bound to this draft and audience. `now_s` in Unix seconds.
    ///
    /// # Errors
    /// [`Held`] unless the action is `justify` and the text says something in at most
    /// [`limits::JUSTIFICATION_BYTES_MAX`] bytes.
    pub fn justification(&self, text: String, now_s: u64) -> Result<Justification, Held> {
        if self.action != Action::Justify {
            return Err(self.held("the policy asks for no reason"));
        }
        let text = text.trim();
        if text.is_empty() {
            return Err(self.held("the reason is empty: say why in a sentence"));
        }
        if text.len() > limits::JUSTIFICATION_BYTES_MAX {
            return Err(self.held("the reason is too long: say it in a sentence or two"));
        }
        let (content, audience, policy) = (self.content, self.audience, self.policy);
        Ok(Justification {
            content,
            audience,
            policy,
            given_s: now_s,
            text: text.to_owned(),
        })
    }

    /// A permit with a reason. `now_s` in Unix seconds.
    ///
    /// # Errors
    /// [`Held`] if the reason was given for another draft, audience or policy, or longer ago than
    /// [`limits::JUSTIFICATION_LIFETIME_S`].
    pub fn permit_justified(self, justification: Justification, now_s: u64) -> Result<Permit, Held> {
        if self.action != Action::Justify {
            return Err(self.held("the policy asks for no reason"));
        }
        let Justification {
            content,
            audience,
            policy,
            given_s,
            text,
        } = justification;
        if (content, audience, policy) != (self.content, self.audience, self.policy) {
            return Err(
                self.held("the reason was given for another draft, audience or policy: give it again")
            );
        }
        if now_s < given_s || now_s - given_s > limits::JUSTIFICATION_LIFETIME_S {
            return Err(self.held("the reason was given more than ten minutes ago: give it again"));
        }
        Ok(self.into_permit(VerdictCode::Justified, Some(text)))
    }

    /// This verdict, over what redaction left, in place of `original`, the verdict over the author's draft.
    ///
    /// # Errors
    /// [`Held`] unless `original` asked for redaction, for the same audience under the same policy, and nothing
    /// is left to redact or block.
    pub fn redacted_from(mut self, original: &Self) -> Result<Self, Held> {
        if original.action != Action::Redact {
            return Err(original.held("the policy asks for no redaction of this draft"));
        }
        if (self.audience, self.policy) != (original.audience, original.policy) {
            return Err(
                self.held("the redacted draft was decided for another audience or policy: decide both again")
            );
        }
        if self.action >= Action::Redact {
            return Err(self.held("redaction did not remove everything: change the draft"));
        }
        self.redacted_by = Some(
            original
                .rules
                .iter()
                .map(|outcome| outcome.rule.clone())
                .collect(),
        );
        Ok(self)
    }

    fn held(&self, message: &str) -> Held {
        Held {
            action: self.action,
            message: message.to_owned(),
        }
    }

    fn into_permit(self, code: VerdictCode, justification: Option<String>) -> Permit {
        let code = if self.redacted_by.is_some() {
            VerdictCode::Redacted
        } else {
            code
        };
        let mut rules = self.redacted_by.unwrap_or_default();
        for outcome in self.rules {
            if !rules.contains(&outcome.rule) {
                rules.push(outcome.rule);
            }
        }
        Permit {
            content: self.content,
            audience: self.audience,
            policy: self.policy,
            code,
            labels: self.labels,
            rules,
            justification,
        }
    }
}
