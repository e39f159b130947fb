//! Who was removed reads nothing that follows; who is not in the log is not let in.

use gateway_api::error::ErrorCode;

use crate::world::database;
use crate::world::device::problem;
use crate::world::{REFUSED, World};

fn device_of(world: &World, name: &str) -> String {
    let list = world.gateway(["device", "list"]).succeeded().json();
    let devices = list["devices"].as_array().unwrap();
    let found = devices.iter().find(|device| device["name"] == name).unwrap();
    found["device"].as_str().unwrap().to_owned()
}

/// K8, E6: revoked at the gateway, refused at once on every route, removed from the group before the next
/// story.
#[test]
fn removed_device_cannot_read_on() {
    let mut world = World::with_team();
    world.employ("Dora", "employees");
    world
        .agent("Alice", ["audience", "add", "team", "--with", "Dora"])
        .succeeded();
    let before = world.share("Alice", "team", "everybody reads this");
    world.received("Bob", &before);
    world.received("Dora", &before);
    world
        .gateway(["device", "revoke", &device_of(&world, "Bob")])
        .succeeded();
    let after = world.share("Alice", "team", "Bob does not read this");
    world.received("Dora", &after);
    assert!(!world.reads("Bob", &after));
    let refused = problem(world.device("Bob").get("/v1/people"));
    assert_eq!(refused.code, ErrorCode::DeviceRevoked);
}

/// K8: a person who left is not added again by the next poster.
#[test]
fn person_who_left_stays_out() {
    let mut world = World::with_team();
    world.employ("Dora", "employees");
    world
        .agent("Alice", ["audience", "add", "team", "--with", "Dora"])
        .succeeded();
    let first = world.share("Alice", "team", "welcome");
    world.received("Bob", &first);
    world.agent("Bob", ["audience", "leave", "team"]).succeeded();
    for text in ["one", "two"] {
        let story = world.share("Alice", "team", text);
        world.received("Dora", &story);
        assert!(!world.reads("Bob", &story));
    }
}

/// K10: who joins later does not see earlier stories.
#[test]
fn new_member_sees_no_earlier_story() {
    let mut world = World::with_team();
    let earlier = world.share("Alice", "team", "before Dora");
    world.employ("Dora", "employees");
    world
        .agent("Alice", ["audience", "add", "team", "--with", "Dora"])
        .succeeded();
    let later = world.share("Alice", "team", "with Dora");
    world.received("Dora", &later);
    assert!(!world.reads("Dora", &earlier));
}

/// Z7, K24: the refusal names the rule, with file and line.
#[test]
fn refusal_by_a_sharing_rule_names_it() {
    let mut world = World::with_team();
    world.invite("Carol");
    world
        .agent("Alice", ["audience", "create", "partners", "--with", "Carol"])
        .succeeded();
    let share = [
        "share",
        "--audience",
        "partners",
        "--label",
        "confidential",
        "--text",
        "agenda",
    ];
    let refused = world.agent("Alice", share).ended_with(REFUSED).json();
    assert!(
        refused["refusal"]["rule"]
            .as_str()
            .unwrap()
            .starts_with("sharing/policy.csv:"),
        "{refused}"
    );
}

/// K8: a gateway that hands out the key package of a device that is not in its directory log, under the name
/// of one that is, finds no member that lets it in.
#[test]
fn unlogged_device_is_not_admitted() {
    let mut world = World::with_team();
    world.employ("Dora", "employees");
    let dora = device_of(&world, "Dora");
    let mut elsewhere = World::new();
    elsewhere.employ("Mallory", "employees");
    elsewhere.stop_gateway();
    let invented = database::any_key_package(&elsewhere.path("gateway/gateway.db"));
    // Or it would upload others of its own before the gateway is asked for one.
    world.stop_agent("Dora");
    world.stop_gateway();
    database::replace_key_packages(&world.path("gateway/gateway.db"), &dora, &invented);
    world.start_gateway();

    let added = world.agent("Alice", ["audience", "add", "team", "--with", "Dora"]);
    assert_ne!(added.code, 0, "{}", added.text);
    let story = world.share("Alice", "team", "not for an invented device");
    world.received("Bob", &story);
    world.start_agent("Dora");
    assert!(!world.reads("Dora", &story));
}
