//! The device that posts: an audience with another one, and stories sealed and cleared as an agent does.

use std::collections::BTreeSet;

use agent_seal::{
    Clearing, CompliancePublicKey, Composition, DeviceSigner as _, DraftParts, MembershipChange, clear, seal,
};
use anyhow::{Context as _, ensure};
use gateway_api::bytes::Bytes;
use gateway_api::receipt::Acceptance;
use gateway_api::v1::stories::{self, Accepted, CLEARANCE_HEADER};
use gateway_api::v1::{groups, key_packages};
use policies::decide::{Facts, Permit, decide};
use policies::directory::Directory;
use policies::keys::Ed25519PublicKey;
use policies::plan::Plan;
use policies::roster::Roster;
use policies::terms::{
    App, AudienceClass, AudienceId, Capabilities, Cti, Digest, Evidence, GroupName, ItemFacts, ItemKind,
    draft_digest,
};
use reqwest::RequestBuilder;

use crate::device::{self, Device, now_s};

const AUDIENCE: AudienceId = AudienceId::from_bytes([0xA0; 16]);
/// Text of a story: padded, framed and encrypted it makes an envelope of about 4 KB.
const TEXT_BYTES: usize = 3_600;
const SENTENCE: &str = "The plan for Thursday is on, and everybody knows where to be. ";
/// Life of a story: the usual day.
const TTL_S: u32 = 86_400;

/// A device with an audience of two.
pub(crate) struct Author {
    device: Device,
    directory: Directory,
    plan: Plan,
    compliance: CompliancePublicKey,
    acceptance: Ed25519PublicKey,
    sealed: usize,
}

/// A story on its way.
pub(crate) struct SealedStory {
    cti: Cti,
    pub(crate) envelope: Vec<u8>,
    pub(crate) envelope_digest: Digest,
    clearance: Vec<u8>,
}

/// What came back for a story, not yet verified.
pub(crate) struct Receipt {
    cti: Cti,
    envelope: Digest,
    clearance: Digest,
    answer: Vec<u8>,
}

impl Author {
    /// Makes the audience here and at the gateway, and adds the other device.
    pub(crate) async fn with_audience_of(mut device: Device, other: &Device) -> anyhow::Result<Self> {
        let directory = device.directory().await?;
        let plan = device.plan(&directory).await?;
        let roster = Roster {
            owners: [device.person].into(),
            persons: [device.person, other.person].into(),
        };
        let created = device.member.create_audience(AUDIENCE, &roster, &directory)?;
        let create = groups::Create {
            group_info: created.group_info.into(),
            ratchet_tree: created.ratchet_tree.into(),
        };
        let _: groups::GroupState = device.post(groups::PATH, &create).await?;
        let claim = key_packages::Claim {
            devices: vec![other.key.device()],
        };
        let claimed: key_packages::Claimed = device.post(key_packages::CLAIM_PATH, &claim).await?;
        let add = claimed
            .key_packages
            .into_iter()
            .map(|claimed| claimed.key_package.0)
            .collect();
        let change = MembershipChange {
            add,
            ..MembershipChange::default()
        };
        let staged = device
            .member
            .stage_membership(AUDIENCE, &change, &directory, now_s()?)?;
        ensure!(
            staged.joiners == [other.key.device()],
            "the other device offers no key package"
        );
        let commit = groups::Commit {
            commit: staged.commit.into(),
            welcome: staged.welcome.map(Bytes),
            group_info: staged.group_info.into(),
            joiners: staged.joiners,
        };
        let _: groups::Committed = device.post(&groups::commits_path(AUDIENCE), &commit).await?;
        device.member.merge_staged(AUDIENCE)?;
        let compliance = CompliancePublicKey::from_bytes(&device.enrollment.compliance_key.0)?;
        let acceptance = device::ed25519(&device.enrollment.acceptance_key)?;
        Ok(Self {
            device,
            directory,
            plan,
            compliance,
            acceptance,
            sealed: 0,
        })
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    pub(crate) fn audience(&self) -> AudienceId {
        AUDIENCE
    }

    /// Where stories go.
    pub(crate) fn post_url(&self) -> String {
        self.device.url(&stories::post_path(AUDIENCE))
    }

    /// Seals another story and clears it for the next 5 minutes.
    pub(crate) fn seal(&mut self) -> anyhow::Result<SealedStory> {
        self.sealed += 1;
        let text = text(self.sealed);
        let now_s = now_s()?;
        let permit = self.permit(&text, now_s)?;
        let draft = DraftParts {
            text: &text,
            files: Vec::new(),
        };
        let composition = Composition {
            audience_name: "team".to_owned(),
            created_s: now_s,
            ttl_s: TTL_S,
        };
        let member = &mut self.device.member;
        let sealed = seal(
            member,
            permit,
            &draft,
            composition,
            &self.directory,
            &mut rand::rng(),
        )?;
        let clearing = Clearing {
            now_s,
            app: app()?,
            compliance: &self.compliance,
            findings: &[],
            agent_build: Digest::of(b"load"),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let cleared = clear(sealed, &self.device.key, clearing, &mut rand::rng())?;
        Ok(SealedStory {
            cti: cleared.cti(),
            envelope: cleared.envelope().to_vec(),
            envelope_digest: Digest::of(cleared.envelope()),
            clearance: cleared.clearance().to_vec(),
        })
    }

    /// An acceptance counts only if the gateway signed it, and for this story.
    pub(crate) fn check(&self, receipt: &Receipt) -> anyhow::Result<()> {
        let accepted: Accepted = serde_json::from_slice(&receipt.answer)?;
        let acceptance = Acceptance::verify(&accepted.acceptance.0, &self.acceptance)?;
        let is_this = acceptance.cti == receipt.cti
            && acceptance.group == AUDIENCE
            && acceptance.envelope == receipt.envelope
            && acceptance.clearance == receipt.clearance;
        ensure!(is_this, "the acceptance is of another story");
        Ok(())
    }

    /// The decision for a text in which an inspection finds nothing: the inspection has a bench of its own.
    fn permit(&self, text: &str, now_s: u64) -> anyhow::Result<Permit> {
        let evidence = Evidence {
            content: draft_digest(text.as_bytes(), std::iter::empty()),
            items: vec![ItemFacts {
                kind: ItemKind::Text,
                size_bytes: u64::try_from(text.len())?,
            }],
            findings: Vec::new(),
            unscannable: Vec::new(),
            capabilities: Capabilities::default(),
        };
        let facts = Facts {
            audience: AUDIENCE,
            audience_class: AudienceClass::Internal,
            audience_size: 2,
            app: app()?,
            tier: self.device.key.tier(),
            binding: policies::terms::Binding::AgentSealed,
            groups: [GroupName::parse("employees")?].into(),
            labels_added: BTreeSet::new(),
            now_s,
            offline: false,
        };
        decide(&self.plan, &facts, &evidence)
            .permit()
            .context("the example policy holds the story")
    }
}

impl SealedStory {
    /// Sends it: envelope as body, clearance as header.
    pub(crate) async fn post(self, request: RequestBuilder) -> anyhow::Result<Receipt> {
        let clearance = Digest::of(&self.clearance);
        let request = request
            .header(CLEARANCE_HEADER, Bytes(self.clearance).to_text())
            .body(self.envelope);
        let answer = device::answered(request).await?;
        Ok(Receipt {
            cti: self.cti,
            envelope: self.envelope_digest,
            clearance,
            answer,
        })
    }
}

fn app() -> anyhow::Result<App> {
    Ok(App::parse("sealgate")?)
}

fn text(number: usize) -> String {
    let sentences = SENTENCE.chars().cycle();
    format!("Story {number}. ")
        .chars()
        .chain(sentences)
        .take(TEXT_BYTES)
        .collect()
}
