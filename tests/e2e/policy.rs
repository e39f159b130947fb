//! Policy on its way to the devices.

use std::fs;
use std::time::{Duration, Instant};

use crate::world::{BLOCKED, NO_POLICY, PATIENCE, World, copy_folder};

/// A change that the admin publishes reaches the agent: a word of the company's own is blocked at once.
fn forbid_word(world: &World, word: &str) {
    let folder = world.path("policy");
    let detector = format!(
        "id = \"e2e\"\nversion = 1\ntitle = \"Own words\"\n[[detector]]\nid = \"e2e-word\"\nfamily = \"secret\"\nname = \"Code word\"\nfinds = \"A code word.\"\n\
         locale = [\"*\"]\npattern = '''{word}'''\nconfidence = \"high\"\nexamples = [\"{word}\"]\ncounter_examples = [\"nothing\"]\nreferences = [\"test\"]\n"
    );
    fs::write(folder.join("detectors/e2e.toml"), detector).unwrap();
    let rule = "\n[[rule]]\nid = \"e2e-word\"\nmode = \"enforce\"\naction = \"block\"\nsentence = \"This word stays inside.\"\nowner = \"it@acme.example\"\nreport = \"event\"\n\
                [rule.when]\nfindings = [{ detector = \"e2e-word\" }]\n";
    let dlp = fs::read_to_string(folder.join("dlp.toml")).unwrap();
    fs::write(folder.join("dlp.toml"), dlp + rule).unwrap();
}

fn policy_version(world: &World, name: &str) -> u64 {
    world.agent(name, ["status"]).succeeded().json()["policy_version"]
        .as_u64()
        .unwrap()
}

#[test]
fn published_policy_reaches_the_agent() {
    let world = World::with_team();
    world.share("Alice", "team", "about marzipan");
    forbid_word(&world, "marzipan");
    let bundle = world.sign_policy(2);
    world.gateway(["policy", "publish", &bundle]).succeeded();
    world
        .agent("Alice", ["status", "--wait-policy", "2", "--timeout", PATIENCE])
        .succeeded();
    world
        .agent(
            "Alice",
            ["share", "--audience", "team", "--text", "about marzipan"],
        )
        .ended_with(BLOCKED);
}

/// B3, K6: neither the gateway nor an agent goes back to an older bundle, not even with a gateway that was
/// set back to an earlier day.
#[test]
fn rolled_back_bundle_is_refused() {
    let mut world = World::with_team();
    world.stop_gateway();
    copy_folder(&world.path("gateway"), &world.path("gateway-yesterday"));
    world.start_gateway();
    forbid_word(&world, "marzipan");
    let bundle = world.sign_policy(2);
    world.gateway(["policy", "publish", &bundle]).succeeded();
    world
        .agent("Alice", ["status", "--wait-policy", "2", "--timeout", PATIENCE])
        .succeeded();
    let old = world.path("policy-1.bundle").display().to_string();
    let refused = world.gateway(["policy", "publish", &old]);
    assert_ne!(refused.code, 0);
    assert!(refused.errors.contains("version"), "{}", refused.errors);

    world.stop_gateway();
    world.stop_agent("Alice");
    fs::remove_dir_all(world.path("gateway")).unwrap();
    fs::rename(world.path("gateway-yesterday"), world.path("gateway")).unwrap();
    world.start_gateway();
    world.start_agent("Alice");
    assert_eq!(policy_version(&world, "Alice"), 2);
    world
        .agent("Alice", ["check", "--text", "about marzipan"])
        .ended_with(BLOCKED);
    let status = world.agent("Alice", ["status"]).json();
    assert!(!status["alarms"].as_array().unwrap().is_empty(), "{status}");
}

/// K6: a bundle with one signature, or altered after it was signed, is not published.
#[test]
fn half_signed_and_tampered_bundles_are_not_published() {
    let world = World::with_team();
    let folder = world.path("policy").display().to_string();
    let half = world.path("half.bundle").display().to_string();
    let key = world.path("authors/author.key").display().to_string();
    crate::world::run(
        "sealgate",
        [
            "policy",
            "sign",
            &folder,
            "--key",
            &key,
            "--version",
            "2",
            "--out",
            &half,
        ],
    )
    .succeeded();
    assert_ne!(world.gateway(["policy", "publish", &half]).code, 0);
    let whole = world.sign_policy(2);
    let mut bytes = fs::read(&whole).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&whole, bytes).unwrap();
    assert_ne!(world.gateway(["policy", "publish", &whole]).code, 0);
    assert_eq!(policy_version(&world, "Alice"), 1);
}

/// The fleet's view of Alice's device.
fn fleet(world: &World) -> serde_json::Value {
    let status = world.gateway(["policy", "status"]).succeeded().json();
    let devices = status["devices"].as_array().unwrap();
    devices
        .iter()
        .find(|device| device["name"] == "Alice")
        .unwrap()
        .clone()
}

/// The same, once the agent has told the gateway that it came so far: it does after it has acted.
fn wait_fleet(world: &World, state: &str) -> serde_json::Value {
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        let told = fleet(world);
        if told["state"] == state {
            return told;
        }
        assert!(Instant::now() < patience, "{told}");
    }
}

fn wait_alarm(world: &World, part: &str) {
    let wait = ["status", "--wait-alarm", part, "--timeout", PATIENCE];
    world.agent("Alice", wait).succeeded();
}

fn wait_policy(world: &World, version: &str) {
    let wait = ["status", "--wait-policy", version, "--timeout", PATIENCE];
    world.agent("Alice", wait).succeeded();
}

fn publish(world: &World, version: u64) {
    let bundle = world.sign_policy(version);
    world.gateway(["policy", "publish", &bundle]).succeeded();
}

/// B6, B10: a policy whose own test does not hold is tried in a child and does not decide; the gateway knows why, and a
/// higher version that mends it decides.
#[test]
fn policy_that_fails_its_own_test_is_rejected() {
    let mut world = World::new();
    world.employ("Alice", "employees");
    wait_policy(&world, "1");
    wait_fleet(&world, "active");
    let tests = world.path("policy/tests/wrong.toml");
    let wrong = "[[test]]\nname = \"lunch is blocked\"\ndraft = { text = \"Lunch at noon.\" }\ngroup = [\"employees\"]\nexpect = { action = \"block\" }\n";
    fs::write(&tests, wrong).unwrap();
    publish(&world, 2);
    wait_alarm(&world, "lunch is blocked");
    assert_eq!(policy_version(&world, "Alice"), 1);
    let told = wait_fleet(&world, "rejected");
    assert_eq!(told["active"], 1);
    assert_eq!(
        (&told["version"], &told["state"]),
        (&2.into(), &"rejected".into())
    );
    assert_eq!(told["reason"], "test-failed");
    let found = world
        .gateway(["log", "search", "--kind", "policy-rejected"])
        .succeeded()
        .json();
    assert_eq!(found["entries"].as_array().unwrap().len(), 1);

    // It is not tried again after a restart, and the one before decides.
    world.stop_agent("Alice");
    world.start_agent("Alice");
    assert_eq!(policy_version(&world, "Alice"), 1);
    fs::remove_file(&tests).unwrap();
    publish(&world, 3);
    wait_policy(&world, "3");
    wait_fleet(&world, "active");
}

/// B7, B10, K20: three crashes after a new version: the one before decides, blocks, and the gateway is told.
#[test]
fn agent_that_crashes_returns_to_the_policy_before() {
    let mut world = World::with_team();
    wait_policy(&world, "1");
    forbid_word(&world, "marzipan");
    publish(&world, 2);
    wait_policy(&world, "2");
    for _ in 0..3 {
        assert_eq!(policy_version(&world, "Alice"), 2);
        world.kill_agent("Alice");
        world.start_agent("Alice");
    }
    assert_eq!(policy_version(&world, "Alice"), 1);
    wait_alarm(&world, "policy_rejected");
    let told = wait_fleet(&world, "rejected");
    assert_eq!(
        (&told["version"], &told["reason"]),
        (&2.into(), &"crashes".into())
    );
    assert_eq!(told["active"], 1);
    // A fourth start changes nothing.
    world.kill_agent("Alice");
    world.start_agent("Alice");
    assert_eq!(policy_version(&world, "Alice"), 1);
    let secret = "my credit card 4556737586899855";
    world
        .agent("Alice", ["share", "--audience", "team", "--text", secret])
        .ended_with(BLOCKED);
    publish(&world, 3);
    wait_policy(&world, "3");
    world
        .agent("Alice", ["check", "--text", "about marzipan"])
        .ended_with(BLOCKED);
}

/// What happens to a secret once the gateway was away for longer than the policy allows, and after it is back.
fn overdue(mode: &str, while_overdue: i32) {
    let mut world = World::new();
    world.stop_gateway();
    let file = world.path("gateway").join("gateway.toml");
    let config = fs::read_to_string(&file).unwrap();
    let config = config.replace("timestamp_lifetime_s = 86400", "timestamp_lifetime_s = 20");
    fs::write(&file, config).unwrap();
    world.start_gateway();
    world.employ("Alice", "employees");
    let file = world.path("policy/policy.toml");
    let policy = fs::read_to_string(&file).unwrap();
    let policy = policy.replace(
        "offline_mode = \"keep\"",
        &format!("offline_mode = \"{mode}\"\noffline_grace_s = 2"),
    );
    fs::write(&file, policy).unwrap();
    publish(&world, 2);
    wait_policy(&world, "2");
    world.stop_gateway();
    let secret = ["check", "--text", "my credit card 4556737586899855"];
    let shown = format!("(`{mode}`)");
    let told = if mode == "keep" {
        "enforced as before"
    } else {
        &shown
    };
    wait_alarm(&world, told);
    world.agent("Alice", secret).ended_with(while_overdue);
    let status = world.agent("Alice", ["status"]).json();
    assert_ne!(status["policy_freshness"], "fresh");
    assert_eq!(status["policy_version"], 2);
    // Also after a restart without the gateway.
    world.stop_agent("Alice");
    world.start_agent("Alice");
    world.agent("Alice", secret).ended_with(while_overdue);
}

/// B4
#[test]
fn overdue_policy_that_keeps_still_blocks() {
    overdue("keep", BLOCKED);
}

/// B4
#[test]
fn overdue_policy_that_is_strict_seals_nothing() {
    overdue("strict", NO_POLICY);
}

/// B4
#[test]
fn overdue_policy_that_audits_stops_nothing() {
    overdue("audit", 0);
}
