//! Without the gateway the agent enforces, keeps, and catches up.

use crate::world::{BLOCKED, KEPT, PATIENCE, World};

/// Promise 1, S1: offline, a draft is inspected at once; what may go is kept, decided again and sent.
#[test]
fn offline_agent_enforces_and_catches_up() {
    let mut world = World::with_team();
    world.stop_gateway();
    let blocked = [
        "share",
        "--audience",
        "team",
        "--text",
        "my credit card 4556737586899855",
    ];
    world.agent("Alice", blocked).ended_with(BLOCKED);
    let kept = world
        .agent(
            "Alice",
            ["share", "--audience", "team", "--text", "written on the train"],
        )
        .ended_with(KEPT)
        .json();
    let draft = kept["kept"].as_str().unwrap().to_owned();
    world.start_gateway();
    let pending = world
        .agent("Alice", ["pending", "--wait", &draft, "--timeout", PATIENCE])
        .succeeded()
        .json();
    let drafts = pending["drafts"].as_array().unwrap();
    let sent = drafts.iter().find(|entry| entry["id"] == draft.as_str()).unwrap();
    assert_eq!(sent["state"], "sent");
    let story = sent["story"].as_str().unwrap();
    assert_eq!(world.received("Bob", story)["text"], "written on the train");
}

/// B3, B4: an agent that restarts without a gateway still has its policy and its audiences.
#[test]
fn restarted_agent_enforces_without_a_gateway() {
    let mut world = World::with_team();
    world.stop_agent("Alice");
    world.stop_gateway();
    world.start_agent("Alice");
    let blocked = [
        "share",
        "--audience",
        "team",
        "--text",
        "my credit card 4556737586899855",
    ];
    world.agent("Alice", blocked).ended_with(BLOCKED);
}
