//! What the gateway holds, and what it cannot.

use std::fs;

use crate::world::{BLOCKED, KEPT, World, contains, files_below, until};

const TEXT: &str = "The periwinkle merger closes on Thursday";
const FILE_NAME: &str = "periwinkle-termsheet.txt";
const FILE_TEXT: &str = "Terms: forty-two hedgehogs per share";
const AUDIENCE: &str = "periwinkle-circle";
const REASON: &str = "counsel of periwinkle asked for it";
const BLOCKED_CARD: &str = "4556737586899855";

/// Promise 2, R6, K26, K28: no byte that the gateway stored, logged or exported holds content, a file name,
/// an audience's name or a reason; people's names stand in its directory alone.
#[test]
fn gateway_cannot_read() {
    let mut world = World::new();
    world.employ("Zebulon Quillfeather", "employees");
    world.employ("Bob", "employees");
    let author = "Zebulon Quillfeather";
    world
        .agent(author, ["audience", "create", AUDIENCE, "--with", "Bob"])
        .succeeded();
    let file = world.path(FILE_NAME);
    fs::write(&file, FILE_TEXT).unwrap();
    let text = format!("{TEXT}. Account NL89INGB0004821937.");
    let share = [
        "share",
        "--audience",
        AUDIENCE,
        "--text",
        &text,
        "--file",
        file.to_str().unwrap(),
        "--reason",
        REASON,
    ];
    let story = world.agent(author, share).succeeded().json()["story"]
        .as_str()
        .unwrap()
        .to_owned();
    let received = world.received("Bob", &story);
    assert_eq!(received["text"], text.as_str());
    world
        .agent(
            author,
            [
                "share",
                "--audience",
                AUDIENCE,
                "--text",
                &format!("card {BLOCKED_CARD}"),
            ],
        )
        .ended_with(BLOCKED);
    let export = world.path("export");
    world
        .gateway(["log", "export", "--out", export.to_str().unwrap()])
        .succeeded();

    world.stop_gateway();
    let mut seen = files_below(&world.path("gateway"));
    seen.extend(files_below(&export));
    seen.push((
        world.log_path("gateway"),
        fs::read(world.log_path("gateway")).unwrap(),
    ));
    assert!(seen.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() > 10_000);
    let secrets = [
        "periwinkle",
        "hedgehogs",
        REASON,
        "NL89INGB0004821937",
        BLOCKED_CARD,
    ];
    for (path, bytes) in &seen {
        for secret in secrets {
            assert!(
                !contains(bytes, secret.as_bytes()),
                "`{secret}` in {}",
                path.display()
            );
        }
        let directory = path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("gateway.db");
        assert!(
            directory || !contains(bytes, b"Quillfeather"),
            "a name in {}",
            path.display()
        );
    }
}

/// The same for the agent's log: ids only.
#[test]
fn agent_log_holds_no_content() {
    let world = World::with_team();
    let file = world.path(FILE_NAME);
    fs::write(&file, FILE_TEXT).unwrap();
    world
        .agent(
            "Alice",
            [
                "share",
                "--audience",
                "team",
                "--text",
                TEXT,
                "--file",
                file.to_str().unwrap(),
            ],
        )
        .succeeded();
    world
        .agent(
            "Alice",
            [
                "share",
                "--audience",
                "team",
                "--text",
                &format!("card {BLOCKED_CARD}"),
            ],
        )
        .ended_with(BLOCKED);
    let log = fs::read(world.log_path("alice")).unwrap();
    for secret in ["periwinkle", "hedgehogs", BLOCKED_CARD, "Bob"] {
        assert!(
            !contains(&log, secret.as_bytes()),
            "`{secret}` in the agent's log"
        );
    }
}

/// R6: nor does an alarm about a draft name the audience that it was for.
#[test]
fn agent_log_names_no_audience() {
    let mut world = World::new();
    world.employ("Alice", "employees");
    world.employ("Bob", "employees");
    world
        .agent("Alice", ["audience", "create", AUDIENCE, "--with", "Bob"])
        .succeeded();
    let story = world.share("Alice", AUDIENCE, TEXT);
    world.received("Bob", &story);
    world.stop_gateway();
    world
        .agent("Bob", ["share", "--audience", AUDIENCE, "--text", TEXT])
        .ended_with(KEPT);
    world.stop_agent("Bob");
    world.start_gateway();
    let remove = ["audience", "remove", AUDIENCE, "--with", "Bob"];
    until(|| world.agent("Alice", remove).code == 0);
    world.start_agent("Bob");

    until(|| {
        let status = world.agent("Bob", ["status"]).succeeded().json();
        status["alarms"].to_string().contains("kept draft")
    });

    let log = fs::read_to_string(world.log_path("Bob")).unwrap();
    assert!(!log.contains(AUDIENCE), "{log}");
}
