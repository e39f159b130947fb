//! `POST /v1/preflight`: what the sharing rules would say (P12). The decision at relay time counts.

use std::collections::BTreeSet;

use policies::terms::{App, AudienceId, Binding, Label, Tier};
use serde::{Deserialize, Serialize};

/// Path of the route.
pub const PATH: &str = "/v1/preflight";

/// Metadata of a story to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreflightRequest {
    /// For whom: a group, or a device list where an app seals.
    pub group: AudienceId,
    /// Its labels.
    pub labels: BTreeSet<Label>,
    /// From which app.
    pub app: App,
    /// The device's tier.
    pub tier: Tier,
    /// Who will seal it; a device that does not say seals itself.
    #[serde(default = "agent_sealed", skip_serializing_if = "is_agent_sealed")]
    pub binding: Binding,
}

const fn agent_sealed() -> Binding {
    Binding::AgentSealed
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "INVARIANT: serde hands every field over by reference"
)]
const fn is_agent_sealed(binding: &Binding) -> bool {
    matches!(binding, Binding::AgentSealed)
}

/// The decision, with the rule that made it (Z7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Whether the story may be shared.
    pub allowed: bool,
    /// `file:line` of the deciding rule; none when no rule matched.
    pub rule: Option<String>,
    /// In plain words.
    pub reason: String,
    /// Version of the bundle that decided.
    pub policy_version: u64,
}
