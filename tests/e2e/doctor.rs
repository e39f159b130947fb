//! Both doctors on real folders: nothing is wrong with a running world, and what is broken is found with its remedy.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;

use crate::world::{Answer, World};

/// Checks that failed, by name.
fn wrong(answer: &Answer) -> Vec<String> {
    let report = answer.json();
    let findings = report["findings"].as_array().unwrap();
    let failed: Vec<&Value> = findings.iter().filter(|finding| finding["ok"] == false).collect();
    assert_eq!(report["ok"], failed.is_empty());
    assert_eq!(answer.code, i32::from(!failed.is_empty()), "{}", answer.text);
    for finding in &failed {
        assert!(
            finding["mend"].as_str().is_some_and(|mend| !mend.is_empty()),
            "{finding}"
        );
    }
    failed
        .iter()
        .map(|finding| finding["check"].as_str().unwrap().to_owned())
        .collect()
}

fn patient(world: &World, name: &str) -> Vec<String> {
    wrong(&world.agent(name, ["doctor"]))
}

/// Breaks a file, looks, mends it.
fn with_broken<T>(file: &Path, break_it: impl FnOnce(), look: impl FnOnce() -> T) -> T {
    let (bytes, mode) = (fs::read(file).unwrap(), fs::metadata(file).unwrap().permissions());
    break_it();
    let seen = look();
    fs::write(file, bytes).unwrap();
    fs::set_permissions(file, mode).unwrap();
    seen
}

#[test]
fn gateway_that_serves_is_well_and_what_is_open_to_others_is_found() {
    let world = World::with_team();
    world.share("Alice", "team", "all is well");
    assert_eq!(wrong(&world.gateway(["doctor"])), Vec::<String>::new());
    let key = world.path("gateway/keys/acceptance.key");
    let open = || fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(
        with_broken(&key, open, || wrong(&world.gateway(["doctor"]))),
        ["permissions"]
    );
    let nowhere = world.path("nowhere").display().to_string();
    let answer = crate::world::run("sealgate", ["doctor", "--dir", &nowhere]).ended_with(1);
    assert!(answer.errors.contains("sealgate init"), "{}", answer.errors);
}

/// What the status page says, the doctor says too.
#[test]
fn gateway_without_a_policy_is_told_so() {
    let world = World::unpublished();
    let found = wrong(&world.gateway(["doctor"]));
    assert_eq!(found, ["process", "policy"]);
}

#[test]
fn agent_that_runs_is_well_and_one_that_does_not_is_told_so() {
    let mut world = World::with_team();
    assert_eq!(patient(&world, "Alice"), Vec::<String>::new());
    world.stop_agent("Alice");
    assert_eq!(patient(&world, "Alice"), ["agent"]);
    let folder = world.agent_folder("Alice");

    let key = folder.join("keys/device.key");
    let open = || fs::set_permissions(&key, fs::Permissions::from_mode(0o604)).unwrap();
    let found = with_broken(&key, open, || patient(&world, "Alice"));
    assert_eq!(found, ["permissions", "keys", "agent"]);

    let bundle = folder.join("policy/1.bundle");
    let cut = || fs::write(&bundle, "no bundle").unwrap();
    assert_eq!(
        with_broken(&bundle, cut, || patient(&world, "Alice")),
        ["agent", "policy"]
    );

    let settings = folder.join("agent.toml");
    fs::write(&settings, "colour = 3\n").unwrap();
    assert_eq!(patient(&world, "Alice"), ["settings", "agent"]);
    fs::remove_file(&settings).unwrap();

    let state = folder.join("state.db");
    let cut = || fs::write(&state, "no database").unwrap();
    let found = with_broken(&state, cut, || patient(&world, "Alice"));
    assert_eq!(found, ["agent", "state"]);

    let enrollment = folder.join("enrollment.json");
    let cut = || fs::write(&enrollment, "{}").unwrap();
    assert_eq!(
        with_broken(&enrollment, cut, || patient(&world, "Alice")),
        ["enrollment"]
    );
    world.start_agent("Alice");
    assert_eq!(patient(&world, "Alice"), Vec::<String>::new());
}

/// E4, E6: the doctor tells a gateway that is away from one that does not want this device, and names an ended certificate.
#[test]
fn agent_is_told_why_the_gateway_does_not_answer() {
    let mut world = World::with_team();
    world.stop_agent("Alice");
    let folder = world.agent_folder("Alice");
    let identity = folder.join("keys/tls.pem");
    let expire = || {
        let pair = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        let ended = params.self_signed(&pair).unwrap();
        fs::write(&identity, ended.pem() + &pair.serialize_pem()).unwrap();
    };
    let found = with_broken(&identity, expire, || patient(&world, "Alice"));
    assert_eq!(found, ["certificate", "gateway", "agent"]);

    world.stop_gateway();
    let away = world.agent("Alice", ["doctor"]);
    assert_eq!(wrong(&away), ["gateway", "agent"]);
    assert!(away.text.contains("cannot be reached"), "{}", away.text);
    world.start_gateway();

    let enrollment: Value =
        serde_json::from_slice(&fs::read(folder.join("enrollment.json")).unwrap()).unwrap();
    let device = enrollment["device"].as_str().unwrap();
    world.gateway(["device", "revoke", device]).succeeded();
    let revoked = world.agent("Alice", ["doctor"]);
    assert_eq!(wrong(&revoked), ["gateway", "agent"]);
    assert!(revoked.text.contains("has been revoked"), "{}", revoked.text);
}
