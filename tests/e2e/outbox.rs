//! The outbox folder with a real agent.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use rand::RngExt as _;
use rand::SeedableRng as _;
use serde_json::Value;

use crate::world::{PATIENCE, World, until};

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
        until(|| !dropped.exists());
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
    until(|| !dropped.exists());
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

/// O3: a file that some program has open for writing stays where it is, and is taken once that is closed.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_is_being_written_is_not_taken() {
    let world = team();
    let path = folder(&world, "team").join("plan.txt");
    let mut writer = fs::File::create(&path).unwrap();
    writer.write_all(b"half a plan").unwrap();
    // One whose turn is after it is sent meanwhile: the outbox has passed it over.
    drop_file(&world, "then.txt", "a whole plan");
    assert_eq!(end_of(&world, "then.txt")["state"], "sent");
    assert!(path.exists());
    writer.write_all(b", and the other half").unwrap();
    drop(writer);
    assert_eq!(end_of(&world, "plan.txt")["state"], "sent");
    let sent = fs::read_to_string(folder(&world, "sent").join("plan.txt")).unwrap();
    assert_eq!(sent, "half a plan, and the other half");
}

/// O4: with a manifest, a file is taken when it is what the manifest says, and both are kept; in another audience's
/// folder it is an error that says so.
#[test]
fn a_file_with_a_manifest_waits_until_it_is_whole() {
    let world = team();
    let manifest = |text: &str, audience: &str| {
        let digest = policies::terms::Digest::of(text.as_bytes());
        format!("{{\"sha256\":\"{digest}\",\"audience\":\"{audience}\"}}")
    };
    drop_file(
        &world,
        "plan.txt.outbox.json",
        &manifest("the whole plan", "team"),
    );
    drop_file(&world, "plan.txt", "the whole");
    drop_file(&world, "then.txt", "something else");
    assert_eq!(end_of(&world, "then.txt")["state"], "sent");
    assert!(folder(&world, "team").join("plan.txt").exists());
    drop_file(&world, "plan.txt", "the whole plan");
    assert_eq!(end_of(&world, "plan.txt")["state"], "sent");
    let sent = folder(&world, "sent");
    assert_eq!(
        fs::read_to_string(sent.join("plan.txt")).unwrap(),
        "the whole plan"
    );
    assert!(sent.join("plan.txt.outbox.json").exists());

    drop_file(&world, "wrong.txt.outbox.json", &manifest("a plan", "board"));
    drop_file(&world, "wrong.txt", "a plan");
    let end = end_of(&world, "wrong.txt");
    assert_eq!(end["state"], "error");
    assert!(
        end["reason"].as_str().unwrap().contains("another audience"),
        "{end}"
    );
}

/// O12, O9: an outbox that is renamed away is made again and told; names are shown composed.
#[test]
fn an_outbox_that_is_renamed_away_is_made_again() {
    let world = team();
    let outbox = world.agent_folder("Alice").join("outbox");
    fs::rename(&outbox, world.agent_folder("Alice").join("away")).unwrap();
    until(|| outbox.join("team").exists());
    drop_file(&world, "Gru\u{308}n.txt", "a plan");
    let end = end_of(&world, "Gr\u{fc}n.txt");
    assert_eq!(
        (&end["state"], &end["name"]),
        (&"sent".into(), &"Gr\u{fc}n.txt".into())
    );
    assert!(folder(&world, "sent").join("Gru\u{308}n.txt").exists());
    let notices = world.agent("Alice", ["status"]).json()["notices"].to_string();
    assert!(notices.contains("made again"), "{notices}");
}

/// O10, T3: a folder that cannot be used is told once; the look that finds it asks for no other look.
#[test]
fn a_folder_that_cannot_be_used_is_told_once() {
    let mut world = team();
    world.stop_agent("Alice");
    let team = folder(&world, "team");
    fs::remove_dir(&team).unwrap();
    std::os::unix::fs::symlink(world.path("authors"), &team).unwrap();
    world.start_agent("Alice");
    until(|| {
        let status = world.agent("Alice", ["status"]).succeeded().json();
        status["alarms"].to_string().contains("no link")
    });
    let story = world.share("Alice", "team", "the outbox is off");
    world.received("Bob", &story);

    let log = fs::read_to_string(world.log_path("Alice")).unwrap();
    assert_eq!(log.matches("cause=\"outbox\"").count(), 1, "{log}");
}
