//! A device that posts: audiences with other devices, and stories sealed and cleared as an agent does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agent_seal::{
    Clearing, CompliancePublicKey, Composition, DeviceSigner as _, DraftParts, MembershipChange, clear, seal,
};
use anyhow::{Context as _, ensure};
use gateway_api::bytes::Bytes;
use gateway_api::receipt::Acceptance;
use gateway_api::v1::rejoin::{STATE_HEADER, StateMark};
use gateway_api::v1::stories::{self, Accepted, CLEARANCE_HEADER};
use gateway_api::v1::{groups, key_packages};
use policies::decide::{Facts, Permit, decide};
use policies::directory::Directory;
use policies::keys::Ed25519PublicKey;
use policies::plan::Plan;
use policies::roster::Roster;
use policies::terms::{
    App, AudienceClass, AudienceId, Capabilities, Cti, DeviceId, Digest, Evidence, GroupName, ItemFacts,
    ItemKind, PersonId, draft_digest,
};
use reqwest::Client;

use crate::device::{self, Device, now_s};

/// Text of a story: padded, framed and encrypted it makes an envelope of about 4 KB.
const TEXT_BYTES: usize = 3_600;
const SENTENCE: &str = "The plan for Thursday is on, and everybody knows where to be. ";
/// How far the device's MLS state has come (M7): the same for all of its stories, since its connections race here; an
/// agent's stories follow each other.
const MARK: StateMark = StateMark { rejoin: 0, count: 1 };
/// Life of a story: the usual day.
const TTL_S: u32 = 86_400;

/// A device with an audience for each number of recipients.
pub(crate) struct Author {
    device: Device,
    directory: Directory,
    plan: Plan,
    compliance: CompliancePublicKey,
    acceptance: Ed25519PublicKey,
    audiences: BTreeMap<usize, Audience>,
    sealed: usize,
}

struct Audience {
    id: AudienceId,
    post_url: Arc<str>,
}

/// A story on its way.
pub(crate) struct SealedStory {
    cti: Cti,
    audience: AudienceId,
    post_url: Arc<str>,
    pub(crate) envelope: Vec<u8>,
    pub(crate) envelope_digest: Digest,
    pub(crate) clearance: Vec<u8>,
}

/// What came back for a story, not yet verified.
pub(crate) struct Receipt {
    cti: Cti,
    audience: AudienceId,
    envelope: Digest,
    clearance: Digest,
    answer: Vec<u8>,
}

impl Author {
    /// Follows the directory and the policy as they stand.
    pub(crate) async fn new(device: Device) -> anyhow::Result<Self> {
        let directory = device.directory().await?;
        let plan = device.plan(&directory).await?;
        let compliance = CompliancePublicKey::from_bytes(&device.enrollment.compliance_key.0)?;
        let acceptance = device::ed25519(&device.enrollment.acceptance_key)?;
        Ok(Self {
            device,
            directory,
            plan,
            compliance,
            acceptance,
            audiences: BTreeMap::new(),
            sealed: 0,
        })
    }

    /// Makes an audience here and at the gateway, and adds these devices of one person with one commit.
    pub(crate) async fn make_audience(
        &mut self,
        person: PersonId,
        recipients: &[DeviceId],
    ) -> anyhow::Result<()> {
        let id = AudienceId::from_bytes(rand::random());
        let device = &mut self.device;
        let roster = Roster {
            owners: [device.person].into(),
            persons: [device.person, person].into(),
        };
        let created = device.member.create_audience(id, &roster, &self.directory)?;
        let create = groups::Create {
            group_info: created.group_info.into(),
            ratchet_tree: created.ratchet_tree.into(),
        };
        let _: groups::GroupState = device.post(groups::PATH, &create).await?;
        let claim = key_packages::Claim {
            devices: recipients.to_vec(),
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
            .stage_membership(id, &change, &self.directory, now_s()?)?;
        ensure!(
            staged.joiners.len() == recipients.len(),
            "a recipient offers no key package"
        );
        let commit = groups::Commit {
            commit: staged.commit.into(),
            welcome: staged.welcome.map(Bytes),
            group_info: staged.group_info.into(),
            joiners: staged.joiners,
        };
        let _: groups::Committed = device.post(&groups::commits_path(id), &commit).await?;
        device.member.merge_staged(id)?;
        let post_url = device.url(&stories::post_path(id)).into();
        self.audiences.insert(recipients.len(), Audience { id, post_url });
        Ok(())
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Seals another story for so many recipients and clears it for the next 5 minutes.
    pub(crate) fn seal(&mut self, recipients: usize) -> anyhow::Result<SealedStory> {
        self.sealed += 1;
        let text = text(self.sealed);
        let now_s = now_s()?;
        let to = self.audiences.get(&recipients).context("no such audience")?;
        let (audience, post_url) = (to.id, Arc::clone(&to.post_url));
        let permit = self.permit(&text, audience, recipients, now_s)?;
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
            audience,
            post_url,
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
            && acceptance.group == receipt.audience
            && acceptance.envelope == receipt.envelope
            && acceptance.clearance == receipt.clearance;
        ensure!(is_this, "the acceptance is of another story");
        Ok(())
    }

    /// The decision for a text in which an inspection finds nothing: the inspection has a bench of its own.
    fn permit(
        &self,
        text: &str,
        audience: AudienceId,
        recipients: usize,
        now_s: u64,
    ) -> anyhow::Result<Permit> {
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
            audience,
            audience_class: AudienceClass::Internal,
            audience_size: recipients.saturating_add(1).try_into()?,
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
    pub(crate) async fn post(self, connection: Client) -> anyhow::Result<Receipt> {
        let clearance = Digest::of(&self.clearance);
        let request = connection
            .post(&*self.post_url)
            .header(CLEARANCE_HEADER, Bytes(self.clearance).to_text())
            .header(STATE_HEADER, MARK.to_string())
            .body(self.envelope);
        let answer = device::answered(request).await?;
        Ok(Receipt {
            cti: self.cti,
            audience: self.audience,
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
