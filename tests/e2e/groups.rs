//! The life of a device that lost something: its state, its leaf key, its place in time (M4-M7, K4, K10, K16).

use std::fs;
use std::sync::mpsc;
use std::time::Duration;

use crate::world::database;
use crate::world::{KEPT, PATIENCE, World, copy_folder, run};

fn audience_of(world: &World, name: &str) -> String {
    let list = world.agent(name, ["audience", "list"]).succeeded().json();
    list["audiences"][0]["audience"].as_str().unwrap().to_owned()
}

/// A first story tells Bob what Alice calls the audience.
fn greet(world: &World) {
    let story = world.share("Alice", "team", "hello");
    world.received("Bob", &story);
}

fn status_says(world: &World, name: &str, field: &str, what: &str) -> bool {
    let status = world.agent(name, ["status"]).succeeded().json();
    let said = status[field].as_array().unwrap();
    said.iter().any(|line| line.as_str().unwrap().contains(what))
}

fn lose_state(world: &World, name: &str) {
    for file in ["state.db", "state.db-wal", "state.db-shm"] {
        let path = world.agent_folder(name).join(file);
        if path.exists() {
            fs::remove_file(path).unwrap();
        }
    }
}

/// M4, K4, K10: the database is gone; one command, and the device reads and posts again, and everybody was told.
#[test]
fn device_that_lost_its_state_rejoins_and_reads_on() {
    let mut world = World::with_team();
    let team = audience_of(&world, "Alice");
    let before = world.share("Alice", "team", "before the loss");
    world.received("Bob", &before);
    world.stop_agent("Bob");
    lose_state(&world, "Bob");
    world.start_agent("Bob");
    assert!(status_says(&world, "Bob", "alarms", "sealgate-agent rejoin"));

    let rejoined = world.agent("Bob", ["rejoin"]).succeeded().json();
    assert_eq!(rejoined["joined"].as_array().unwrap().len(), 1, "{rejoined}");
    assert!(!status_says(&world, "Bob", "alarms", "sealgate-agent rejoin"));
    let after = world.share("Alice", "team", "after the loss");
    assert_eq!(world.received("Bob", &after)["text"], "after the loss");
    assert!(!world.reads("Bob", &before));
    let answer = world.share("Bob", &team, "here again");
    assert_eq!(world.received("Alice", &answer)["text"], "here again");
    assert!(status_says(
        &world,
        "Alice",
        "notices",
        "lost its state and joined"
    ));
    let log = world.path("gateway/directory").display().to_string();
    run("sealgate", ["verify", &log]).succeeded();
}

/// M7, K16: an old copy of the agent's folder is put back. Nothing is sealed with it; after the rejoin what was kept goes.
#[test]
fn restored_copy_of_an_agents_folder_seals_nothing_before_it_rejoins() {
    let mut world = World::with_team();
    greet(&world);
    world.stop_agent("Bob");
    let (folder, copy) = (world.agent_folder("Bob"), world.path("copy-of-bob"));
    copy_folder(&folder, &copy);
    world.start_agent("Bob");
    let first = world.share("Bob", "team", "sealed with the later state");
    world.received("Alice", &first);
    world.stop_agent("Bob");
    fs::remove_dir_all(&folder).unwrap();
    copy_folder(&copy, &folder);
    world.start_agent("Bob");

    assert!(status_says(&world, "Bob", "alarms", "sealgate-agent rejoin"));
    let kept = world
        .agent(
            "Bob",
            ["share", "--audience", "team", "--text", "kept until the rejoin"],
        )
        .ended_with(KEPT)
        .json();
    let draft = kept["kept"].as_str().unwrap().to_owned();
    let group = audience_of(&world, "Alice").parse().unwrap();
    assert_eq!(world.device("Alice").stories(group).len(), 2);

    world.agent("Bob", ["rejoin"]).succeeded();
    let pending = world
        .agent("Bob", ["pending", "--wait", &draft, "--timeout", PATIENCE])
        .succeeded()
        .json();
    let drafts = pending["drafts"].as_array().unwrap();
    let sent = drafts.iter().find(|entry| entry["id"] == draft.as_str()).unwrap();
    let story = sent["story"].as_str().unwrap();
    assert_eq!(world.received("Alice", story)["text"], "kept until the rejoin");
}

/// M4: the agent does not start on a damaged database; `rejoin` puts it aside, and the next start rejoins.
#[test]
fn damaged_database_is_put_aside_and_the_next_start_rejoins() {
    let mut world = World::with_team();
    world.stop_agent("Bob");
    lose_state(&world, "Bob");
    fs::write(world.agent_folder("Bob").join("state.db"), [0x55; 16_384]).unwrap();
    let folder = world.agent_folder("Bob").display().to_string();
    let started = run("sealgate-agent", ["run", "--dir", &folder]);
    assert_ne!(started.code, 0);

    let prepared = world.agent("Bob", ["rejoin"]).succeeded().json();
    assert_eq!(prepared["at_next_start"], true);
    let aside = prepared["put_aside"].as_str().unwrap();
    assert_eq!(fs::read(aside).unwrap(), [0x55; 16_384]);
    world.start_agent("Bob");
    let story = world.share("Alice", "team", "after the damage");
    assert_eq!(world.received("Bob", &story)["text"], "after the damage");
}

/// M4: what is not MLS state is kept by a rejoin of a folder whose agent is stopped.
#[test]
fn rejoin_keeps_names_journal_and_kept_drafts() {
    let mut world = World::with_team();
    greet(&world);
    world.stop_gateway();
    let kept = world
        .agent(
            "Bob",
            ["share", "--audience", "team", "--text", "kept over the rejoin"],
        )
        .ended_with(KEPT)
        .json();
    let draft = kept["kept"].as_str().unwrap().to_owned();
    world.stop_agent("Bob");
    world.start_gateway();
    let prepared = world.agent("Bob", ["rejoin"]).succeeded().json();
    assert!(prepared["put_aside"].is_null(), "{prepared}");
    world.start_agent("Bob");
    let pending = world
        .agent("Bob", ["pending", "--wait", &draft, "--timeout", PATIENCE])
        .succeeded()
        .json();
    let drafts = pending["drafts"].as_array().unwrap();
    let sent = drafts.iter().find(|entry| entry["id"] == draft.as_str()).unwrap();
    let story = sent["story"].as_str().unwrap();
    assert_eq!(world.received("Alice", story)["text"], "kept over the rejoin");
}

/// M4, K8: without its leaf key the device cannot replace its leaf; the next poster removes it and adds it anew.
#[test]
fn device_without_its_leaf_key_is_let_in_by_the_next_poster() {
    let mut world = World::with_team();
    world.stop_agent("Bob");
    lose_state(&world, "Bob");
    fs::remove_file(world.agent_folder("Bob").join("keys/leaf.key")).unwrap();
    world.start_agent("Bob");
    let rejoined = world.agent("Bob", ["rejoin"]).succeeded().json();
    assert_eq!(rejoined["waiting"].as_array().unwrap().len(), 1, "{rejoined}");
    let story = world.share("Alice", "team", "welcome back");
    assert_eq!(world.received("Bob", &story)["text"], "welcome back");
}

/// Bob's agent is stopped, and a commit that it missed is not kept any more; a story that he will never read.
fn world_that_bob_fell_behind() -> (World, String) {
    let mut world = World::with_team();
    let team = audience_of(&world, "Alice");
    world.employ("Dora", "employees");
    world.stop_agent("Bob");
    world
        .agent("Alice", ["audience", "add", "team", "--with", "Dora"])
        .succeeded();
    let missed = world.share("Alice", "team", "while Bob was away");
    world.received("Dora", &missed);
    world.stop_gateway();
    database::forget_handshakes(&world.path("gateway/gateway.db"), &team);
    world.start_gateway();
    (world, missed)
}

/// Rejoins that the gateway has logged.
fn rejoins_logged(world: &World) -> usize {
    let log = fs::read_to_string(world.log_path("gateway")).unwrap();
    log.matches("device rejoins").count()
}

/// M5, M6: an agent that is killed when its rejoin stands in the log, and not in its own store yet, goes on with it at the
/// next start, by the same entry.
#[test]
fn rejoin_of_a_device_that_fell_behind_outlives_a_kill() {
    let (mut world, _) = world_that_bob_fell_behind();
    world.spawn_agent("Bob");
    while rejoins_logged(&world) == 0 {
        std::thread::yield_now();
    }
    world.kill_agent("Bob");

    world.start_agent("Bob");

    let later = world.share("Alice", "team", "Bob is back");
    assert_eq!(world.received("Bob", &later)["text"], "Bob is back");
    assert_eq!(rejoins_logged(&world), 1, "it was logged once more");
}

/// M4, M6: the same for one whose state is made anew, at several moments of it.
#[test]
fn rejoin_with_a_fresh_state_outlives_kills() {
    let mut world = World::with_team();
    greet(&world);
    for (round, moment_ms) in [0, 10, 25, 50].into_iter().enumerate() {
        let asked = world.start_command("Bob", ["rejoin"]);
        while rejoins_logged(&world) == round {
            std::thread::yield_now();
        }
        // A moment, not a wait for something: nothing is sent on this channel.
        let (_sender, moment) = mpsc::channel::<()>();
        let _ = moment.recv_timeout(Duration::from_millis(moment_ms));
        world.kill_agent("Bob");
        asked.ended();

        world.start_agent("Bob");

        let text = format!("after kill {round}");
        let story = world.share("Alice", "team", &text);
        assert_eq!(world.received("Bob", &story)["text"], text.as_str());
        assert_eq!(rejoins_logged(&world), round + 1, "it was logged once more");
    }
}

/// M4, K4: six rejoins a day are logged. One that was prepared, and is refused, stays due, is told, and keeps nothing else
/// from going on.
#[test]
fn rejoin_that_is_refused_stays_due() {
    let mut world = World::with_team();
    greet(&world);
    for _ in 0..6 {
        world.agent("Bob", ["rejoin"]).succeeded();
    }
    world.agent("Bob", ["rejoin"]).ended_with(1);
    world.stop_agent("Bob");
    world.agent("Bob", ["rejoin"]).succeeded();
    world.start_agent("Bob");

    assert!(status_says(
        &world,
        "Bob",
        "alarms",
        "a rejoin is due, and was refused"
    ));
    let status = world.agent("Bob", ["status"]).succeeded().json();
    assert_eq!(status["online"], true, "{status}");
    world.stop_agent("Bob");
    world.start_agent("Bob");
    assert!(status_says(
        &world,
        "Bob",
        "alarms",
        "a rejoin is due, and was refused"
    ));
}

/// M4, M5: a Welcome that does not open, as when the state that it was made for is gone, or the gateway spoilt it: the
/// device joins by itself, in place of the leaf that was added for it.
#[test]
fn device_whose_welcome_does_not_open_joins_by_itself() {
    let mut world = World::new();
    world.employ("Alice", "employees");
    world.employ("Bob", "employees");
    world.stop_agent("Bob");
    let create = ["audience", "create", "team", "--with", "Bob"];
    world.agent("Alice", create).succeeded();
    world.stop_gateway();
    database::spoil_welcomes(&world.path("gateway/gateway.db"));
    world.start_gateway();
    world.start_agent("Bob");

    let story = world.share("Alice", "team", "can you read this?");

    assert_eq!(world.received("Bob", &story)["text"], "can you read this?");
    assert!(status_says(&world, "Bob", "notices", "joined audience"));
}

/// M5, K15, K16: further behind than commits are kept, the device joins again by itself, and reads from there.
#[test]
fn device_that_was_away_for_longer_than_commits_are_kept_rejoins_by_itself() {
    let (mut world, missed) = world_that_bob_fell_behind();
    world.start_agent("Bob");
    let later = world.share("Alice", "team", "Bob is back");
    assert_eq!(world.received("Bob", &later)["text"], "Bob is back");
    assert!(!world.reads("Bob", &missed));
    assert!(status_says(&world, "Bob", "notices", "joined audience"));
}
