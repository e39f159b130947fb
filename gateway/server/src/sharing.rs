//! Who may share what with which audience: the customer's casbin rules, decided by casbin.
//!
//! An engine is built whole and never changed: a new bundle or a change of the directory builds another and
//! swaps it in (Z1). Membership of people in groups comes from the directory as live `g` lines (P22).

mod recorder;

use std::collections::{BTreeMap, BTreeSet};

use casbin::rhai::Dynamic;
use casbin::{CoreApi as _, DefaultModel, Enforcer, MemoryAdapter, MgmtApi as _, Model as _};
use gateway_api::v1::preflight::Decision;
use policies::sharing::{RequestField, Sharing, SharingLine};
use policies::terms::{App, AudienceClass, Binding, GroupName, Label, PersonId, TenantId, Tier};

use recorder::{Recorder, deciding_line};

/// The label of a story without labels, in casbin's eyes (K24).
const NO_LABEL: &str = "none";

/// The engine could not be built; the last good one stays.
#[derive(Debug, thiserror::Error)]
#[error("casbin does not take the sharing rules: {0}")]
pub(crate) struct SharingFault(String);

/// What is asked of the rules. One question per label; any deny denies (K24).
#[derive(Clone, Debug)]
pub(crate) struct SharingRequest {
    pub(crate) person: PersonId,
    pub(crate) labels: BTreeSet<Label>,
    pub(crate) audience_class: AudienceClass,
    pub(crate) app: App,
    pub(crate) tier: Tier,
    pub(crate) binding: Binding,
    /// Minutes since midnight in the tenant's zone (Z3).
    pub(crate) minute: u16,
}

/// The rules of one bundle over one state of the directory.
pub(crate) struct SharingEngine {
    enforcer: Enforcer,
    fields: Vec<RequestField>,
    /// Whether the rules ask who sealed (K17).
    has_binding: bool,
    policy_lines: Vec<SharingLine>,
    people: BTreeSet<PersonId>,
    tenant: TenantId,
    policy_version: u64,
}

impl SharingEngine {
    /// Builds the engine from signed rules and the directory's groups.
    pub(crate) async fn build(
        sharing: &Sharing,
        tenant: &TenantId,
        groups_by_person: &BTreeMap<PersonId, BTreeSet<GroupName>>,
        policy_version: u64,
    ) -> Result<Self, SharingFault> {
        let model = DefaultModel::from_str(&sharing.model).await.map_err(fault)?;
        let with_domain = role_arity(&model) == 3;
        let mut enforcer = Enforcer::new(model, MemoryAdapter::default())
            .await
            .map_err(fault)?;
        enforcer.set_effector(Box::new(Recorder::default()));
        let of_kind = |kind: &str| {
            sharing
                .lines
                .iter()
                .filter(|line| line.ptype == kind)
                .cloned()
                .collect::<Vec<_>>()
        };
        let policy_lines = of_kind("p");
        let rules = policy_lines.iter().map(|line| line.fields.clone()).collect();
        enforcer.add_policies(rules).await.map_err(fault)?;
        let mut roles: Vec<Vec<String>> = of_kind("g").into_iter().map(|line| line.fields).collect();
        for (person, groups) in groups_by_person {
            for group in groups {
                let mut line = vec![person.to_string(), group.as_str().to_owned()];
                line.extend(with_domain.then(|| tenant.as_str().to_owned()));
                roles.push(line);
            }
        }
        if enforcer.get_model().get_model().contains_key("g") {
            enforcer.add_grouping_policies(roles).await.map_err(fault)?;
        }
        Ok(Self {
            enforcer,
            fields: sharing.request_fields().to_vec(),
            has_binding: sharing.has_binding(),
            policy_lines,
            people: groups_by_person.keys().copied().collect(),
            tenant: tenant.clone(),
            policy_version,
        })
    }

    /// The decision, with the rule that made it.
    pub(crate) fn decide(&self, request: &SharingRequest) -> Decision {
        if !self.people.contains(&request.person) {
            return self.denied(None, "nobody of this id is enrolled".to_owned());
        }
        if request.binding == Binding::AppAsserted && !self.has_binding {
            let reason =
                "no sharing rule asks who sealed, so apps that seal by themselves are not let through";
            return self.denied(None, reason.to_owned());
        }
        let labels = request.labels.iter().map(Label::as_str);
        let labels: Vec<&str> = if request.labels.is_empty() {
            vec![NO_LABEL]
        } else {
            labels.collect()
        };
        let mut allowed_by = None;
        for label in labels {
            let (allowed, line) = match self.ask(request, label) {
                Ok(answer) => answer,
                Err(error) => return self.denied(None, format!("casbin cannot decide: {error}")),
            };
            let rule = line.map(|line| format!("{}:{}", line.file, line.line));
            if !allowed {
                let by = if rule.is_some() {
                    "a sharing rule refuses"
                } else {
                    "no sharing rule allows"
                };
                let class = class_name(request.audience_class);
                let sealer = match request.binding {
                    Binding::AgentSealed => "",
                    Binding::AppAsserted => " from an app that seals by itself",
                };
                return self.denied(
                    rule,
                    format!("{by} label `{label}`{sealer} to an audience of class `{class}`"),
                );
            }
            allowed_by = rule;
        }
        let reason = "a sharing rule allows it".to_owned();
        Decision {
            allowed: true,
            rule: allowed_by,
            reason,
            policy_version: self.policy_version,
        }
    }

    fn denied(&self, rule: Option<String>, reason: String) -> Decision {
        Decision {
            allowed: false,
            rule,
            reason,
            policy_version: self.policy_version,
        }
    }

    fn ask(
        &self,
        request: &SharingRequest,
        label: &str,
    ) -> Result<(bool, Option<&SharingLine>), casbin::Error> {
        let values: Vec<RequestValue> = self
            .fields
            .iter()
            .map(|field| self.value(*field, request, label))
            .collect();
        let allowed = self.enforcer.enforce(values)?;
        let line = deciding_line().and_then(|index| self.policy_lines.get(index));
        Ok((allowed, line))
    }

    fn value(&self, field: RequestField, request: &SharingRequest, label: &str) -> RequestValue {
        let text = match field {
            RequestField::Sub => request.person.to_string(),
            RequestField::Dom => self.tenant.as_str().to_owned(),
            RequestField::Label => label.to_owned(),
            RequestField::Audience => class_name(request.audience_class).to_owned(),
            RequestField::Act => "share".to_owned(),
            RequestField::App => request.app.as_str().to_owned(),
            RequestField::Tier => tier_name(request.tier).to_owned(),
            RequestField::Binding => request.binding.as_str().to_owned(),
            RequestField::Minute => return RequestValue::Minute(request.minute),
        };
        RequestValue::Text(text)
    }
}

/// A value of a casbin request.
#[derive(Clone, Hash)]
enum RequestValue {
    Text(String),
    Minute(u16),
}

impl From<RequestValue> for Dynamic {
    fn from(value: RequestValue) -> Self {
        match value {
            RequestValue::Text(text) => text.into(),
            RequestValue::Minute(minute) => i32::from(minute).into(),
        }
    }
}

const fn class_name(class: AudienceClass) -> &'static str {
    match class {
        AudienceClass::Internal => "internal",
        AudienceClass::Guest => "guest",
    }
}

const fn tier_name(tier: Tier) -> &'static str {
    match tier {
        Tier::Hardware => "hardware",
        Tier::OsStore => "os-store",
        Tier::File => "file",
    }
}

fn role_arity(model: &DefaultModel) -> usize {
    let roles = model.get_model().get("g").and_then(|section| section.get("g"));
    roles.map_or(0, |assertion| assertion.value.matches('_').count())
}

fn fault(error: casbin::Error) -> SharingFault {
    SharingFault(error.to_string())
}

#[cfg(test)]
mod tests {
    use policies::document::{Folder, check};
    use policies::plan::Plan;

    use super::*;

    const MODEL: &str = include_str!("../../../policies/example/sharing/model.conf");

    /// What the rules say about a story with this label, sealed by this one, within the house.
    async fn decided(model: &str, label: Option<&str>, binding: Binding) -> Decision {
        let files = [
            (
                "policy.toml",
                "tenant = \"acme\"\nname = \"Acme\"\ntime_zone = \"UTC\"\nlabels = [\"public\", \"internal\"]\npacks = []",
            ),
            ("dlp.toml", ""),
            ("sharing/model.conf", model),
            (
                "sharing/policy.csv",
                "p, staff, acme, internal, none, share, allow\np, staff, acme, internal, internal, share, allow",
            ),
        ];
        let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
        let plan = Plan::draft(&check(&Folder { files: files.into() }).unwrap());
        let person = PersonId::from_bytes([1; 16]);
        let groups = BTreeMap::from([(person, BTreeSet::from([GroupName::parse("staff").unwrap()]))]);
        let tenant = TenantId::parse("acme").unwrap();
        let engine = SharingEngine::build(plan.sharing(), &tenant, &groups, 1)
            .await
            .unwrap();
        engine.decide(&SharingRequest {
            person,
            labels: label
                .map(|label| Label::parse(label).unwrap())
                .into_iter()
                .collect(),
            audience_class: AudienceClass::Internal,
            app: App::parse("courier").unwrap(),
            tier: Tier::File,
            binding,
            minute: 600,
        })
    }

    /// K17
    #[tokio::test]
    async fn rule_that_requires_the_agents_seal_refuses_what_an_app_sealed() {
        assert!(
            decided(MODEL, Some("internal"), Binding::AgentSealed)
                .await
                .allowed
        );
        assert!(decided(MODEL, None, Binding::AppAsserted).await.allowed);
        let refused = decided(MODEL, Some("internal"), Binding::AppAsserted).await;
        assert!(!refused.allowed);
        assert_eq!(
            refused.reason,
            "no sharing rule allows label `internal` from an app that seals by itself to an audience of class `internal`"
        );
    }

    /// Rules from before apps could seal are no permission for them.
    #[tokio::test]
    async fn rules_that_never_ask_who_sealed_let_no_app_through() {
        let model = MODEL.replace(", binding\n", "\n").replace(
            " && (r.binding == \"agent-sealed\" || r.label == \"none\")",
            " && r.sub == r.sub",
        );
        assert!(decided(&model, None, Binding::AgentSealed).await.allowed);
        let refused = decided(&model, None, Binding::AppAsserted).await;
        assert!(!refused.allowed);
        assert!(refused.reason.contains("no sharing rule asks who sealed"));
    }
}
