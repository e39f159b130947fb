//! Strangers that take what the gateway has least of.

#![cfg(target_os = "linux")]

use std::fs;
use std::net::TcpStream;

use crate::world::World;

/// What the gateway gets: its own reserve, and room for few connections.
const DESCRIPTORS: u64 = 400;

/// H3: strangers that open as many connections as they can, and say nothing, keep no device out for longer than a
/// handshake may take, and take no descriptor from what the gateway stores.
#[test]
fn strangers_that_hold_every_connection_keep_no_device_out() {
    let mut world = World::with_team();
    world.stop_gateway();
    let path = world.path("gateway/gateway.toml");
    let config = fs::read_to_string(&path).unwrap();
    assert!(config.contains("handshake_s = 10"));
    fs::write(&path, config.replace("handshake_s = 10", "handshake_s = 1")).unwrap();
    world.start_gateway_with_descriptors(DESCRIPTORS);

    let address = world.device_url().replace("https://", "");
    let strangers: Vec<TcpStream> = (0..DESCRIPTORS)
        .map_while(|_| TcpStream::connect(&address).ok())
        .collect();
    assert!(u64::try_from(strangers.len()).unwrap() > DESCRIPTORS / 2);
    let file = world.path("plan.txt");
    fs::write(&file, "the plan of the hedgehogs").unwrap();
    let story = world.share_at_last("Alice", "team", "while strangers hold what they can");
    assert_eq!(
        world.received("Bob", &story)["text"],
        "while strangers hold what they can"
    );
    let file = file.to_str().unwrap();
    let share = [
        "share",
        "--audience",
        "team",
        "--text",
        "with a file",
        "--file",
        file,
    ];
    world.agent("Alice", share).succeeded();
    drop(strangers);
    world.employ("Carol", "employees");
    assert_eq!(world.gateway(["doctor"]).code, 0);
}
