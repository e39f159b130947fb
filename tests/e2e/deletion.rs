//! A story is gone after its lifetime, and when its author takes it back.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::world::{PATIENCE, World, contains, files_below};

/// Stored objects of the gateway.
fn objects(world: &World) -> usize {
    files_below(&world.path("gateway").join("blobs")).len()
}

fn shown(world: &World, story: &str) -> Value {
    world.gateway(["story", "show", story]).succeeded().json()
}

/// Everything that a data folder holds.
fn everything(world: &World) -> Vec<(PathBuf, Vec<u8>)> {
    ["gateway", "agent-alice", "agent-bob"]
        .iter()
        .flat_map(|name| files_below(&world.path(name)))
        .collect()
}

/// Keys of buckets and stored objects, by file.
fn keys_and_objects(world: &World) -> Vec<(PathBuf, Vec<u8>)> {
    let is_one = |path: &Path| {
        let path = path.to_string_lossy();
        ["/bucket-keys/", "/keys/expiry/", "/blobs/"]
            .iter()
            .any(|folder| path.contains(folder))
    };
    let mut all = everything(world);
    all.retain(|(path, _)| is_one(path));
    all
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
    let before = keys_and_objects(&world);
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
    let left = everything(&world);
    for (path, bytes) in &left {
        assert!(!contains(bytes, b"short-lived marigold"), "{}", path.display());
    }
    // The object and the keys of its bucket, at the gateway and at both agents, are in no file: no log, no free page.
    let gone: Vec<_> = before.iter().filter(|(path, _)| !path.exists()).collect();
    assert!(gone.len() >= 4, "{} files are gone", gone.len());
    for (path, bytes) in gone {
        let trace = &bytes[..bytes.len().min(32)];
        assert!(
            left.iter().all(|(_, file)| !contains(file, trace)),
            "{} is still somewhere",
            path.display()
        );
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
