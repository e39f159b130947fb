//! The outbox folder with a real agent.

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use rand::RngExt as _;
use rand::SeedableRng as _;
use serde_json::Value;

use crate::world::{PATIENCE, World};

/// Rounds of `a_file_is_posted_once_whenever_the_agent_dies`.
const ROUNDS: u32 = 12;
/// Latest moment of a kill after a file was claimed: most are posted by then.
const KILL_WITHIN_MS: u64 = 120;

/// A team whose outboxes take files at once.
fn team() -> World {
    let mut world = World::with_team();
    world.stop_agent("Alice");
    let settings = world.agent_folder("Alice").join("agent.toml");
    fs::write(settings, "[outbox]\nquiet_ms = 0\n").unwrap();
    world.start_agent("Alice");
    world
}

fn folder(world: &World, name: &str) -> PathBuf {
    world.agent_folder("Alice").join("outbox").join(name)
}

/// Writes a file as its documentation says: whole, then renamed to its name.
fn drop_file(world: &World, name: &str, text: &str) {
    let folder = folder(world, "team");
    fs::write(folder.join(format!(".{name}.tmp")), text).unwrap();
    fs::rename(folder.join(format!(".{name}.tmp")), folder.join(name)).unwrap();
}

/// What became of a file, once it is decided.
fn end_of(world: &World, name: &str) -> Value {
    let answer = world
        .agent("Alice", ["outbox", "--wait", name, "--timeout", PATIENCE])
        .succeeded()
        .json();
    answer["files"][0].clone()
}

/// O7, K13: a SIGKILL at any moment between claim and answer neither loses a file nor posts it twice.
#[test]
fn a_file_is_posted_once_whenever_the_agent_dies() {
    let mut world = team();
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    for round in 0..ROUNDS {
        let name = format!("round-{round}.txt");
        drop_file(&world, &name, &format!("the plan of round {round}"));
        let dropped = folder(&world, "team").join(&name);
        while dropped.exists() {
            std::thread::yield_now();
        }
        // A moment, not a wait for something: nothing is sent on this channel.
        let (_sender, moment) = mpsc::channel::<()>();
        let _ = moment.recv_timeout(Duration::from_millis(random.random_range(0..KILL_WITHIN_MS)));
        world.kill_agent("Alice");
        world.start_agent("Alice");
        assert_eq!(end_of(&world, &name)["state"], "sent", "{name}");
        let text = fs::read_to_string(folder(&world, "sent").join(&name)).unwrap();
        assert_eq!(text, format!("the plan of round {round}"));
    }
    let last = world.share("Alice", "team", "that was all");
    world.received("Bob", &last);
    let feed = world.agent("Bob", ["feed"]).succeeded().json();
    let mut names: Vec<String> = feed["stories"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|story| story["files"].as_array().unwrap())
        .map(|file| file["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    let mut expected: Vec<String> = (0..ROUNDS).map(|round| format!("round-{round}.txt")).collect();
    expected.sort();
    assert_eq!(names, expected);
}

/// O7, O8: a file that the policy blocks is blocked once, with its reason, also over a SIGKILL.
#[test]
fn a_blocked_file_is_kept_and_reported_once() {
    let mut world = team();
    drop_file(&world, "card.txt", "my credit card 4556737586899855");
    let dropped = folder(&world, "team").join("card.txt");
    while dropped.exists() {
        std::thread::yield_now();
    }
    world.kill_agent("Alice");
    world.start_agent("Alice");
    assert_eq!(end_of(&world, "card.txt")["state"], "blocked");
    let blocked = folder(&world, "blocked");
    let text = fs::read_to_string(blocked.join("card.txt")).unwrap();
    assert_eq!(text, "my credit card 4556737586899855");
    let reason = fs::read_to_string(blocked.join("card.txt.reason.txt")).unwrap();
    assert!(reason.contains("block"), "{reason}");
    assert_eq!(fs::read_dir(&blocked).unwrap().count(), 2);
    let activity = world.agent("Alice", ["activity"]).json();
    assert_eq!(activity["entries"].as_array().unwrap().len(), 1, "{activity}");
}
