//! A gateway whose operator is hostile: he has its files and all its keys (K8). What he does is refused, or shown to the
//! member; SECURITY.md has the table.

use std::fs;

use crate::world::{World, copy_folder, database, run};

fn database_of(world: &World) -> std::path::PathBuf {
    world.path("gateway/gateway.db")
}

fn audience_of(world: &World, name: &str) -> String {
    let list = world.agent(name, ["audience", "list"]).succeeded().json();
    list["audiences"][0]["audience"].as_str().unwrap().to_owned()
}

fn status_says(world: &World, name: &str, field: &str, what: &str) -> bool {
    let status = world.agent(name, ["status"]).succeeded().json();
    let said = status[field].as_array().unwrap();
    said.iter().any(|line| line.as_str().unwrap().contains(what))
}

/// A story that Bob's agent got is where his status is looked at.
fn greet(world: &World, text: &str) -> String {
    let story = world.share("Alice", "team", text);
    world.received("Bob", &story);
    story
}

/// K4, K8: an earlier copy of the gateway goes on with another history; whoever saw the first one refuses it.
#[test]
fn forked_directory_log_is_refused_and_shown() {
    let mut world = World::with_team();
    world.stop_gateway();
    let (folder, copy) = (world.path("gateway"), world.path("gateway-before"));
    copy_folder(&folder, &copy);
    world.start_gateway();
    world.employ("Carol", "employees");
    world
        .agent("Alice", ["audience", "add", "team", "--with", "Carol"])
        .succeeded();
    world.stop_gateway();
    // Or one of them would show the copy what it lacks before it has gone on, and it would stop.
    for name in ["Alice", "Bob", "Carol"] {
        world.stop_agent(name);
    }
    fs::remove_dir_all(&folder).unwrap();
    copy_folder(&copy, &folder);
    world.start_gateway();
    world.employ("Dave", "employees");
    world.employ("Erin", "employees");
    world.start_agent("Alice");

    let added = world.agent("Alice", ["audience", "add", "team", "--with", "Dave"]);

    assert_ne!(added.code, 0, "{}", added.text);
    assert!(status_says(&world, "Alice", "alarms", "its past was changed"));
}

/// K8: the operator logs a device of his own as Bob's. Nothing can refuse it; Bob is told of it, and so is everybody whose
/// audience it enters.
#[test]
fn invented_device_that_was_logged_is_shown_to_all() {
    let mut world = World::with_team();
    greet(&world, "before the device");
    let token = world.path("ghost.enrollment").display().to_string();
    world
        .gateway(["token", "add", "--person", "Bob", "--out", &token])
        .succeeded();
    world
        .agent("Ghost", ["enroll", "--token-file", &token])
        .succeeded();
    world.start_agent("Ghost");

    greet(&world, "after it");

    assert!(status_says(&world, "Bob", "notices", "was enrolled in your name"));
    for name in ["Alice", "Bob"] {
        assert!(
            status_says(&world, name, "notices", "Bob joined audience"),
            "{name}"
        );
    }
}

/// M2, K15: what follows a commit that is withheld is not shown, and the member learns what is missing and what to do.
#[test]
fn withheld_commit_is_shown() {
    let mut world = World::with_team();
    let team = audience_of(&world, "Alice");
    greet(&world, "before the commit");
    world.employ("Carol", "employees");
    world.stop_agent("Bob");
    world
        .agent("Alice", ["audience", "add", "team", "--with", "Carol"])
        .succeeded();
    world.stop_gateway();
    database::withhold_commit(&database_of(&world), &team);
    world.start_gateway();
    let hidden = world.share("Alice", "team", "after the commit");
    world.start_agent("Bob");

    let shared = world.agent("Bob", ["share", "--audience", "team", "--text", "hello"]);

    assert_ne!(shared.code, 0, "{}", shared.text);
    assert!(status_says(
        &world,
        "Bob",
        "alarms",
        "did not show this device the commit"
    ));
    assert!(!world.reads("Bob", &hidden));
    world.agent("Bob", ["rejoin"]).succeeded();
    greet(&world, "read again");
}

/// M2, K5: a commit that was altered on its way, signature and all, is not merged.
#[test]
fn altered_commit_is_refused_and_shown() {
    let mut world = World::with_team();
    let team = audience_of(&world, "Alice");
    greet(&world, "before the commit");
    world.employ("Carol", "employees");
    world.stop_agent("Bob");
    world
        .agent("Alice", ["audience", "add", "team", "--with", "Carol"])
        .succeeded();
    world.stop_gateway();
    database::replace_commit(&database_of(&world), &team, |message| {
        let middle = message.len() / 2;
        message[middle] ^= 1;
    });
    world.start_gateway();
    world.start_agent("Bob");

    world.agent("Bob", ["share", "--audience", "team", "--text", "hello"]);

    assert!(status_says(&world, "Bob", "alarms", "in the log of audience"));
}

/// K14: an acceptance that the pinned key did not sign, and a real one of another story.
#[test]
fn changed_acceptance_is_refused_and_shown() {
    let mut world = World::with_team();
    let first = greet(&world, "the first");
    world.stop_agent("Bob");
    let (altered, swapped) = (
        world.share("Alice", "team", "its acceptance is altered"),
        world.share("Alice", "team", "its acceptance is of another"),
    );
    world.stop_gateway();
    database::alter_acceptance(&database_of(&world), &altered);
    database::swap_acceptance(&database_of(&world), &swapped, &first);
    world.start_gateway();
    world.start_agent("Bob");

    greet(&world, "the last");

    assert!(!world.reads("Bob", &altered) && !world.reads("Bob", &swapped));
    assert!(status_says(&world, "Bob", "alarms", "is not shown"));
    // The record tells the auditor nothing else than it did.
    let log = world.path("gateway/ledger").display().to_string();
    run("sealgate", ["verify", &log]).succeeded();
}

/// E2: who answers under the gateway's name without the authority that the token pins gets nothing, and leaves nothing on
/// the device; the token is good for the real one.
#[test]
fn gateway_of_another_authority_enrols_nobody() {
    let world = World::new();
    world
        .gateway(["person", "add", "Alice", "--group", "employees"])
        .succeeded();
    let token = world.path("alice.enrollment").display().to_string();
    world
        .gateway(["token", "add", "--person", "Alice", "--out", &token])
        .succeeded();
    let given = fs::read(&token).unwrap();
    let mut pins: toml::Table = str::from_utf8(&given).unwrap().parse().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let other = authority.self_signed(&key).unwrap().pem();
    assert!(pins.insert("ca_pem".to_owned(), other.into()).is_some());
    fs::write(&token, pins.to_string()).unwrap();

    let enroll = || world.agent("Alice", ["enroll", "--token-file", &token]);
    let refused = enroll();
    assert_ne!(refused.code, 0, "{}", refused.text);
    assert!(
        refused
            .errors
            .contains("not of the authority that the token file pins"),
        "{}",
        refused.errors
    );
    assert!(!world.agent_folder("Alice").exists());

    fs::write(&token, given).unwrap();
    enroll().succeeded();
}
