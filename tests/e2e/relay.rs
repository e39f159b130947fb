//! What the gateway relays, and what it refuses: attacks with a real device's keys and a real story.

use std::str::FromStr as _;

use gateway_api::bytes::Bytes;
use gateway_api::error::ErrorCode;
use gateway_api::receipt::Refusal;
use gateway_api::v1::stories::Accepted;
use policies::terms::AudienceId;

use crate::world::device::{Relayed, problem};
use crate::world::{BLOCKED, World, acceptance_key, files_below};

fn audience(world: &World, name: &str) -> AudienceId {
    let list = world.agent("Alice", ["audience", "list"]).succeeded().json();
    let audiences = list["audiences"].as_array().unwrap();
    let found = audiences
        .iter()
        .find(|audience| audience["name"] == name)
        .unwrap();
    AudienceId::from_str(found["audience"].as_str().unwrap()).unwrap()
}

/// A story of Alice's for the team, as Bob's device got it.
fn relayed_story(world: &World) -> Relayed {
    let story = world.share("Alice", "team", "The plan for Thursday is on.");
    world.received("Bob", &story);
    world
        .device("Bob")
        .stories(audience(world, "team"))
        .pop()
        .unwrap()
}

/// R2, K1: nothing of a blocked draft reaches the gateway but the event that the employee was shown.
#[test]
fn blocked_story_never_leaves() {
    let world = World::with_team();
    let before = files_below(&world.path("gateway").join("blobs")).len();
    let text = "Card for the hotel: 4556 7375 8689 9855";
    world
        .agent("Alice", ["share", "--audience", "team", "--text", text])
        .ended_with(BLOCKED);
    assert!(world.device("Bob").stories(audience(&world, "team")).is_empty());
    assert_eq!(files_below(&world.path("gateway").join("blobs")).len(), before);
    let relays = world
        .gateway(["log", "search", "--kind", "relay"])
        .succeeded()
        .json();
    assert_eq!(relays["entries"].as_array().unwrap().len(), 0);
}

/// C5: the refusal is a receipt signed by the gateway's acceptance key.
#[test]
fn tampered_clearance_is_refused() {
    let world = World::with_team();
    let story = relayed_story(&world);
    let alice = world.device("Alice");
    let mut tampered = story.clearance.clone();
    *tampered.last_mut().unwrap() ^= 1;
    let refused = problem(alice.post(story.group, &story.envelope, Some(&tampered)));
    assert_eq!(refused.code, ErrorCode::ClearanceSignature);
    let receipt = Refusal::verify(&refused.receipt.unwrap().0, &acceptance_key(&world)).unwrap();
    assert_eq!(receipt.code, ErrorCode::ClearanceSignature);
}

#[test]
fn clearance_for_another_audience_is_refused() {
    let mut world = World::with_team();
    world.employ("Dora", "employees");
    world
        .agent("Alice", ["audience", "create", "board", "--with", "Dora"])
        .succeeded();
    let story = relayed_story(&world);
    let board = audience(&world, "board");
    let refused = problem(
        world
            .device("Alice")
            .post(board, &story.envelope, Some(&story.clearance)),
    );
    assert_eq!(refused.code, ErrorCode::ClearanceAudience);
}

/// K13: the same again answers the original receipt; anything else under the same `cti` is refused.
#[test]
fn replayed_envelope_is_refused() {
    let world = World::with_team();
    let story = relayed_story(&world);
    let again = world
        .device("Alice")
        .post(story.group, &story.envelope, Some(&story.clearance));
    assert_eq!(again.json::<Accepted>().unwrap().acceptance.0, story.acceptance);
    let mut other = story.envelope.clone();
    *other.last_mut().unwrap() ^= 1;
    let refused = problem(
        world
            .device("Alice")
            .post(story.group, &other, Some(&story.clearance)),
    );
    assert_eq!(refused.code, ErrorCode::ReplayRefused);
    let refused = problem(
        world
            .device("Bob")
            .post(story.group, &story.envelope, Some(&story.clearance)),
    );
    assert_eq!(refused.code, ErrorCode::ReplayRefused);
    assert_eq!(world.device("Bob").stories(story.group).len(), 1);
    let alarms = world
        .gateway(["log", "search", "--kind", "replay-refused"])
        .succeeded()
        .json();
    assert_eq!(alarms["entries"].as_array().unwrap().len(), 2);
}

#[test]
fn story_without_clearance_is_refused() {
    let world = World::with_team();
    let story = relayed_story(&world);
    let refused = problem(world.device("Alice").post(story.group, &story.envelope, None));
    assert_eq!(refused.code, ErrorCode::ClearanceMissing);
}

/// An event that no ledger entry could hold is its sender's error; the gateway goes on for everybody.
#[test]
fn oversized_event_stops_nobody() {
    let world = World::with_team();
    let sealed = Bytes(vec![7; 60_000]).to_text();
    let event = serde_json::json!({
        "id": "00112233445566778899aabbccddeeff", "sequence": 1, "at_s": 1, "kind": "blocked",
        "audience_class": "internal", "action": "block", "rules": [], "labels": [], "app": "sealgate",
        "policy_version": 1, "features": {}, "size": "<4KiB", "sealed": sealed,
    });
    let upload = serde_json::json!({ "events": [event] });
    let refused = problem(world.device("Bob").upload(&upload));
    assert_eq!(refused.code, ErrorCode::BadRequest);
    let story = world.share("Alice", "team", "still here");
    world.received("Bob", &story);
}
