//! Stories on their way: sealed, cleared, delivered, opened, or refused.

use policies::clearance::{AudienceBinding, Binding, Claims};
use policies::decide::VerdictCode;
use policies::plan::Plan;
use policies::terms::{App, AudienceId, Cti, Digest, ItemKind, PolicyRef, Tier};

use super::policy;
use super::world::{AUDIENCE, Device, World, clearing, now_s, person, roster};
use crate::{
    AcceptanceFacts, Cleared, CompliancePublicKey, Composition, Delivery, DeviceSigner, DraftFile,
    DraftParts, LeafRefused, MediaError, MembershipChange, OpenError, OpenedStory, PROTOCOL, ProcessError,
    SealError, Sealed, clear, open_blob, open_story, seal,
};

const TEXT: &str = "the quarter went well";
const FILE: &[u8] = b"1,2,3";

fn draft<'a>() -> DraftParts<'a> {
    DraftParts {
        text: TEXT,
        files: vec![DraftFile {
            name: "figures.csv",
            kind: ItemKind::Text,
            bytes: FILE,
        }],
    }
}

fn composition() -> Composition {
    Composition {
        audience_name: "board".to_owned(),
        created_s: now_s(),
        ttl_s: 3_600,
    }
}

/// Alice and Bob, with a policy that lets their drafts through.
pub(super) struct Stage {
    world: World,
    plan: Plan,
    compliance: CompliancePublicKey,
    alice: Device,
    bob: Device,
}

/// A delivery that owns its bytes.
pub(super) struct Sent {
    pub(super) envelope: Vec<u8>,
    clearance: Vec<u8>,
    acceptance: AcceptanceFacts,
    blob: Vec<u8>,
}

impl Stage {
    pub(super) fn new() -> Self {
        let mut world = World::new();
        let plan = world.policy();
        let (alice, bob) = world.alice_and_bob();
        Self {
            world,
            plan,
            compliance: CompliancePublicKey::from_bytes(&[9; 32]).unwrap(),
            alice,
            bob,
        }
    }

    fn try_seal(&mut self) -> Result<Sealed, SealError> {
        let permit = policy::permit(&self.plan, AUDIENCE, TEXT, &[FILE]);
        let (member, directory) = (&mut self.alice.member, &self.world.directory);
        seal(
            member,
            permit,
            &draft(),
            composition(),
            directory,
            &mut rand::rng(),
        )
    }

    fn cleared(&mut self) -> Cleared {
        let sealed = self.try_seal().unwrap();
        clear(
            sealed,
            &self.alice.key,
            clearing(&self.compliance),
            &mut rand::rng(),
        )
        .unwrap()
    }

    pub(super) fn sent(&mut self) -> Sent {
        let cleared = self.cleared();
        Sent::accepted(
            cleared.cti(),
            cleared.envelope().to_vec(),
            cleared.clearance().to_vec(),
            cleared.blobs()[0].bytes.clone(),
        )
    }

    pub(super) fn open(&mut self, sent: &Sent) -> Result<OpenedStory, OpenError> {
        let delivery = sent.delivery();
        open_story(&mut self.bob.member, &delivery, &self.world.directory, now_s())
    }

    /// A clearance that `signer` made by hand, to say what an honest agent never says.
    fn forged(&mut self, change: impl FnOnce(&mut Claims), signer: Option<&dyn DeviceSigner>) -> Sent {
        let sealed = self.try_seal().unwrap();
        let blobs = sealed.blobs.iter().map(|blob| blob.digest).collect();
        let mut claims = self.claims(sealed.cti(), Digest::of(&sealed.envelope), blobs);
        change(&mut claims);
        let clearance = sign(&claims, signer.unwrap_or(&self.alice.key));
        let blob = sealed.blobs[0].bytes.clone();
        Sent::accepted(sealed.cti(), sealed.envelope, clearance, blob)
    }

    /// Another envelope in place of what was sent, cleared by its sender.
    pub(super) fn cleared_anew(&self, sent: &Sent, envelope: Vec<u8>) -> Sent {
        let cti = sent.acceptance.cti;
        let claims = self.claims(cti, Digest::of(&envelope), vec![Digest::of(&sent.blob)]);
        let clearance = sign(&claims, &self.alice.key);
        Sent::accepted(cti, envelope, clearance, sent.blob.clone())
    }

    /// What Alice's agent says of a story to the audience as it is.
    fn claims(&self, cti: Cti, env: Digest, blobs: Vec<Digest>) -> Claims {
        let state = self.bob.member.audience_state(AUDIENCE).unwrap();
        Claims {
            iss: self.alice.id(),
            iat_s: now_s(),
            exp_s: now_s() + 300,
            cti,
            env,
            blobs,
            protocol: PROTOCOL.to_owned(),
            app: App::parse("sealgate").unwrap(),
            audience: AudienceBinding::Mls {
                group: AUDIENCE,
                epoch: state.epoch,
                tree_hash: state.tree_hash,
            },
            binding: Binding::AgentSealed,
            policy: self.plan.policy(),
            verdict: VerdictCode::Allow,
            labels: Vec::new(),
            sealed: vec![0; 560],
            agent_build: Digest::of(b"agent"),
            agent_version: "0.1.0".to_owned(),
            tier: Tier::File,
            ttl_s: 3_600,
        }
    }
}

fn sign(claims: &Claims, signer: &dyn DeviceSigner) -> Vec<u8> {
    let to_be_signed = claims.to_be_signed();
    let signature = signer.sign(to_be_signed.message()).unwrap();
    to_be_signed.finish(&signature)
}

impl Sent {
    fn accepted(cti: Cti, envelope: Vec<u8>, clearance: Vec<u8>, blob: Vec<u8>) -> Self {
        let acceptance = AcceptanceFacts {
            cti,
            env: Digest::of(&envelope),
            clearance: Digest::of(&clearance),
            group: AUDIENCE,
            at_s: now_s(),
            expires_s: now_s() + 3_500,
        };
        Self {
            envelope,
            clearance,
            acceptance,
            blob,
        }
    }

    fn delivery(&self) -> Delivery<'_> {
        Delivery {
            envelope: &self.envelope,
            clearance: &self.clearance,
            acceptance: &self.acceptance,
        }
    }
}

#[test]
fn story_reaches_the_recipient_byte_for_byte() {
    let mut stage = Stage::new();
    let sent = stage.sent();
    let opened = stage.open(&sent).unwrap();
    assert_eq!(opened.manifest().text(), TEXT);
    assert_eq!(opened.manifest().audience_name(), "board");
    assert_eq!(opened.manifest().author_person(), person(1));
    assert_eq!(opened.author(), stage.alice.id());
    let file = &opened.manifest().files()[0];
    assert_eq!((file.name(), file.size_bytes()), ("figures.csv", 5));
    let key = opened.manifest().file_key(0).unwrap();
    assert_eq!(open_blob(&key, &sent.blob).unwrap().as_slice(), FILE);
    assert!(opened.manifest().file_key(1).is_none());
}

#[test]
fn nothing_that_leaves_holds_the_text_the_name_or_the_file() {
    let mut stage = Stage::new();
    let sent = stage.sent();
    for bytes in [&sent.envelope, &sent.clearance, &sent.blob] {
        for secret in [TEXT.as_bytes(), b"figures.csv", FILE, b"board"] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret));
        }
    }
}

#[test]
fn author_keeps_what_nobody_can_decrypt_twice() {
    let mut stage = Stage::new();
    let cleared = stage.cleared();
    assert_eq!(cleared.manifest().text(), TEXT);
    let key = cleared.manifest().file_key(0).unwrap();
    assert_eq!(
        open_blob(&key, &cleared.blobs()[0].bytes).unwrap().as_slice(),
        FILE
    );
    assert_eq!(cleared.sealed().manifest().cti(), cleared.cti());
}

/// C6
#[test]
fn envelope_and_blob_show_padded_sizes_only() {
    let mut stage = Stage::new();
    let (first, second) = (stage.sent(), stage.sent());
    assert_eq!(first.envelope.len(), second.envelope.len());
    assert_eq!(first.blob.len(), 24 + 32 + 256 + 16);
}

/// K13
#[test]
fn story_opens_once() {
    let mut stage = Stage::new();
    let sent = stage.sent();
    stage.open(&sent).unwrap();
    assert_eq!(
        stage.open(&sent).unwrap_err(),
        OpenError::Envelope(ProcessError::Unusable)
    );
}

#[test]
fn file_that_was_altered_is_not_opened() {
    let mut stage = Stage::new();
    let mut sent = stage.sent();
    let opened = stage.open(&sent).unwrap();
    let key = opened.manifest().file_key(0).unwrap();
    *sent.blob.last_mut().unwrap() ^= 1;
    assert_eq!(open_blob(&key, &sent.blob).unwrap_err(), MediaError::NotAuthentic);
}

/// K1
#[test]
fn draft_that_changed_after_inspection_is_not_sealed() {
    let mut stage = Stage::new();
    let permit = policy::permit(&stage.plan, AUDIENCE, TEXT, &[b"inspected"]);
    let (member, directory) = (&mut stage.alice.member, &stage.world.directory);
    let refused = seal(
        member,
        permit,
        &draft(),
        composition(),
        directory,
        &mut rand::rng(),
    );
    assert_eq!(refused.unwrap_err(), SealError::ContentChanged);
}

/// K3: what an author tries out lets nothing through.
#[test]
fn draft_let_through_by_an_unlogged_policy_is_not_sealed() {
    let mut stage = Stage::new();
    let logged = stage.world.entries;
    for plan in [Plan::draft(&policy::checked()), policy::plan(logged, now_s())] {
        let permit = policy::permit(&plan, AUDIENCE, TEXT, &[FILE]);
        let (member, directory) = (&mut stage.alice.member, &stage.world.directory);
        let refused = seal(
            member,
            permit,
            &draft(),
            composition(),
            directory,
            &mut rand::rng(),
        );
        assert_eq!(refused.unwrap_err(), SealError::UnloggedPolicy);
    }
}

#[test]
fn story_without_a_lifetime_is_not_sealed() {
    let mut stage = Stage::new();
    for ttl_s in [0, 86_401] {
        let permit = policy::permit(&stage.plan, AUDIENCE, TEXT, &[FILE]);
        let composition = Composition {
            ttl_s,
            ..composition()
        };
        let (member, directory) = (&mut stage.alice.member, &stage.world.directory);
        let refused = seal(member, permit, &draft(), composition, directory, &mut rand::rng());
        assert_eq!(refused.unwrap_err(), SealError::Lifetime { max: 86_400 });
    }
}

/// K8
#[test]
fn nobody_posts_while_a_revoked_device_is_in_the_audience() {
    let mut stage = Stage::new();
    let (world, bob) = (&mut stage.world, &stage.bob);
    world.revoke(bob);
    assert_eq!(
        stage.try_seal().unwrap_err(),
        SealError::DevicesToRemove(vec![stage.bob.id()])
    );
}

#[test]
fn removal_by_the_gateway_blocks_posting_until_it_is_committed() {
    let mut stage = Stage::new();
    let remove = stage.world.external_remove(1, 1);
    stage.world.process(&mut stage.alice, &remove);
    assert_eq!(stage.try_seal().unwrap_err(), SealError::RemovalPending);
    let member = &mut stage.alice.member;
    let staged = member.stage_self_update(AUDIENCE, &stage.world.directory);
    staged.unwrap();
    assert_eq!(stage.try_seal().unwrap_err(), SealError::Unanswered);
    stage.alice.member.merge_staged(AUDIENCE).unwrap();
    stage.try_seal().unwrap();
}

#[test]
fn removed_device_cannot_read_on() {
    let mut stage = Stage::new();
    let change = MembershipChange {
        remove: vec![stage.bob.id()],
        ..MembershipChange::default()
    };
    let member = &mut stage.alice.member;
    member
        .stage_membership(AUDIENCE, &change, &stage.world.directory, now_s())
        .unwrap();
    member.merge_staged(AUDIENCE).unwrap();
    let sent = stage.sent();
    // Bob withholds the commit from himself and tries with the keys of his last epoch.
    assert_eq!(
        stage.open(&sent).unwrap_err(),
        OpenError::Envelope(ProcessError::WrongEpoch { found: 2, current: 1 })
    );
    assert!(stage.bob.member.decrypt(AUDIENCE, &sent.envelope).is_err());
}

/// M3
#[test]
fn story_of_a_past_epoch_is_refused() {
    let mut stage = Stage::new();
    let sent = stage.sent();
    let member = &mut stage.alice.member;
    let staged = member
        .stage_self_update(AUDIENCE, &stage.world.directory)
        .unwrap();
    stage.world.process(&mut stage.bob, &staged.commit);
    assert_eq!(
        stage.open(&sent).unwrap_err(),
        OpenError::Envelope(ProcessError::WrongEpoch { found: 1, current: 2 })
    );
}

/// K10
#[test]
fn joiner_reads_from_its_join_on() {
    let mut stage = Stage::new();
    let mut carol = stage.world.device(3, 3);
    let world = &stage.world;
    let (staged, joined) = world.join(&mut stage.alice, &mut carol, Some(roster(&[1], &[2, 3])));
    assert_eq!(joined.epoch, 2);
    stage.world.process(&mut stage.bob, &staged.commit);
    let sent = stage.sent();
    let delivery = sent.delivery();
    let opened = open_story(&mut carol.member, &delivery, &stage.world.directory, now_s());
    assert_eq!(opened.unwrap().manifest().text(), TEXT);
}

#[test]
fn tampered_clearance_or_envelope_is_refused() {
    let mut stage = Stage::new();
    let mut sent = stage.sent();
    *sent.clearance.last_mut().unwrap() ^= 1;
    sent.acceptance.clearance = Digest::of(&sent.clearance);
    assert_eq!(stage.open(&sent).unwrap_err(), OpenError::Clearance);
    let mut sent = stage.sent();
    *sent.envelope.last_mut().unwrap() ^= 1;
    sent.acceptance.env = Digest::of(&sent.envelope);
    assert_eq!(stage.open(&sent).unwrap_err(), OpenError::OtherStory);
}

#[test]
fn clearance_for_another_audience_is_refused() {
    let mut stage = Stage::new();
    let sent = stage.forged(
        |claims| {
            claims.audience = AudienceBinding::Mls {
                group: AudienceId::from_bytes([0xB0; 16]),
                epoch: 1,
                tree_hash: vec![0; 32],
            }
        },
        None,
    );
    assert_eq!(stage.open(&sent).unwrap_err(), OpenError::OtherAudience);
}

#[test]
fn clearance_for_another_set_of_devices_is_refused() {
    let mut stage = Stage::new();
    let sent = stage.forged(
        |claims| {
            claims.audience = AudienceBinding::Mls {
                group: AUDIENCE,
                epoch: 1,
                tree_hash: vec![0; 32],
            }
        },
        None,
    );
    assert_eq!(stage.open(&sent).unwrap_err(), OpenError::OtherAudience);
}

#[test]
fn clearance_of_an_app_that_seals_by_itself_is_no_clearance_of_ours() {
    let mut stage = Stage::new();
    let sent = stage.forged(|claims| claims.binding = Binding::AppAsserted, None);
    assert_eq!(stage.open(&sent).unwrap_err(), OpenError::Clearance);
}

/// K14
#[test]
fn story_cleared_by_another_device_than_the_one_that_sealed_it_is_refused() {
    let mut stage = Stage::new();
    let second = stage.world.device(4, 1);
    let sent = stage.forged(|claims| claims.iss = second.id(), Some(&second.key));
    assert_eq!(stage.open(&sent).unwrap_err(), OpenError::OtherSender);
    let sealed = stage.try_seal().unwrap();
    let clearing = clearing(&stage.compliance);
    let refused = clear(sealed, &second.key, clearing, &mut rand::rng());
    assert_eq!(refused.unwrap_err(), crate::ClearError::OtherDevice);
}

#[test]
fn story_of_an_unlogged_issuer_or_policy_waits_for_the_log() {
    let mut stage = Stage::new();
    let stranger = stage.world.unlogged(9, 9);
    let sent = stage.forged(|claims| claims.iss = stranger.id(), Some(&stranger.key));
    let refused = stage.open(&sent).unwrap_err();
    let unlogged = LeafRefused::Unlogged(stranger.id());
    assert_eq!(refused, OpenError::Issuer(unlogged));
    assert!(refused.needs_log());
    let sent = stage.forged(
        |claims| {
            claims.policy = PolicyRef {
                version: 9,
                digest: Digest::of(b"unlogged"),
                log_index: 9,
            }
        },
        None,
    );
    assert!(stage.open(&sent).unwrap_err().needs_log());
}

/// K14
#[test]
fn story_accepted_after_its_clearance_ended_is_refused() {
    let mut stage = Stage::new();
    let mut sent = stage.sent();
    sent.acceptance.at_s = now_s() + 301;
    assert_eq!(stage.open(&sent).unwrap_err(), OpenError::Untimely);
    let long = stage.forged(|claims| claims.exp_s = claims.iat_s + 301, None);
    assert_eq!(stage.open(&long).unwrap_err(), OpenError::Untimely);
    let endless = stage.forged(|claims| claims.ttl_s = 86_401, None);
    assert_eq!(stage.open(&endless).unwrap_err(), OpenError::Untimely);
    let mut kept = stage.sent();
    kept.acceptance.expires_s = kept.acceptance.at_s + 3_601;
    assert_eq!(stage.open(&kept).unwrap_err(), OpenError::Untimely);
}

#[test]
fn expired_story_is_not_opened() {
    let mut stage = Stage::new();
    let sent = stage.sent();
    let delivery = sent.delivery();
    let later_s = sent.acceptance.expires_s;
    let opened = open_story(&mut stage.bob.member, &delivery, &stage.world.directory, later_s);
    assert_eq!(opened.unwrap_err(), OpenError::Expired);
}

#[test]
fn acceptance_of_another_story_is_refused() {
    let mut stage = Stage::new();
    let (mut first, second) = (stage.sent(), stage.sent());
    first.acceptance = second.acceptance.clone();
    assert_eq!(stage.open(&first).unwrap_err(), OpenError::OtherStory);
}

#[test]
fn clearance_whose_cti_is_not_in_the_envelope_is_refused() {
    let mut stage = Stage::new();
    let other = Cti::from_bytes([9; 16]);
    let mut sent = stage.forged(|claims| claims.cti = other, None);
    sent.acceptance.cti = other;
    assert_eq!(stage.open(&sent).unwrap_err(), OpenError::OtherStory);
}

#[test]
fn clearance_with_other_blobs_or_lifetime_contradicts_the_manifest() {
    let mut stage = Stage::new();
    let sent = stage.forged(|claims| claims.blobs = vec![Digest::of(b"other")], None);
    assert_eq!(stage.open(&sent).unwrap_err(), OpenError::Contradiction);
    let sent = stage.forged(|claims| claims.ttl_s = 7_200, None);
    assert_eq!(stage.open(&sent).unwrap_err(), OpenError::Contradiction);
}

/// Franking: what could not be reported is not shown.
#[test]
fn story_whose_tag_does_not_commit_to_its_manifest_is_not_shown() {
    let mut stage = Stage::new();
    let cti = Cti::from_bytes([8; 16]);
    let plaintext = crate::story::frame(&[1; 32], b"manifest");
    let associated = crate::story::associated(&[0; 32], cti);
    let member = &mut stage.alice.member;
    let envelope = member.encrypt(AUDIENCE, associated, &plaintext).unwrap();
    let env = Digest::of(&envelope);
    let mut sent = stage.forged(
        |claims| {
            claims.cti = cti;
            claims.env = env;
        },
        None,
    );
    sent.envelope = envelope;
    sent.acceptance.env = env;
    sent.acceptance.cti = cti;
    assert_eq!(stage.open(&sent).unwrap_err(), OpenError::Unreportable);
}

#[test]
fn debug_of_a_story_on_its_way_shows_no_content() {
    let mut stage = Stage::new();
    let cleared = stage.cleared();
    let sent = stage.sent();
    let opened = stage.open(&sent).unwrap();
    let key = opened.manifest().file_key(0).unwrap();
    let shown = format!("{:?} {cleared:?} {opened:?} {key:?}", draft());
    for secret in ["quarter", "figures", "board", "1,2,3"] {
        assert!(!shown.contains(secret), "{secret}");
    }
    insta::assert_snapshot!(format!("{:?}", draft()), @"DraftParts { text_bytes: 21, files: 1 }");
}
