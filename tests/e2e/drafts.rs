//! Drafts over crashes of the agent: none lost, none sent twice.

use std::sync::mpsc;
use std::time::Duration;

use rand::RngExt as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::Value;

use crate::world::{KEPT, PATIENCE, World};

/// Rounds of a random crash.
const ROUNDS: u32 = 12;
/// Latest moment of a crash; a share takes less on an idle machine.
const KILL_WITHIN_MS: u64 = 150;

fn random() -> StdRng {
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    StdRng::seed_from_u64(seed)
}

/// A moment, not a wait for something: nothing is sent on this channel.
fn pass_a_moment(random: &mut StdRng) {
    let (_sender, moment) = mpsc::channel::<()>();
    let _ = moment.recv_timeout(Duration::from_millis(random.random_range(0..KILL_WITHIN_MS)));
}

/// Every text that Bob's agent has opened, after all that was sent before has arrived.
fn texts_at_bob(world: &World) -> Vec<String> {
    let last = world.share("Alice", "team", "that was all");
    world.received("Bob", &last);
    let feed = world.agent("Bob", ["feed"]).succeeded().json();
    let stories = feed["stories"].as_array().unwrap().iter();
    stories
        .map(|story| story["text"].as_str().unwrap().to_owned())
        .collect()
}

fn pending(world: &World) -> Vec<Value> {
    let answer = world.agent("Alice", ["pending"]).succeeded().json();
    answer["drafts"].as_array().unwrap().clone()
}

fn keep(world: &World, text: &str) -> String {
    let kept = world
        .agent("Alice", ["share", "--audience", "team", "--text", text])
        .ended_with(KEPT)
        .json();
    kept["kept"].as_str().unwrap().to_owned()
}

fn wait_until_sent(world: &World, draft: &str) {
    let answer = world
        .agent("Alice", ["pending", "--wait", draft, "--timeout", PATIENCE])
        .succeeded()
        .json();
    assert_eq!(answer["drafts"][0]["state"], "sent", "{answer}");
}

/// K13: a share that a SIGKILL of the agent interrupts arrives once if it was answered, and else once or not at
/// all; what was sealed is not lost.
#[test]
fn an_interrupted_share_arrives_once_or_not_at_all() {
    let mut world = World::with_team();
    let mut random = random();
    let mut answered = Vec::new();
    for round in 0..ROUNDS {
        let text = format!("interrupted in round {round}");
        let share = world.start_command("Alice", ["share", "--audience", "team", "--text", &text]);
        pass_a_moment(&mut random);
        world.kill_agent("Alice");
        if share.ended().code == 0 {
            answered.push(text);
        }
        world.start_agent("Alice");
        for draft in pending(&world) {
            wait_until_sent(&world, draft["id"].as_str().unwrap());
        }
    }
    let mut texts = texts_at_bob(&world);
    for text in &answered {
        assert!(texts.contains(text), "answered, and lost: {text}");
    }
    let all = texts.len();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), all, "a draft arrived twice: {texts:?}");
}

/// Kept drafts are there after a SIGKILL, offline too, and each is sent once although the agent dies again while it
/// sends them.
#[test]
fn kept_drafts_survive_crashes_and_are_sent_once() {
    let mut world = World::with_team();
    let mut random = random();
    world.stop_gateway();
    let texts = ["one", "two", "three"].map(|number| format!("{number}, written on the train"));
    let drafts: Vec<String> = texts.iter().map(|text| keep(&world, text)).collect();
    world.kill_agent("Alice");
    world.start_agent("Alice");
    let listed = pending(&world);
    assert_eq!(listed.len(), texts.len());
    for text in &texts {
        let draft = listed.iter().find(|draft| draft["begins"] == text.as_str());
        assert_eq!(draft.unwrap()["state"], "kept");
    }
    world.start_gateway();
    for _ in 0..ROUNDS {
        pass_a_moment(&mut random);
        world.kill_agent("Alice");
        world.start_agent("Alice");
    }
    for draft in &drafts {
        wait_until_sent(&world, draft);
    }
    let arrived = texts_at_bob(&world);
    for text in &texts {
        assert_eq!(
            arrived.iter().filter(|known| *known == text).count(),
            1,
            "{arrived:?}"
        );
    }
}

/// A discarded draft is never sent, over a SIGKILL too; taking that back sends it.
#[test]
fn a_discarded_draft_is_not_sent_until_it_is_restored() {
    let mut world = World::with_team();
    world.stop_gateway();
    let (unwanted, regretted) = (keep(&world, "unwanted"), keep(&world, "regretted"));
    for draft in [&unwanted, &regretted] {
        world.agent("Alice", ["pending", "--discard", draft]).succeeded();
    }
    let again = world.agent("Alice", ["pending", "--discard", &unwanted]);
    assert_eq!(again.code, 2, "{}", again.errors);
    world.kill_agent("Alice");
    world.start_agent("Alice");
    for draft in pending(&world) {
        assert_eq!(draft["state"], "discarded");
        assert!(draft["restorable_until_s"].is_number());
    }
    world
        .agent("Alice", ["pending", "--restore", &regretted])
        .succeeded();
    world.start_gateway();
    wait_until_sent(&world, &regretted);
    let arrived = texts_at_bob(&world);
    assert!(arrived.contains(&"regretted".to_owned()));
    assert!(!arrived.contains(&"unwanted".to_owned()));
}
