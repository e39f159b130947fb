//! The plan: a policy that can decide. It comes from a verified bundle, or from an author's folder for tests.

use jiff::tz::TimeZone;

use crate::bundle::VerifiedBundle;
use crate::cases::Case;
use crate::detector::Detector;
use crate::document::{Checked, Folder, OfflineMode, Problems, check_parts};
use crate::rule::{OfflineRule, Rule};
use crate::sharing::Sharing;
use crate::terms::{Action, Digest, Label, PolicyRef, TenantId};

/// A policy that can decide.
#[derive(Clone, Debug)]
pub struct Plan {
    reference: PolicyRef,
    checked: Checked,
}

impl Plan {
    /// The plan of a bundle. The parts are checked again: what a signer signed may be from another version.
    ///
    /// # Errors
    /// Every problem, with file and line.
    pub fn from_bundle(bundle: &VerifiedBundle) -> Result<Self, Problems> {
        let checked = check_parts(&Folder {
            files: bundle.parts().clone(),
        })?;
        if checked.tenant() != bundle.tenant() {
            return Err(Problems::one(
                "policy.toml",
                "the policy is for another tenant than its bundle",
                "sign it again",
            ));
        }
        Ok(Self {
            reference: bundle.reference(),
            checked,
        })
    }

    /// The plan of an author's folder, for tests: version 0, which no gateway accepts.
    #[must_use]
    pub fn draft(checked: &Checked) -> Self {
        let reference = PolicyRef {
            version: 0,
            digest: Digest::from_bytes([0; 32]),
            log_index: 0,
        };
        Self {
            reference,
            checked: checked.clone(),
        }
    }

    /// Which policy it is.
    #[must_use]
    pub const fn policy(&self) -> PolicyRef {
        self.reference
    }

    /// Whose.
    #[must_use]
    pub const fn tenant(&self) -> &TenantId {
        &self.checked.policy.tenant
    }

    /// The tenant's name, for people.
    #[must_use]
    pub fn tenant_name(&self) -> &str {
        &self.checked.policy.name
    }

    /// The tenant's labels, in their order.
    #[must_use]
    pub fn labels(&self) -> &[Label] {
        &self.checked.policy.labels
    }

    /// The detectors of all packs and own files.
    #[must_use]
    pub fn detectors(&self) -> &[Detector] {
        &self.checked.detectors
    }

    /// The rules, in their order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.checked.rules
    }

    /// The sharing rules.
    #[must_use]
    pub const fn sharing(&self) -> &Sharing {
        &self.checked.sharing
    }

    /// The longest life of a story, seconds.
    #[must_use]
    pub const fn lifetime_max_s(&self) -> u64 {
        self.checked.policy.lifetime_max_s
    }

    /// What an agent does when this policy is stale beyond the grace period (B4).
    #[must_use]
    pub const fn offline_mode(&self) -> OfflineMode {
        self.checked.policy.offline_mode
    }

    /// How long the policy may be stale before that mode acts, seconds (B4).
    #[must_use]
    pub const fn offline_grace_s(&self) -> u64 {
        self.checked.policy.offline_grace_s
    }

    /// The plan of `offline_mode = "audit"`: every rule fires and reports as before, and none stops anything (B4).
    #[must_use]
    pub fn audited(mut self) -> Self {
        for rule in &mut self.checked.rules {
            rule.action = rule.action.min(Action::Audit);
            rule.on_unscannable = rule.on_unscannable.map(|action| action.min(Action::Audit));
            rule.offline = OfflineRule::Keep;
        }
        self
    }

    /// The tenant's time zone, by its IANA name (K24).
    #[must_use]
    pub fn time_zone(&self) -> &str {
        &self.checked.policy.zone_name
    }

    pub(crate) const fn zone(&self) -> &TimeZone {
        &self.checked.policy.zone
    }

    /// The tests that the policy carries.
    #[must_use]
    pub fn tests(&self) -> &[Case] {
        &self.checked.cases
    }

    /// A file of the policy, such as one that a test names.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.checked.part(path)
    }
}
