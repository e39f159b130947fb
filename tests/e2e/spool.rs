//! What devices report: in order, whole, or said to be neither.

use std::collections::BTreeMap;
use std::fs;

use gateway_api::error::ErrorCode;
use gateway_api::v1::events::{
    Acknowledged, BATCH_BYTES_MAX, ChainLink, Event, EventKind, SizeBucket, TERMS_MAX, Upload,
};
use policies::terms::{Action, App, AudienceClass, Digest, EventId};
use serde_json::Value;

use crate::world::device::problem;
use crate::world::{BLOCKED, PATIENCE, World};

/// Payloads of all entries of a kind, oldest first.
fn entries(world: &World, kind: &str) -> Vec<Value> {
    let search = ["log", "search", "--kind", kind];
    let found = world.gateway(search).succeeded().json();
    let entries = found["entries"].as_array().unwrap().iter();
    entries.map(|entry| entry["payload"].clone()).collect()
}

/// The breaches that the ledger tells: what, after and before which number.
fn breaches(world: &World) -> Vec<(String, u64, u64)> {
    let gaps = entries(world, "event-gap");
    gaps.iter()
        .map(|gap| {
            let number = |field: &str| gap[field].as_u64().unwrap();
            (
                gap["what"].as_str().unwrap().to_owned(),
                number("after"),
                number("before"),
            )
        })
        .collect()
}

fn block(world: &World, name: &str) {
    block_text(world, name, "my credit card 4556737586899855");
}

fn block_text(world: &World, name: &str, text: &str) {
    // By its id: only who made an audience knows its name at once.
    let audiences = world.agent("Alice", ["audience", "list"]).succeeded().json();
    let team = audiences["audiences"][0]["audience"].as_str().unwrap();
    world
        .agent(name, ["share", "--audience", team, "--text", text])
        .ended_with(BLOCKED);
}

fn all_reported(world: &World, name: &str) {
    world
        .agent(name, ["status", "--wait-spool", "--timeout", PATIENCE])
        .succeeded();
}

/// An event as a device may make it up.
fn event(id: u8, sequence: u64, link: Option<ChainLink>) -> Event {
    Event {
        id: EventId::from_bytes([id; 16]),
        sequence,
        at_s: 7,
        kind: EventKind::Blocked,
        audience_class: AudienceClass::Internal,
        action: Action::Block,
        rules: Vec::new(),
        labels: Vec::new(),
        app: App::parse("sealgate").unwrap(),
        policy_version: 1,
        features: BTreeMap::new(),
        size: SizeBucket::Small,
        sealed: None,
        link,
        unrecorded: None,
    }
}

fn link(before: Option<&Event>) -> Option<ChainLink> {
    Some(ChainLink {
        before: before.map(|before| before.digest().unwrap()),
        boot: Digest::of(b"boot"),
        since_boot_ns: 1,
        wall_s: 7,
    })
}

/// S3: an agent's events hang together over restarts, with boot and clocks; the boot's own id is not told.
#[test]
fn events_name_the_one_before_over_restarts() {
    let mut world = World::with_team();
    block(&world, "Alice");
    all_reported(&world, "Alice");
    world.stop_agent("Alice");
    world.start_agent("Alice");
    block(&world, "Alice");
    block(&world, "Alice");
    all_reported(&world, "Alice");

    let recorded = entries(&world, "event");
    let events: Vec<Event> = recorded
        .iter()
        .map(|payload| serde_json::from_value(payload["event"].clone()).unwrap())
        .collect();
    assert_eq!(events.len(), 3);
    assert!(events[0].link.as_ref().unwrap().before.is_none());
    for pair in events.windows(2) {
        let [first, second] = pair else { panic!("pairs") };
        let [before, after] = [first, second].map(|event| event.link.as_ref().unwrap());
        assert_eq!(second.sequence, first.sequence + 1);
        assert_eq!(after.before, Some(first.digest().unwrap()));
        assert_eq!(after.boot, before.boot, "one boot of this machine");
        assert!(after.since_boot_ns > before.since_boot_ns);
    }
    assert!(breaches(&world).is_empty());
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let boot = boot.trim();
    assert!(boot.is_empty() || !Value::from(recorded).to_string().contains(boot));
}

/// S3: what does not follow is recorded as what it is, once, and what comes after it is taken.
#[test]
fn a_chain_that_does_not_hold_is_recorded_as_what_it_is() {
    let world = World::with_team();
    let first = event(1, 1, link(None));
    let second = event(2, 2, link(Some(&first)));
    let altered = Event {
        action: Action::Allow,
        ..second.clone()
    };
    let third = event(3, 3, link(Some(&altered)));
    let fourth = event(4, 4, link(Some(&third)));
    let removed = event(5, 5, link(Some(&fourth)));
    let sixth = event(6, 6, link(Some(&removed)));
    let moved = event(7, 4, link(Some(&third)));
    let fifth = event(8, 5, link(Some(&moved)));
    let anew = event(9, 1, link(None));
    let next = event(10, 2, link(Some(&anew)));
    let stripped = event(11, 3, None);
    let chained = event(12, 4, link(None));
    let told = [
        first, second, third, fourth, sixth, moved, fifth, anew, next, stripped, chained,
    ];
    let alice = world.device("Alice");
    for batch in told.chunks(3) {
        let upload = Upload {
            sent_s: None,
            events: batch.to_vec(),
        };
        let answer = alice.upload(&serde_json::to_value(&upload).unwrap());
        assert_eq!(answer.json::<Acknowledged>().unwrap().ids.len(), batch.len());
    }
    let expected = [
        ("altered", 2, 3),
        ("missing", 4, 6),
        ("out-of-order", 6, 4),
        ("begun-anew", 5, 1),
        ("unchained", 2, 3),
    ];
    let expected: Vec<_> = expected
        .map(|(what, after, before)| (what.to_owned(), after, before))
        .into();
    assert_eq!(breaches(&world), expected);
    assert_eq!(entries(&world, "event").len(), told.len());
}

/// S3: an agent that keeps no chain is taken as ever, and its later version begins one.
#[test]
fn events_without_a_link_are_taken() {
    let world = World::with_team();
    let last = event(3, 3, link(None));
    let upload = Upload {
        sent_s: None,
        events: vec![
            event(1, 1, None),
            event(2, 2, None),
            last.clone(),
            event(4, 4, link(Some(&last))),
        ],
    };
    let mut upload = serde_json::to_value(&upload).unwrap();
    assert!(upload["events"][0].get("link").is_none());
    upload.as_object_mut().unwrap().remove("sent_s");
    assert!(world.device("Alice").upload(&upload).status().is_success());
    assert!(breaches(&world).is_empty());
    assert_eq!(entries(&world, "event").len(), 4);
}

/// S3, S9: a device whose store was damaged begins its chain anew, and the ledger says so.
#[test]
fn a_spool_that_was_lost_is_recorded() {
    let mut world = World::with_team();
    block(&world, "Bob");
    block(&world, "Bob");
    all_reported(&world, "Bob");
    world.stop_agent("Bob");
    for end in ["-wal", "-shm"] {
        let file = world.agent_folder("Bob").join(format!("state.db{end}"));
        if file.exists() {
            fs::remove_file(file).unwrap();
        }
    }
    fs::write(world.agent_folder("Bob").join("state.db"), [0x55; 16_384]).unwrap();
    world.agent("Bob", ["rejoin"]).succeeded();
    world.start_agent("Bob");
    let story = world.share("Alice", "team", "after the damage");
    world.received("Bob", &story);
    block(&world, "Bob");
    all_reported(&world, "Bob");
    assert_eq!(breaches(&world), [("begun-anew".to_owned(), 2, 1)]);
}

/// S6: zstd or plain; a few bytes that become many, or that want a large window, stop where plain ones would.
#[test]
fn compressed_events_are_bounded_by_what_they_become() {
    let world = World::with_team();
    let alice = world.device("Alice");
    let upload = Upload {
        sent_s: None,
        events: vec![event(1, 1, None)],
    };
    let json = serde_json::to_vec(&upload).unwrap();
    let compressed = |bytes: &[u8]| zstd::bulk::compress(bytes, 19).unwrap();
    let answer = alice.upload_encoded("zstd", compressed(&json));
    assert_eq!(answer.json::<Acknowledged>().unwrap().ids, [upload.events[0].id]);

    let padded = |bytes: usize| {
        let mut padded = json.clone();
        padded.resize(bytes, b' ');
        compressed(&padded)
    };
    assert!(
        alice
            .upload_encoded("zstd", padded(BATCH_BYTES_MAX))
            .status()
            .is_success()
    );
    // Frame after frame: each keeps within the window.
    let bomb = [
        padded(BATCH_BYTES_MAX),
        compressed(&vec![b' '; BATCH_BYTES_MAX]).repeat(1_000),
    ]
    .concat();
    assert!(bomb.len() < 100_000);
    assert_eq!(
        problem(alice.upload_encoded("zstd", bomb)).code,
        ErrorCode::BodyTooLarge
    );
    let wide = padded(64 * BATCH_BYTES_MAX);
    assert_eq!(
        problem(alice.upload_encoded("zstd", wide)).code,
        ErrorCode::BadRequest
    );
    let mut broken = compressed(&json);
    broken.truncate(broken.len() / 2);
    assert_eq!(
        problem(alice.upload_encoded("zstd", broken)).code,
        ErrorCode::BadRequest
    );
    assert_eq!(
        problem(alice.upload_encoded("zstd", json.clone())).code,
        ErrorCode::BadRequest
    );
    assert_eq!(
        problem(alice.upload_encoded("gzip", json)).code,
        ErrorCode::BadRequest
    );
    assert_eq!(entries(&world, "event").len(), 1);
}

/// S6, S4: an event that the gateway does not take is kept and told, and those behind it arrive.
#[test]
fn a_refused_event_is_put_aside_and_told() {
    let mut world = World::with_team();
    let detector = "id = \"e2e\"\nversion = 1\ntitle = \"Own words\"\n[[detector]]\nid = \"e2e-word\"\nfamily = \"secret\"\n\
                    name = \"Code word\"\nfinds = \"A code word.\"\nlocale = [\"*\"]\npattern = '''marzipan'''\nconfidence = \"high\"\n\
                    examples = [\"marzipan\"]\ncounter_examples = [\"nothing\"]\nreferences = [\"test\"]\n";
    fs::write(world.path("policy").join("detectors/e2e.toml"), detector).unwrap();
    let file = world.path("policy").join("dlp.toml");
    let rules = fs::read_to_string(&file).unwrap();
    let many: String = (0..=TERMS_MAX)
        .map(|number| {
            format!(
                "\n[[rule]]\nid = \"many-{number}\"\nmode = \"enforce\"\naction = \"block\"\nsentence = \"It stays inside.\"\n\
                 owner = \"it@acme.example\"\nreport = \"event\"\n[rule.when]\nfindings = [{{ detector = \"e2e-word\" }}]\n"
            )
        })
        .collect();
    fs::write(file, rules + &many).unwrap();
    let bundle = world.sign_policy(2);
    world.gateway(["policy", "publish", &bundle]).succeeded();
    world
        .agent("Alice", ["status", "--wait-policy", "2", "--timeout", PATIENCE])
        .succeeded();
    block_text(&world, "Alice", "about marzipan");
    all_reported(&world, "Alice");
    block(&world, "Alice");
    for _ in 0..2 {
        all_reported(&world, "Alice");
        let told = [
            "status",
            "--wait-alarm",
            "1 events are put aside",
            "--timeout",
            PATIENCE,
        ];
        let status = world.agent("Alice", told).succeeded().json();
        assert_eq!(status["events_aside"], 1, "{status}");
        assert_eq!(entries(&world, "event").len(), 1);
        world.stop_agent("Alice");
        world.start_agent("Alice");
    }
    assert_eq!(breaches(&world), [("missing".to_owned(), 0, 2)]);
}

/// Files of a process on a full disk: less than any database, and what of the emergency file is written.
#[cfg(target_os = "linux")]
const FULL: Option<u64> = Some(4096);

/// S5: on a full disk a block is a block; it is counted, over a crash too, told, and reported once there is room.
#[cfg(target_os = "linux")]
#[test]
fn blocks_on_a_full_disk_are_counted_and_reported_later() {
    let mut world = World::with_team();
    block(&world, "Alice");
    all_reported(&world, "Alice");
    for crash in [true, false] {
        world.limit_agent("Alice", FULL);
        for _ in 0..3 {
            block(&world, "Alice");
        }
        let told = [
            "status",
            "--wait-alarm",
            "3 blocked drafts could not be recorded",
            "--timeout",
            PATIENCE,
        ];
        let status = world.agent("Alice", told).succeeded().json();
        assert_eq!(status["unrecorded"], 3, "{status}");
        if crash {
            world.kill_agent("Alice");
            world.start_agent("Alice");
        } else {
            world.limit_agent("Alice", None);
            // Hurries it.
            block(&world, "Alice");
        }
        all_reported(&world, "Alice");
        let status = world.agent("Alice", ["status"]).succeeded().json();
        assert_eq!(status["unrecorded"], 0, "{status}");
        assert!(status["alarms"].as_array().unwrap().is_empty(), "{status}");
    }
    let events = entries(&world, "event");
    let unrecorded: Vec<_> = events
        .iter()
        .map(|payload| payload["event"]["unrecorded"]["others"].as_u64())
        .collect();
    let told = unrecorded.iter().flatten().collect::<Vec<_>>();
    assert_eq!((told, events.len()), (vec![&2, &2], 4), "{unrecorded:?}");
    assert!(breaches(&world).is_empty());
    let activity = world.agent("Alice", ["activity"]).succeeded().json();
    assert_eq!(activity["entries"].as_array().unwrap().len(), 4);
}
