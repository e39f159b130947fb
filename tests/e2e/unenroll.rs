//! A device leaves for good.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::world::device::problem;
use crate::world::{KEPT, World};

/// Exit code for a wrong command line, and for a question that was not answered with yes.
const USAGE: i32 = 2;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn listed(world: &World, device: &str) -> Value {
    let devices = world.gateway(["device", "list"]).succeeded().json();
    let devices = devices["devices"].as_array().unwrap();
    devices
        .iter()
        .find(|listed| listed["device"] == device)
        .unwrap()
        .clone()
}

/// E6, E9: revoked at once on a connection that was open, logged, recorded; of the folder only the outbox is left, and
/// it can be enrolled again.
#[test]
fn unenrolled_device_is_revoked_and_leaves_only_the_outbox() {
    let mut world = World::with_team();
    let folder = world.agent_folder("Alice");
    let own_file = folder.join("outbox/sent/plan.txt");
    fs::write(&own_file, "the plan").unwrap();
    let connection = world.device("Alice");
    let device = world.agent("Alice", ["status"]).json()["device"].clone();

    world.agent("Alice", ["unenroll"]).ended_with(USAGE);
    assert_eq!(
        world.agent("Alice", ["status"]).succeeded().json()["online"],
        true
    );

    let answer = world.agent("Alice", ["unenroll", "--yes"]).succeeded().json();
    assert_eq!(
        (&answer["device"], &answer["gateway_told"]),
        (&device, &Value::from(true)),
        "{answer}"
    );
    assert_eq!(names(&folder), ["outbox"]);
    assert_eq!(fs::read_to_string(&own_file).unwrap(), "the plan");

    let refused = problem(connection.get("/v1/people"));
    assert_eq!(refused.code.as_str(), "device-revoked");
    assert_eq!(listed(&world, device.as_str().unwrap())["revoked"], true);
    for kind in ["unenroll", "device-revoke"] {
        let found = world
            .gateway(["log", "search", "--kind", kind])
            .succeeded()
            .json();
        assert_eq!(found["entries"][0]["payload"]["device"], device, "{kind}");
    }

    let token = world.path("again.enrollment").display().to_string();
    world
        .gateway(["token", "add", "--person", "Alice", "--out", &token])
        .succeeded();
    world
        .agent("Alice", ["enroll", "--token-file", &token])
        .succeeded();
    world.start_agent("Alice");
    let again = world.agent("Alice", ["status"]).succeeded().json();
    assert_ne!(again["device"], device);
}

/// Without the gateway everything is removed all the same, and what the administrator has to do is said.
#[test]
fn device_unenrolled_offline_waits_for_the_administrator() {
    let mut world = World::with_team();
    world.stop_gateway();
    world
        .agent("Alice", ["share", "--audience", "team", "--text", "for later"])
        .ended_with(KEPT);
    world.stop_agent("Alice");
    let folder = world.agent_folder("Alice");
    let answer = world.agent("Alice", ["unenroll", "--yes"]).succeeded().json();
    assert_eq!(
        (&answer["gateway_told"], &answer["drafts_lost"]),
        (&Value::from(false), &Value::from(1)),
        "{answer}"
    );
    assert_eq!(names(&folder), ["outbox"]);
    let device = answer["device"].as_str().unwrap();
    world.start_gateway();
    assert_eq!(listed(&world, device)["revoked"], false);
    let revoked = world.gateway(["device", "revoke", device]).succeeded().json();
    assert_eq!(revoked["changed"], true);
}
