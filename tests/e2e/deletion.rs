//! A story is gone after its lifetime, and when its author takes it back.

use serde_json::Value;

use crate::world::{PATIENCE, World, contains, files_below};

/// Stored objects of the gateway.
fn objects(world: &World) -> usize {
    files_below(&world.path("gateway").join("blobs")).len()
}

fn shown(world: &World, story: &str) -> Value {
    world.gateway(["story", "show", story]).succeeded().json()
}

/// D1, D4, K18: envelope, blob and key at the gateway, text and file at the recipient.
#[test]
fn expired_story_is_gone_everywhere() {
    let world = World::with_team();
    let file = world.path("minutes.txt");
    std::fs::write(&file, "Minutes of the gardening club").unwrap();
    let share = [
        "share",
        "--audience",
        "team",
        "--text",
        "short-lived marigold",
        "--file",
        file.to_str().unwrap(),
        "--ttl",
        "5s",
    ];
    let story = world.agent("Alice", share).succeeded().json()["story"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(world.received("Bob", &story)["text"], "short-lived marigold");
    assert!(objects(&world) > 0);
    world
        .agent(
            "Bob",
            [
                "feed",
                "--wait",
                &story,
                "--until",
                "expired",
                "--timeout",
                PATIENCE,
            ],
        )
        .succeeded();
    world
        .gateway(["story", "wait-purged", &story, "--timeout", PATIENCE])
        .succeeded();
    let left = shown(&world, &story);
    assert_eq!(
        (&left["envelope_bytes"], &left["blobs"], &left["bucket_key"]),
        (&0.into(), &0.into(), &false.into())
    );
    assert_eq!(objects(&world), 0);
    for name in ["Alice", "Bob"] {
        for (path, bytes) in files_below(&world.agent_folder(name)) {
            assert!(
                !contains(&bytes, b"short-lived marigold"),
                "{name}: {}",
                path.display()
            );
        }
    }
}

/// D5: the author takes a story back; the recipient's agent forgets it.
#[test]
fn revoked_story_is_forgotten() {
    let world = World::with_team();
    let story = world.share("Alice", "team", "said too early");
    world.received("Bob", &story);
    world.agent("Alice", ["revoke", &story]).succeeded();
    world
        .agent(
            "Bob",
            [
                "feed",
                "--wait",
                &story,
                "--until",
                "revoked",
                "--timeout",
                PATIENCE,
            ],
        )
        .succeeded();
    assert!(!world.reads("Bob", &story));
    assert_eq!(shown(&world, &story)["envelope_bytes"], 0);
}
