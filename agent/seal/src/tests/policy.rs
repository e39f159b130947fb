// A small signed policy that lets every draft through: shared by the tests, the bench and the example of the crate.

use policies::bundle::{ManifestFields, Role, Trust, UnverifiedBundle, assemble};
use policies::decide::{Facts, Permit, decide};
use policies::document::{Checked, Folder, check};
use policies::keys::Ed25519PublicKey;
use policies::plan::Plan;
use policies::terms::{
    App, AudienceClass, AudienceId, Binding, Capabilities, Evidence, ItemFacts, ItemKind, Tier, draft_digest,
};

const POLICY: &str = r#"
tenant = "acme"
name = "Acme"
time_zone = "UTC"
labels = ["internal"]
packs = []
offline_mode = "keep"
lifetime_max_s = 86400
"#;

const MODEL: &str = "
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
";

/// The author's folder.
pub(crate) fn checked() -> Checked {
    let files = [
        ("policy.toml", POLICY),
        ("dlp.toml", ""),
        ("sharing/model.conf", MODEL),
        (
            "sharing/policy.csv",
            "p, employees, acme, internal, none, share, allow\n",
        ),
    ];
    let files = files
        .map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()))
        .into();
    check(&Folder { files }).unwrap()
}

/// The plan of a bundle that both roles signed and that the log holds at `log_index`.
pub(crate) fn plan(log_index: u64, now_s: u64) -> Plan {
    let checked = checked();
    let (author, approver) = (
        ed25519_dalek::SigningKey::from_bytes(&[1; 32]),
        ed25519_dalek::SigningKey::from_bytes(&[2; 32]),
    );
    let fields = ManifestFields {
        channel: "stable".to_owned(),
        version: 1,
        min_agent: "0.1.0".to_owned(),
        issued_s: now_s,
        expires_s: now_s + 86_400,
        previous: None,
    };
    let signed = assemble(&checked, fields)
        .sign(Role::Author, &author)
        .unwrap()
        .sign(Role::Approver, &approver)
        .unwrap();
    let public = |key: &ed25519_dalek::SigningKey| {
        Ed25519PublicKey::from_bytes(&key.verifying_key().to_bytes()).unwrap()
    };
    let trust = Trust {
        tenant: checked.tenant().clone(),
        authors: vec![public(&author)],
        approvers: vec![public(&approver)],
    };
    let bundle = UnverifiedBundle::parse(&signed.to_bytes()).unwrap();
    Plan::from_bundle(&bundle.verify(&trust, 0, now_s, Some(log_index)).unwrap()).unwrap()
}

/// What the decision gives for a draft in which an inspection found nothing.
pub(crate) fn permit(plan: &Plan, audience: AudienceId, text: &str, files: &[&[u8]]) -> Permit {
    let parts = std::iter::once(text.as_bytes()).chain(files.iter().copied());
    let evidence = Evidence {
        content: draft_digest(text.as_bytes(), files.iter().copied()),
        items: parts
            .map(|part| ItemFacts {
                kind: ItemKind::Text,
                size_bytes: part.len() as u64,
            })
            .collect(),
        findings: Vec::new(),
        unscannable: Vec::new(),
        capabilities: Capabilities::default(),
    };
    let facts = Facts {
        audience,
        audience_class: AudienceClass::Internal,
        audience_size: 2,
        app: App::parse("sealgate").unwrap(),
        tier: Tier::File,
        binding: Binding::AgentSealed,
        groups: std::collections::BTreeSet::new(),
        labels_added: std::collections::BTreeSet::new(),
        now_s: 1_800_000_000,
        offline: false,
    };
    decide(plan, &facts, &evidence).permit().unwrap()
}
