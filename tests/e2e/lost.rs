//! Answers that are lost and requests that come late: whatever the gateway has done or not done of what an agent asked,
//! the two agree in the end, and nobody has to mend it.

use std::fs;

use gateway_api::error::{ErrorCode, Problem};
use gateway_api::v1::{groups, sync};
use serde_json::Value;

use crate::world::{KEPT, PATIENCE, World, until};

/// Of `POST /v1/groups/{id}/commits`, `/v1/groups/{id}/stories`.
const COMMITS: &str = "/commits";
const STORIES: &str = "/stories";

/// The people of Alice's audience `team`, as one of them sees it.
fn people_of_team(world: &World, name: &str) -> usize {
    let list = world.agent(name, ["audience", "list"]).succeeded().json();
    let audiences = list["audiences"].as_array().unwrap();
    let team = audiences
        .iter()
        .find(|audience| audience["name"] == "team")
        .unwrap();
    team["people"].as_array().unwrap().len()
}

fn all_read(world: &World, names: &[&str], story: &str) {
    for name in names {
        assert_eq!(world.received(name, story)["state"], "open", "{name}");
    }
}

/// M2, M6: a commit that nobody answered may lie in the gateway's queue still. It is sent again byte for byte, so that it
/// does not matter which of the two comes first.
#[test]
fn commit_that_comes_late_is_the_commit_that_is_sent_again() {
    let mut world = World::with_team();
    world.employ("Carol", "employees");
    let front = world.put_front();
    let add = ["audience", "add", "team", "--with", "Carol"];

    let first = front.hold(COMMITS);
    let adding = world.start_command("Alice", add);
    let late = first.arrived();
    let sent = late.body().to_vec();
    let again = front.hold(COMMITS);
    let kept = late.lose();
    assert_ne!(adding.ended().code, 0);

    let adding = world.start_command("Alice", add);
    let second = again.arrived();
    assert!(second.body() == sent, "another commit was made");
    assert!(kept.send().status().is_success());
    second.pass();
    adding.ended().succeeded();

    let story = world.share("Alice", "team", "for all three");
    all_read(&world, &["Bob", "Carol"], &story);
    let story = world.share("Carol", "team", "with pleasure");
    all_read(&world, &["Alice", "Bob"], &story);
}

/// M2: a commit that the gateway will not take any more is given up, and what is asked for now goes on.
#[test]
fn commit_that_is_refused_on_its_second_try_keeps_nothing_from_going_on() {
    let mut world = World::with_team();
    world.employ("Carol", "employees");
    world.employ("Dave", "employees");
    let front = world.put_front();

    let held = front.hold(COMMITS);
    let adding = world.start_command("Alice", ["audience", "add", "team", "--with", "Carol"]);
    held.arrived().lose();
    assert_ne!(adding.ended().code, 0);
    let carol = world.agent("Carol", ["status"]).succeeded().json();
    let carol = carol["device"].as_str().unwrap();
    world.gateway(["device", "revoke", carol]).succeeded();

    world
        .agent("Alice", ["audience", "add", "team", "--with", "Dave"])
        .succeeded();

    let story = world.share("Alice", "team", "without Carol");
    all_read(&world, &["Bob", "Dave"], &story);
}

/// M2, E4: an identity that ended says nothing about a commit that may be on its way still.
#[test]
fn commit_is_kept_when_the_device_is_refused_for_now() {
    let mut world = World::with_team();
    world.employ("Carol", "employees");
    let front = world.put_front();
    let add = ["audience", "add", "team", "--with", "Carol"];

    let held = front.hold(COMMITS);
    let adding = world.start_command("Alice", add);
    let stopped = held.arrived();
    let sent = stopped.body().to_vec();
    stopped.refuse(Problem::new(ErrorCode::DeviceQuarantined, "for now"));
    assert_ne!(adding.ended().code, 0);

    let held = front.hold(COMMITS);
    let adding = world.start_command("Alice", add);
    let again = held.arrived();
    assert!(again.body() == sent, "another commit was made");
    again.pass();
    adding.ended().succeeded();
    let story = world.share("Alice", "team", "for all three");
    all_read(&world, &["Bob", "Carol"], &story);
}

/// K9: an audience that the gateway made and could not say so is the one that the device has; one that it refused is gone,
/// and its name is free.
#[test]
fn audience_is_here_if_and_only_if_it_is_there() {
    let mut world = World::new();
    world.employ("Alice", "employees");
    world.employ("Bob", "employees");
    let front = world.put_front();
    let create = ["audience", "create", "team", "--with", "Bob"];

    let held = front.hold(groups::PATH);
    let creating = world.start_command("Alice", create);
    held.arrived()
        .refuse(Problem::new(ErrorCode::RosterRefused, "not now"));
    assert_ne!(creating.ended().code, 0);
    let none = world.agent("Alice", ["audience", "list"]).succeeded().json();
    assert_eq!(none["audiences"].as_array().unwrap().len(), 0, "{none}");

    let held = front.hold(groups::PATH);
    let creating = world.start_command("Alice", create);
    let stopped = held.arrived();
    assert!(stopped.send().status().is_success());
    stopped.lose();
    assert_ne!(creating.ended().code, 0);

    let story = world.share_at_last("Alice", "team", "here it is");
    all_read(&world, &["Bob"], &story);
    assert_eq!(people_of_team(&world, "Bob"), 2);
}

/// A2: what the local socket was asked to change goes on to its end when nobody waits for the answer any more.
#[test]
fn command_that_is_killed_is_carried_out() {
    let mut world = World::new();
    world.employ("Alice", "employees");
    world.employ("Bob", "employees");
    let front = world.put_front();

    let held = front.hold(groups::PATH);
    let creating = world.start_command("Alice", ["audience", "create", "team", "--with", "Bob"]);
    let stopped = held.arrived();
    let joined = front.hold(COMMITS);
    creating.kill();
    stopped.pass();

    // Nobody asked for anything since; a story would bring Bob in as well.
    joined.arrived().pass();
}

/// S1, K13: a story that the gateway has, whose answer never came and of which nothing more could be written, is settled
/// at the next poll: it is sent once, and is in the sender's own record.
#[cfg(target_os = "linux")]
#[test]
fn story_whose_sender_could_write_no_more_is_settled() {
    let mut world = World::with_team();
    let before = world.share("Alice", "team", "before");
    all_read(&world, &["Bob"], &before);
    let front = world.put_front();

    let held = front.hold(STORIES);
    let sharing = world.start_command("Alice", ["share", "--audience", "team", "--text", "arrived"]);
    let stopped = held.arrived();
    assert!(stopped.send().status().is_success());
    world.limit_agent("Alice", Some(4096));
    stopped.lose();
    let answer = sharing.ended();
    assert!(answer.code != 0 && answer.code != KEPT, "{}", answer.text);
    world.limit_agent("Alice", None);

    // Any poll does; this is one.
    let story = world.share("Bob", "team", "did it arrive?");
    all_read(&world, &["Alice"], &story);
    let sent = || {
        let activity = world.agent("Alice", ["activity"]).succeeded().json();
        let entries = activity["entries"].as_array().unwrap();
        entries
            .iter()
            .filter(|entry| entry["outcome"] == "shared")
            .count()
    };
    until(|| sent() == 2);
    let feed = world.agent("Bob", ["feed"]).succeeded().json();
    let is_arrived = |story: &&Value| story["text"] == "arrived";
    assert_eq!(
        feed["stories"]
            .as_array()
            .unwrap()
            .iter()
            .filter(is_arrived)
            .count(),
        1
    );
}

/// O7: a file whose sealing failed, and which could not be put back then, is put back by a later look, without a restart.
#[cfg(target_os = "linux")]
#[test]
fn file_that_could_not_be_put_back_is_put_back_later() {
    let mut world = World::with_team();
    world.stop_agent("Alice");
    fs::write(
        world.agent_folder("Alice").join("agent.toml"),
        "[outbox]\nquiet_ms = 0\n",
    )
    .unwrap();
    world.start_agent("Alice");
    let front = world.put_front();
    let outbox = world.agent_folder("Alice").join("outbox/team");

    // The last that is asked before the draft is sealed.
    let held = front.hold_with(sync::PATH, "\"wait_s\":0");
    fs::write(outbox.join(".plan.tmp"), "the plan").unwrap();
    fs::rename(outbox.join(".plan.tmp"), outbox.join("plan.txt")).unwrap();
    let stopped = held.arrived();
    world.limit_agent("Alice", Some(4096));
    stopped.pass();
    let files = || {
        let outbox = world.agent("Alice", ["outbox"]).succeeded().json();
        outbox["files"].as_array().unwrap().len()
    };
    // The file is back where it was, and the agent could not note it.
    until(|| files() == 2);
    world.limit_agent("Alice", None);

    let wait = ["outbox", "--wait", "plan.txt", "--timeout", PATIENCE];
    let files = world.agent("Alice", wait).succeeded().json();
    assert_eq!(files["files"][0]["state"], "sent", "{files}");
}

/// D5: a takeback whose answer was lost may have been done: its author is told so, and doing it again is safe.
#[test]
fn takeback_that_was_not_answered_may_have_been_done() {
    let mut world = World::with_team();
    let front = world.put_front();
    let story = world.share_at_last("Alice", "team", "too early");
    let revoke = ["revoke", story.as_str()];

    let held = front.hold("/revoke");
    let revoking = world.start_command("Alice", revoke);
    let stopped = held.arrived();
    assert!(stopped.send().status().is_success());
    stopped.lose();
    let answer = revoking.ended();
    assert_ne!(answer.code, 0);
    assert!(
        answer.errors.contains("may have been revoked"),
        "{}",
        answer.errors
    );

    world.agent("Alice", revoke).succeeded();
}
