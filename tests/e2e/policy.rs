//! Policy on its way to the devices.

use std::fs;

use crate::world::{BLOCKED, PATIENCE, World, copy_folder};

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
