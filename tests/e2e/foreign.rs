//! Apps that seal by themselves (A12, K17): a Double Ratchet of strangers (vodozemac), through the client crate, two
//! agents and a gateway; and the local API's examples, run as they are written.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use agent_client::{Agent, Checked, Draft, Error, List, ListId, Outcome, Sealed, Shared, Story, StoryId};
use agent_seal::{DeviceSigner as _, FileDeviceKey};
use gateway_api::bytes::Bytes;
use gateway_api::error::{ErrorCode, Problem};
use gateway_api::receipt::{Acceptance, Refusal};
use gateway_api::v1::device_lists;
use gateway_api::v1::preflight::{self, Decision, PreflightRequest};
use gateway_api::v1::stories::Accepted;
use policies::clearance::{AudienceBinding, Claims, UnverifiedClearance};
use policies::device_list::{DeviceList, UnverifiedDeviceList};
use policies::terms::{App, AudienceId, Binding, Cti, DeviceId, Digest, Label, Tier};
use vodozemac::olm::{Account, OlmMessage, Session, SessionConfig};

use crate::world::device::{Device, problem};
use crate::world::{
    KEPT, PATIENCE, World, acceptance_key, contains, database, files_below, repository, until,
};

/// How long a story is awaited.
const PATIENTLY: Duration = Duration::from_secs(60);
const PROTOCOL: &str = "olm/2";

/// Somebody's copy of a messenger: its way to the agent on its device.
struct Courier(Agent);

impl Courier {
    fn of(world: &World, name: &str) -> Self {
        let own = std::env::current_exe().unwrap();
        Self(Agent::open(&world.register_app(name, "courier", &own)).unwrap())
    }

    fn check(&self, draft: &Draft<'_>, list: &List) -> Checked {
        self.0.check(draft, Some(&list.list)).unwrap()
    }

    /// Shares bytes under the verdict of a check.
    fn share(&self, checked: &Checked, list: &List, envelope: &[u8]) -> Result<Shared, Error> {
        self.share_for(checked, list, envelope, None)
    }

    fn share_for(
        &self,
        checked: &Checked,
        list: &List,
        envelope: &[u8],
        ttl_s: Option<u32>,
    ) -> Result<Shared, Error> {
        let sealed = Sealed {
            list: &list.list,
            content: &checked.content,
            protocol: PROTOCOL,
            ttl_s,
        };
        self.0.share(checked.receipt.as_ref().unwrap(), &sealed, envelope)
    }

    /// Has a harmless draft cleared over these bytes.
    fn send(&self, list: &List, envelope: &[u8], ttl_s: Option<u32>) -> StoryId {
        let checked = self.check(&Draft::text("Lunch at 12:30"), list);
        let shared = self.share_for(&checked, list, envelope, ttl_s).unwrap();
        assert_eq!(shared.outcome, Outcome::Accepted, "{shared:?}");
        shared.story
    }

    /// What waits, as soon as something does.
    fn arrived(&self) -> Vec<Story> {
        self.0.stories(PATIENTLY).unwrap()
    }

    /// The bytes of the one story that waits.
    fn received(&self) -> (Story, Vec<u8>) {
        let [story] = self.arrived().try_into().unwrap();
        let bytes = self.0.read(&story.story).unwrap();
        (story, bytes)
    }
}

/// Status and message of a call that the agent refused.
fn refused<T: std::fmt::Debug>(called: Result<T, Error>) -> (u16, String) {
    let error = called.unwrap_err();
    let Error::Refused { status, problem } = error else {
        panic!("{error}");
    };
    (status, problem.message)
}

/// Alice and Bob with the same messenger, and a list of their devices.
fn two_couriers(world: &mut World) -> (Courier, Courier, List) {
    world.employ("Alice", "employees");
    world.employ("Bob", "employees");
    let (alice, bob) = (Courier::of(world, "Alice"), Courier::of(world, "Bob"));
    let list = alice.0.define_list(&["Bob"]).unwrap();
    assert_eq!((list.version, list.devices.len(), list.own), (1, 2, true));
    (alice, bob, list)
}

/// A Double Ratchet with full MACs, ready to send from Alice to Bob.
fn ratchets() -> (Session, Account, vodozemac::Curve25519PublicKey) {
    let (alice, mut bob) = (Account::new(), Account::new());
    bob.generate_one_time_keys(1);
    let one_time = *bob.one_time_keys().values().next().unwrap();
    let session = alice
        .create_outbound_session(SessionConfig::version_2(), bob.curve25519_key(), one_time)
        .unwrap();
    bob.mark_keys_as_published();
    (session, bob, alice.curve25519_key())
}

fn sealed(session: &mut Session, text: &str) -> Vec<u8> {
    let (kind, ciphertext) = session.encrypt(text).unwrap().to_parts();
    [&[u8::try_from(kind).unwrap()], ciphertext.as_slice()].concat()
}

fn message(envelope: &[u8]) -> OlmMessage {
    let (kind, ciphertext) = envelope.split_first().unwrap();
    OlmMessage::from_parts(usize::from(*kind), ciphertext).unwrap()
}

/// A12, K17: what a Double Ratchet sealed is cleared and relayed byte for byte, there and back; the same draft with a
/// card number gets no clearance.
#[test]
fn foreign_double_ratchet_app_is_relayed_untouched() {
    let mut world = World::new();
    let (alice, bob, list) = two_couriers(&mut world);
    let (mut alices, mut bobs_account, alices_key) = ratchets();

    let text = "Lunch at 12:30, bring the blue folder";
    let checked = alice.check(&Draft::text(text), &list);
    let envelope = sealed(&mut alices, text);
    let shared = alice.share(&checked, &list, &envelope).unwrap();
    assert_eq!(shared.outcome, Outcome::Accepted);
    let acceptance = Bytes::from_text(&shared.acceptance.unwrap()).unwrap();
    let acceptance = Acceptance::verify(&acceptance.0, &acceptance_key(&world)).unwrap();
    assert_eq!(acceptance.envelope, Digest::of(&envelope));

    let (story, relayed) = bob.received();
    assert_eq!(relayed, envelope);
    assert_eq!(
        (&story.story, story.name.as_str(), story.protocol.as_str()),
        (&shared.story, "Alice", PROTOCOL)
    );
    let OlmMessage::PreKey(first) = message(&relayed) else {
        panic!("the first message of a ratchet carries its keys");
    };
    let opened = bobs_account
        .create_inbound_session(SessionConfig::version_2(), alices_key, &first)
        .unwrap();
    assert_eq!(opened.plaintext, text.as_bytes());
    bob.0.done(&story.story).unwrap();
    assert!(bob.0.stories(Duration::ZERO).unwrap().is_empty());
    assert_eq!(refused(bob.0.read(&story.story)).0, 404);

    // Back on the same list, which Bob's device learned with the story.
    let mut bobs = opened.session;
    let known = bob.0.lists().unwrap();
    assert_eq!((known[0].list.clone(), known[0].own), (list.list.clone(), false));
    let answer = sealed(&mut bobs, "With pleasure");
    bob.send(&known[0], &answer, None);
    let (_, relayed) = alice.received();
    assert_eq!(relayed, answer);
    assert_eq!(alices.decrypt(&message(&relayed)).unwrap(), b"With pleasure");

    let card = alice.check(
        &Draft::text(&format!("{text} and card 4556 7375 8689 9855")),
        &list,
    );
    assert_eq!((card.verdict.outcome.as_str(), card.receipt), ("blocked", None));
    let blocked = world.agent("Alice", ["activity"]).succeeded().json();
    let entries = blocked["entries"].as_array().unwrap();
    let entry = entries
        .iter()
        .find(|entry| entry["outcome"] == "blocked")
        .unwrap();
    assert_eq!(
        (&entry["reported"]["app"], &entry["audience"]),
        (&"courier".into(), &"Bob".into())
    );
    for (path, bytes) in files_below(&world.path("gateway")) {
        assert!(!contains(&bytes, b"blue folder"), "{}", path.display());
    }
}

/// A10: a verdict clears one story: of the draft that the app says it sealed, for the list that it was asked for, once.
#[test]
fn verdict_on_one_draft_clears_no_other() {
    let mut world = World::new();
    let (alice, _, list) = two_couriers(&mut world);
    let other_list = alice.0.define_list(&["Bob"]).unwrap();
    let (lunch, dinner) = (
        alice.check(&Draft::text("Lunch at 12:30"), &list),
        alice.check(&Draft::text("Dinner at 19:00"), &list),
    );
    let mixed = Checked {
        content: dinner.content.clone(),
        ..lunch.clone()
    };
    assert_eq!(
        refused(alice.share(&mixed, &list, b"sealed")),
        (403, "the receipt is of other content".to_owned())
    );
    assert_eq!(refused(alice.share(&lunch, &other_list, b"sealed")).0, 422);
    let nobodys = alice.0.check(&Draft::text("Lunch at 12:30"), None).unwrap();
    assert_eq!(refused(alice.share(&nobodys, &list, b"sealed")).0, 422);

    // K13: the same bytes again count once, other bytes not at all.
    let first = alice.share(&lunch, &list, b"sealed").unwrap();
    assert_eq!(alice.share(&lunch, &list, b"sealed").unwrap(), first);
    assert_eq!(
        refused(alice.share(&lunch, &list, b"other bytes")),
        (403, "the receipt was used before".to_owned())
    );
    let relays = world
        .gateway(["log", "search", "--kind", "relay"])
        .succeeded()
        .json();
    assert_eq!(relays["entries"].as_array().unwrap().len(), 1);
}

/// K17: a casbin rule that requires the agent's seal refuses what an app sealed, with a signed receipt; a DLP rule does
/// so before anything is sealed.
#[test]
fn rule_that_requires_the_agents_seal_refuses_an_app() {
    let mut world = World::new();
    let (alice, bob, list) = two_couriers(&mut world);
    let labelled = alice.check(&Draft::text("Canteen plan").label("internal"), &list);
    let shared = alice.share(&labelled, &list, b"sealed").unwrap();
    assert_eq!(shared.outcome, Outcome::Refused);
    let refusal = shared.refusal.unwrap();
    assert_eq!(refusal.code, ErrorCode::SharingDenied.as_str());
    let receipt = Bytes::from_text(&refusal.receipt.unwrap()).unwrap();
    let receipt = Refusal::verify(&receipt.0, &acceptance_key(&world)).unwrap();
    assert_eq!(
        (receipt.code, receipt.envelope),
        (ErrorCode::SharingDenied, Digest::of(b"sealed"))
    );
    assert!(
        receipt.reason.contains("an app that seals by itself"),
        "{}",
        receipt.reason
    );
    // P12: what the rules would say, before anything is sealed.
    let asked = PreflightRequest {
        group: list.list.0.parse().unwrap(),
        labels: [Label::parse("internal").unwrap()].into(),
        app: App::parse("courier").unwrap(),
        tier: Tier::File,
        binding: Binding::AppAsserted,
    };
    let told: Decision = world
        .device("Alice")
        .post_json(preflight::PATH, &asked)
        .json()
        .unwrap();
    assert_eq!((told.allowed, told.reason), (false, receipt.reason));
    assert!(bob.0.stories(Duration::ZERO).unwrap().is_empty());

    let dlp = world.path("policy/dlp.toml");
    let rule = "\n[[rule]]\nid = \"own-seal\"\nmode = \"enforce\"\naction = \"block\"\nsentence = \"The agent seals.\"\n\
                owner = \"it@acme.example\"\nreport = \"event\"\n[rule.when]\nbinding = [\"app-asserted\"]\n";
    fs::write(&dlp, fs::read_to_string(&dlp).unwrap() + rule).unwrap();
    let before = alice.check(&Draft::text("Canteen plan"), &list);
    let bundle = world.sign_policy(2);
    world.gateway(["policy", "publish", &bundle]).succeeded();
    world
        .agent("Alice", ["status", "--wait-policy", "2", "--timeout", PATIENCE])
        .succeeded();
    let (status, message) = refused(alice.share(&before, &list, b"sealed"));
    assert!(
        status == 422 && message.contains("another policy"),
        "{status} {message}"
    );
    let held = alice.check(&Draft::text("Canteen plan"), &list);
    assert_eq!((held.verdict.outcome.as_str(), held.receipt), ("blocked", None));
    assert_eq!(held.verdict.rules[0].sentence, "The agent seals.");
}

/// D1, D5, K15, K17: a story that was taken back, has ended, or is of a device that was revoked since is not delivered,
/// and nobody posts to a list with a revoked device.
#[test]
fn story_that_is_taken_back_over_or_of_a_revoked_device_is_not_delivered() {
    let mut world = World::new();
    let (alice, bob, list) = two_couriers(&mut world);
    world.employ("Carol", "employees");
    let carol = Courier::of(&world, "Carol");
    let carols = carol.0.define_list(&["Bob"]).unwrap();
    let fetched = alice.send(&list, b"fetched, then taken back", None);
    assert_eq!(bob.received().0.story, fetched);
    alice.0.take_back(&fetched).unwrap();

    world.stop_agent("Bob");
    let taken_back = alice.send(&list, b"taken back", None);
    alice.0.take_back(&taken_back).unwrap();
    let over = alice.send(&list, b"over", Some(3));
    let purged = ["story", "wait-purged", &over.0, "--timeout", PATIENCE];
    world.gateway(purged).succeeded();
    alice.send(&list, b"of a revoked device", None);
    let alices_device = list.devices.iter().find(|device| device.this).unwrap();
    world
        .gateway(["device", "revoke", &alices_device.device])
        .succeeded();
    let last = carol.send(&carols, b"the only one", None);
    world.start_agent("Bob");
    let (story, bytes) = bob.received();
    assert_eq!(
        (story.story, bytes.as_slice()),
        (last, b"the only one".as_slice())
    );

    let known = bob.0.list(&list.list).unwrap();
    assert!(known.devices.iter().any(|device| device.revoked));
    let checked = bob.check(&Draft::text("Lunch at 12:30"), &known);
    let shared = bob.share(&checked, &known, b"sealed").unwrap();
    assert_eq!(shared.refusal.unwrap().code, ErrorCode::ListMoved.as_str());
}

/// D2, D5: of a story that is taken back nothing is left in the device's store, its write-ahead log included.
#[test]
fn story_of_an_app_that_is_taken_back_is_not_in_the_agents_store() {
    let mut world = World::new();
    let (alice, bob, list) = two_couriers(&mut world);
    let story = alice.send(&list, b"taken back", None);
    assert_eq!(bob.received().0.story, story);
    let folder = world.agent_folder("Bob");
    let stored = database::app_story(&folder.join("state.db"));
    let is_stored = || {
        let files = files_below(&folder);
        files.iter().any(|(_, bytes)| contains(bytes, &stored))
    };
    assert!(is_stored());

    alice.0.take_back(&story).unwrap();

    until(|| bob.0.stories(Duration::ZERO).unwrap().is_empty() && !is_stored());
}

/// A12, K13: a device that is refused for now, or an answer that is lost, says nothing about a story that may have arrived:
/// the app is told that it is unanswered, and the same bytes count once.
#[test]
fn story_of_an_app_that_may_have_arrived_is_not_called_refused() {
    let mut world = World::new();
    let (alice, bob, list) = two_couriers(&mut world);
    let front = world.put_front();
    let checked = alice.check(&Draft::text("Lunch at 12:30"), &list);
    let share = || alice.share(&checked, &list, b"sealed once").unwrap();

    let held = front.hold("/stories");
    let shared = std::thread::scope(|scope| {
        let sharing = scope.spawn(share);
        let stopped = held.arrived();
        assert!(stopped.send().status().is_success());
        stopped.refuse(Problem::new(ErrorCode::DeviceQuarantined, "for now"));
        sharing.join().unwrap()
    });
    assert_eq!((shared.outcome, shared.refusal), (Outcome::Unanswered, None));
    let again = share();
    assert_eq!((again.outcome, again.story), (Outcome::Accepted, shared.story));
    assert_eq!(bob.received().1, b"sealed once");
}

/// A12, D4: what arrived waits for its app over SIGKILL, until the app has it or it ends; another app sees none of it.
#[test]
fn story_waits_for_its_app_until_it_is_done() {
    let mut world = World::new();
    let (alice, bob, list) = two_couriers(&mut world);
    let own = std::env::current_exe().unwrap();
    let other = Agent::open(&world.register_app("Bob", "other", &own)).unwrap();
    let story = alice.send(&list, b"kept over a crash", None);
    assert_eq!(bob.received().0.story, story);
    world.kill_agent("Bob");
    world.start_agent("Bob");
    assert_eq!(bob.received().1, b"kept over a crash");
    assert!(other.stories(Duration::ZERO).unwrap().is_empty() && other.lists().unwrap().is_empty());
    assert_eq!(refused(other.read(&story)).0, 404);
    assert_eq!(refused(other.done(&story)).0, 404);
    bob.0.done(&story).unwrap();
    for (path, bytes) in files_below(&world.agent_folder("Bob")) {
        assert!(!contains(&bytes, b"kept over a crash"), "{}", path.display());
    }
    world.kill_agent("Bob");
    world.start_agent("Bob");
    assert!(bob.0.stories(Duration::ZERO).unwrap().is_empty());
}

/// K13, S1: an agent that dies between posting and the answer has the very bytes, posts them again, and they count once.
#[test]
fn story_whose_answer_a_crash_lost_is_relayed_once() {
    let mut world = World::new();
    let (alice, bob, list) = two_couriers(&mut world);
    let checked = alice.check(&Draft::text("Lunch at 12:30"), &list);
    world.signal_gateway("STOP");
    std::thread::scope(|threads| {
        let lost = threads.spawn(|| alice.share(&checked, &list, b"sealed"));
        let log = world.log_path("Alice");
        while !fs::read_to_string(&log).unwrap().contains("cleared for an app") {
            std::thread::yield_now();
        }
        world.kill_agent("Alice");
        assert!(lost.join().unwrap().is_err());
    });
    world.signal_gateway("CONT");
    world.start_agent("Alice");
    let shared = alice.share(&checked, &list, b"sealed").unwrap();
    assert_eq!(shared.outcome, Outcome::Accepted);
    assert_eq!(bob.received().0.story, shared.story);
    let relays = world
        .gateway(["log", "search", "--kind", "relay"])
        .succeeded()
        .json();
    assert_eq!(relays["entries"].as_array().unwrap().len(), 1);
    let activity = world.agent("Alice", ["activity"]).succeeded().json();
    let entries = activity["entries"].as_array().unwrap();
    let told = entries
        .iter()
        .filter(|entry| entry["story"] == shared.story.0.as_str());
    assert_eq!(told.count(), 1);
}

/// A12: without the gateway nothing is used up, and the same call is good once it is back.
#[test]
fn receipt_is_not_used_up_while_the_gateway_is_away() {
    let mut world = World::new();
    let (alice, bob, list) = two_couriers(&mut world);
    let checked = alice.check(&Draft::text("Lunch at 12:30"), &list);
    world
        .agent("Alice", ["audience", "create", "team", "--with", "Bob"])
        .succeeded();
    world.stop_gateway();
    // By an answer of its own the agent knows that the gateway is away, and later that it is back.
    let kept = world.agent("Alice", ["share", "--audience", "team", "--text", "later"]);
    let kept = kept.ended_with(KEPT).json()["kept"].as_str().unwrap().to_owned();
    assert_eq!(refused(alice.share(&checked, &list, b"sealed")).0, 503);
    world.start_gateway();
    world
        .agent("Alice", ["pending", "--wait", &kept, "--timeout", PATIENCE])
        .succeeded();
    let shared = alice.share(&checked, &list, b"sealed").unwrap();
    assert_eq!(shared.outcome, Outcome::Accepted);
    assert_eq!(bob.received().0.story, shared.story);
}

/// K17: a list's next version is its definer's; a new device of a person is on it from then on, and seals for an old
/// version are refused.
#[test]
fn next_version_of_a_list_is_its_definers() {
    let mut world = World::new();
    let (alice, bob, list) = two_couriers(&mut world);
    world.employ("Carol", "employees");
    let known = bob.0.list(&list.list).unwrap();
    assert_eq!(refused(bob.0.redefine_list(&known.list, &["Alice"])).0, 422);
    let next = alice.0.redefine_list(&list.list, &["Bob", "Carol"]).unwrap();
    assert_eq!((next.version, next.devices.len()), (2, 3));
    assert_eq!(bob.0.list(&list.list).unwrap().version, 2);
    assert_eq!(refused(alice.0.define_list(&["Nobody"])).0, 422);
    let strangers = ListId("00".repeat(16));
    assert_eq!(refused(alice.0.list(&strangers)).0, 422);
}

/// What a device with its own keys could send to the gateway, beside its agent.
struct Rogue {
    device: Device,
    key: FileDeviceKey,
    claims: Claims,
}

impl Rogue {
    /// With the claims of an honest clearance of this device, to be bent.
    fn of(world: &World, name: &str, list: &DeviceList, delivered: &[u8]) -> Self {
        let der = fs::read(world.agent_folder(name).join("keys/device.key")).unwrap();
        let key = FileDeviceKey::from_pkcs8_der(list.definer(), &der).unwrap();
        let unverified = UnverifiedClearance::parse(delivered).unwrap();
        let claims = unverified.verify(&key.public_key()).unwrap().claims().clone();
        Self {
            device: world.device(name),
            key,
            claims,
        }
    }

    /// Posts to a list with these changes to the claims.
    fn post(
        &self,
        number: u8,
        list: AudienceId,
        change: impl FnOnce(&mut Claims),
    ) -> reqwest::blocking::Response {
        let mut claims = self.claims.clone();
        claims.cti = Cti::from_bytes([number; 16]);
        claims.env = Digest::of(b"sealed");
        change(&mut claims);
        let to_sign = claims.to_be_signed();
        let signature = self.key.sign(to_sign.message()).unwrap();
        let clearance = to_sign.finish(&signature);
        self.device.post_to_list(list, b"sealed", Some(&clearance))
    }
}

/// K13, K14, K17, C5: the gateway holds an app's story to its clearance, list and bytes, whatever the device says.
#[test]
fn list_story_that_does_not_fit_its_clearance_is_refused() {
    let mut world = World::new();
    let (alice, _, list) = two_couriers(&mut world);
    world.stop_agent("Bob");
    alice.send(&list, b"honest", None);
    let (signed, clearance) = world.device("Bob").list_story();
    let list = UnverifiedDeviceList::parse(&signed).unwrap().danger_unverified();
    let (id, rogue) = (list.id(), Rogue::of(&world, "Alice", &list, &clearance));

    let accepted = rogue.post(1, id, |_| {});
    let first: Accepted = accepted.error_for_status().unwrap().json().unwrap();
    let again: Accepted = rogue
        .post(1, id, |_| {})
        .error_for_status()
        .unwrap()
        .json()
        .unwrap();
    assert_eq!(first, again);
    assert_eq!(
        problem(rogue.post(1, id, |claims| claims.ttl_s = 60)).code,
        ErrorCode::ReplayRefused
    );

    let other = AudienceId::from_bytes([9; 16]);
    let devices = |id, version, hash| AudienceBinding::Devices { id, version, hash };
    let (version, hash) = (list.version(), list.hash());
    let refused = |number, to, change: &dyn Fn(&mut Claims)| {
        let problem = problem(rogue.post(number, to, change));
        let receipt = Refusal::verify(&problem.receipt.unwrap().0, &acceptance_key(&world)).unwrap();
        assert_eq!(receipt.code, problem.code);
        problem.code
    };
    assert_eq!(refused(2, other, &|_| {}), ErrorCode::ClearanceAudience);
    assert_eq!(
        refused(3, other, &|claims| claims.audience =
            devices(other, version, hash)),
        ErrorCode::NotAMember
    );
    assert_eq!(
        refused(4, id, &|claims| claims.audience = devices(id, 2, hash)),
        ErrorCode::ListMoved
    );
    let lie = Digest::of(b"other devices");
    assert_eq!(
        refused(5, id, &|claims| claims.audience = devices(id, version, lie)),
        ErrorCode::ClearanceAudience
    );
    assert_eq!(
        refused(6, id, &|claims| claims.env = Digest::of(b"other")),
        ErrorCode::ClearanceEnvelope
    );
    assert_eq!(
        refused(7, id, &|claims| claims.iss = DeviceId::from_bytes([1; 16])),
        ErrorCode::ClearanceDevice
    );
    assert_eq!(
        refused(8, id, &|claims| claims.exp_s = 1),
        ErrorCode::ClearanceExpired
    );
    assert_eq!(
        refused(9, id, &|claims| claims.ttl_s = 1),
        ErrorCode::ClearanceTtl
    );
    assert_eq!(
        refused(10, id, &|claims| claims.policy.version = 9),
        ErrorCode::PolicyNotAccepted
    );
    assert_eq!(
        refused(11, id, &|claims| claims.blobs = vec![Digest::of(b"blob")]),
        ErrorCode::BadRequest
    );
    // An agent's seal is for groups: such a clearance is none for a list.
    assert_eq!(
        refused(12, id, &|claims| claims.binding = Binding::AgentSealed),
        ErrorCode::ClearanceMalformed
    );
    let bare = world.device("Alice").post_to_list(id, b"sealed", None);
    assert_eq!(problem(bare).code, ErrorCode::ClearanceMissing);
}

/// K17, K8: the gateway takes a list only from the device that signed it, of logged devices alone, and shows it to those
/// who are on it.
#[test]
fn device_list_is_its_signers_and_shown_to_its_devices() {
    let mut world = World::new();
    let (_, _, list) = two_couriers(&mut world);
    world.employ("Carol", "employees");
    let id = |text: &str| text.parse::<DeviceId>().unwrap();
    let alices = id(&list.devices.iter().find(|device| device.this).unwrap().device);
    let bobs = id(&list.devices.iter().find(|device| !device.this).unwrap().device);
    let key = |name: &str, device| {
        let der = fs::read(world.agent_folder(name).join("keys/device.key")).unwrap();
        FileDeviceKey::from_pkcs8_der(device, &der).unwrap()
    };
    let (alices_key, bobs_key) = (key("Alice", alices), key("Bob", bobs));
    let signed = |definer, others: &[DeviceId], key: &FileDeviceKey| {
        let devices = others.iter().copied().chain([definer]).collect();
        let list = DeviceList::new(AudienceId::from_bytes([8; 16]), 1, definer, devices).unwrap();
        list.finish(&key.sign(&list.message()).unwrap())
    };
    let alice = world.device("Alice");
    let stranger = DeviceId::from_bytes([7; 16]);
    for refused in [
        signed(bobs, &[alices], &bobs_key),
        signed(alices, &[bobs], &bobs_key),
        signed(alices, &[stranger], &alices_key),
        b"no list".to_vec(),
    ] {
        assert_eq!(problem(alice.define_list(refused)).code, ErrorCode::ListRefused);
    }
    let taken = alice.define_list(signed(alices, &[bobs], &alices_key));
    assert_eq!(taken.status().as_u16(), 201);
    let path = device_lists::path(AudienceId::from_bytes([8; 16]));
    assert_eq!(world.device("Bob").get(&path).status().as_u16(), 200);
    assert_eq!(
        problem(world.device("Carol").get(&path)).code,
        ErrorCode::NotAMember
    );
}

/// The shell blocks of a document, in order.
fn shell_blocks(document: &Path) -> Vec<String> {
    let text = fs::read_to_string(document).unwrap();
    let blocks = text.split("```sh\n").skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

/// A12: `agent/LOCAL-API.md` is true: its examples run one after the other, as they are written, with curl alone.
#[test]
fn documented_examples_run_as_they_are_written() {
    let mut world = World::new();
    world.employ("Alice", "employees");
    world.employ("Bob", "employees");
    let curl = Command::new("sh")
        .args(["-c", "command -v curl"])
        .output()
        .unwrap();
    let curl = String::from_utf8(curl.stdout).unwrap();
    assert!(!curl.is_empty(), "this test needs curl: apt-get install curl");
    let blocks = shell_blocks(&repository().join("agent/LOCAL-API.md"));
    assert!(blocks.len() > 8, "{} examples", blocks.len());
    let folder = world.path("examples");
    fs::create_dir(&folder).unwrap();
    for name in ["Alice", "Bob"] {
        let file = world.register_app(name, "courier", Path::new(curl.trim()));
        fs::copy(file, folder.join(format!("{}.credential", name.to_lowercase()))).unwrap();
    }
    let script = format!("set -eu\n{}", blocks.join("\n"));
    let run = Command::new("bash")
        .arg("-c")
        .arg(script)
        .current_dir(&folder)
        .output()
        .unwrap();
    let (out, errors) = (
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr),
    );
    assert!(run.status.success(), "{out}\n{errors}");
    assert_eq!(
        fs::read(folder.join("received")).unwrap(),
        fs::read(folder.join("sealed")).unwrap()
    );
}
