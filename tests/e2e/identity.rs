//! Certificates that are renewed, that ended while the machine slept, and identities that are not accepted any more.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agent_seal::{DeviceSigner as _, FileDeviceKey};
use gateway_api::v1::renew::{Origin, RenewRequest, RenewResponse, proof_message};
use policies::terms::{Digest, TenantId};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;

use crate::world::{BLOCKED, KEPT, PATIENCE, WAITING, World, copy_folder};

const SECRET: &str = "my credit card 4556737586899855";

/// Certificates that are issued from now on live so long, and renew themselves so long after their end.
fn set_certificates(world: &mut World, life_s: i64, window_s: i64) {
    world.stop_gateway();
    let file = world.path("gateway").join("gateway.toml");
    let mut config: toml::Table = fs::read_to_string(&file).unwrap().parse().unwrap();
    let identity: toml::Table = [
        ("certificate_lifetime_s".to_owned(), life_s.into()),
        ("renewal_window_s".to_owned(), window_s.into()),
    ]
    .into_iter()
    .collect();
    config.insert("identity".to_owned(), identity.into());
    fs::write(&file, config.to_string()).unwrap();
    world.start_gateway();
}

fn status(world: &World, name: &str) -> Value {
    world.agent(name, ["status"]).succeeded().json()
}

fn serial(world: &World, name: &str) -> String {
    status(world, name)["certificate"]["serial"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn wait_identity(world: &World, name: &str, state: &str) -> Value {
    let wait = ["status", "--wait-identity", state, "--timeout", PATIENCE];
    world.agent(name, wait).succeeded().json()
}

/// The gateway's line of Alice's device.
fn device(world: &World) -> Value {
    let list = world.gateway(["device", "list"]).succeeded().json();
    let devices = list["devices"].as_array().unwrap();
    devices
        .iter()
        .find(|device| device["name"] == "Alice")
        .cloned()
        .unwrap_or_default()
}

/// An audience of Alice and Bob.
fn team(world: &mut World) {
    world.employ("Alice", "employees");
    world.employ("Bob", "employees");
    world
        .agent("Alice", ["audience", "create", "team", "--with", "Bob"])
        .succeeded();
}

/// Shares while nothing is sent: the draft's id.
fn keep(world: &World) -> String {
    let share = ["share", "--audience", "team", "--text", "see you at noon"];
    let kept = world.agent("Alice", share).ended_with(KEPT).json();
    kept["kept"].as_str().unwrap().to_owned()
}

fn wait_sent(world: &World, draft: &str) {
    let wait = ["pending", "--wait", draft, "--timeout", PATIENCE];
    let decided = world.agent("Alice", wait).succeeded().json();
    let drafts = decided["drafts"].as_array().unwrap();
    let draft = drafts.iter().find(|listed| listed["id"] == draft).unwrap();
    assert_eq!(draft["state"], "sent");
}

/// Returns when the second is over.
fn wait_until(at_s: u64) {
    while SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() <= at_s {
        std::thread::yield_now();
    }
}

/// Renews Alice's certificate with the keys of her folder: the key with its request, and the answer.
fn renew(world: &World) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(Vec::new()).unwrap();
    let csr_pem = params.serialize_request(&key).unwrap().pem().unwrap();
    let certificate_pem = ask(world, &csr_pem);
    (key.serialize_pem() + &csr_pem, certificate_pem)
}

/// Asks for Alice's next certificate as her agent does: the answer.
fn ask(world: &World, csr_pem: &str) -> String {
    let id = device(world)["device"].as_str().unwrap().parse().unwrap();
    let device_key = fs::read(key_file(world, "Alice", "device.key")).unwrap();
    let device_key = FileDeviceKey::from_pkcs8_der(id, &device_key).unwrap();
    let message = proof_message(&TenantId::parse("acme").unwrap(), id, csr_pem);
    let request = RenewRequest {
        csr_pem: csr_pem.to_owned(),
        proof: device_key.sign(&message).unwrap().to_vec().into(),
        origin: Origin::default(),
    };
    let answer: RenewResponse = world.device("Alice").renew(&request).json().unwrap();
    answer.certificate_pem
}

/// Alice's agent is off until its certificate has ended, and starts again.
fn sleep_past_the_end(world: &mut World, window_s: i64) {
    end_certificate(world, window_s);
    world.start_agent("Alice");
}

/// Alice's agent is off, and its certificate has ended.
fn end_certificate(world: &mut World, window_s: i64) {
    world.stop_agent("Alice");
    set_certificates(world, 1, window_s);
    let (key_and_request, certificate) = renew(world);
    fs::write(
        key_file(world, "Alice", "tls.pem"),
        certificate + &key_and_request,
    )
    .unwrap();
    let ends_s = device(world)["certificate_ends_s"].as_u64().unwrap();
    set_certificates(world, 604_800, window_s);
    wait_until(ends_s);
}

fn key_file(world: &World, name: &str, file: &str) -> PathBuf {
    world.agent_folder(name).join("keys").join(file)
}

/// E4: while it runs, with another key, of which one file is left.
#[test]
fn agent_renews_its_certificate() {
    let mut world = World::new();
    set_certificates(&mut world, 10, 86_400);
    world.employ("Alice", "employees");
    let first = serial(&world, "Alice");
    let before = fs::read(key_file(&world, "Alice", "tls.pem")).unwrap();
    let wait = ["status", "--wait-renewed", &first, "--timeout", PATIENCE];
    world.agent("Alice", wait).succeeded();
    world.stop_agent("Alice");
    let after = fs::read(key_file(&world, "Alice", "tls.pem")).unwrap();
    let private = |pem: &[u8]| PrivateKeyDer::from_pem_slice(pem).unwrap();
    assert_ne!(private(&before), private(&after));
    assert!(device(&world)["key_generation"].as_u64().unwrap() >= 2);
    assert_eq!(device(&world)["quarantine"], Value::Null);
}

/// E5: an agent that was off past the end comes back by itself.
#[test]
fn agent_that_slept_past_the_end_renews() {
    let mut world = World::new();
    world.employ("Alice", "employees");
    sleep_past_the_end(&mut world, 86_400);
    let back = wait_identity(&world, "Alice", "good");
    assert_eq!(back["online"], true);
    assert_eq!(device(&world)["key_generation"], 3);
}

/// E5, E8: one that was off for too long is not accepted, says what to do, keeps the policy, and enrols again as itself.
#[test]
fn agent_that_is_not_accepted_enrols_again() {
    let mut world = World::new();
    team(&mut world);
    let own = status(&world, "Alice")["device"].clone();
    sleep_past_the_end(&mut world, 0);
    let told = wait_identity(&world, "Alice", "invalid");
    assert!(told["alarms"].to_string().contains("enroll --again"), "{told}");
    assert_eq!(told["policy_version"], 1);
    let secret = ["share", "--audience", "team", "--text", SECRET];
    world.agent("Alice", secret).ended_with(BLOCKED);
    let draft = keep(&world);

    let token = world.path("again.enrollment").display().to_string();
    world
        .gateway(["token", "add", "--person", "Alice", "--out", &token])
        .succeeded();
    world
        .agent("Alice", ["enroll", "--again", "--token-file", &token])
        .succeeded();
    let back = wait_identity(&world, "Alice", "good");
    assert_eq!(back["device"], own);
    assert!(!back["alarms"].to_string().contains("enroll --again"), "{back}");
    wait_sent(&world, &draft);
}

/// E4: what a crash cut short is finished with the same key: an answer that never came, a certificate that was not tried.
#[test]
fn renewal_that_was_cut_short_is_finished() {
    let mut world = World::new();
    world.employ("Alice", "employees");
    world.stop_agent("Alice");
    for (generation, is_answered) in [(2, false), (3, true)] {
        let (key_and_request, answer) = renew(&world);
        let certificate = if is_answered { answer } else { String::new() };
        let next = key_file(&world, "Alice", "tls-next.pem");
        fs::write(&next, certificate + &key_and_request).unwrap();
        restrict(&next);
        world.start_agent("Alice");
        wait_identity(&world, "Alice", "good");
        world.stop_agent("Alice");
        assert!(!next.exists());
        let own = fs::read_to_string(key_file(&world, "Alice", "tls.pem")).unwrap();
        assert!(own.contains(&key_and_request));
        assert_eq!(device(&world)["key_generation"], generation);
        assert_eq!(device(&world)["quarantine"], Value::Null);
    }
}

/// E4, E7: the gateway answered, the agent died before it had the answer, and the file of what it had begun is damaged or
/// lost then: it goes on with the same key, and is not taken for a copy of itself.
#[test]
fn damage_to_a_renewal_makes_no_copy_of_the_device() {
    let mut world = World::new();
    world.employ("Alice", "employees");
    end_certificate(&mut world, 86_400);
    world.stop_gateway();
    world.start_agent("Alice");
    let next = key_file(&world, "Alice", "tls-next.pem");
    let patience = Instant::now() + Duration::from_secs(60);
    while !next.exists() {
        assert!(Instant::now() < patience, "no renewal is begun");
        std::thread::yield_now();
    }
    world.kill_agent("Alice");
    world.start_gateway();
    let begun = fs::read_to_string(&next).unwrap();
    let (_, csr) = begun.split_once("-----BEGIN CERTIFICATE REQUEST-----").unwrap();
    ask(&world, &format!("-----BEGIN CERTIFICATE REQUEST-----{csr}"));
    assert_eq!(device(&world)["key_generation"], 3);

    let (kept, folder) = (world.path("kept"), world.agent_folder("Alice"));
    copy_folder(&folder, &kept);
    let flipped = |at: usize| {
        let mut bytes = begun.clone().into_bytes();
        bytes[at] ^= 1;
        Some(bytes)
    };
    let in_request = begun.len() - csr.len() / 2;
    for damaged in [
        None,
        Some(Vec::new()),
        Some(begun.as_bytes()[..begun.len() / 2].to_vec()),
        flipped(60),
        flipped(in_request),
    ] {
        fs::remove_dir_all(&folder).unwrap();
        copy_folder(&kept, &folder);
        match damaged {
            Some(bytes) => fs::write(&next, bytes).unwrap(),
            None => fs::remove_file(&next).unwrap(),
        }
        world.start_agent("Alice");
        wait_identity(&world, "Alice", "good");
        world.stop_agent("Alice");
        assert!(!next.exists());
        let own = fs::read_to_string(key_file(&world, "Alice", "tls.pem")).unwrap();
        assert!(own.contains(&begun));
        assert_eq!(device(&world)["key_generation"], 3);
        assert_eq!(device(&world)["quarantine"], Value::Null);
    }
}

fn restrict(file: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

/// E7: a second place shuts the device out, its owner and the administrator are told, drafts wait; a release lets it in.
#[test]
fn device_in_two_places_is_shut_out_until_released() {
    let mut world = World::new();
    team(&mut world);
    let elsewhere = Origin {
        machine: Some(Digest::of(b"another machine")),
        boot: Some(Digest::of(b"another start")),
    };
    // Where this machine does not tell its id, the next poll of the agent shows that there are two.
    world.device("Alice").sync_from(elsewhere);
    // A new device ends the wait of the agent's poll.
    world.employ("Carol", "employees");
    let told = wait_identity(&world, "Alice", "quarantined");
    assert!(told["alarms"].to_string().contains("quarantined"), "{told}");
    let draft = keep(&world);
    let page = world.device("Bob").page(&world.status_url);
    assert!(page.contains("sealgate device release"), "{page}");

    let id = device(&world)["device"].as_str().unwrap().to_owned();
    world.gateway(["device", "release", &id]).succeeded();
    wait_identity(&world, "Alice", "good");
    wait_sent(&world, &draft);
}

/// Adds a person, and makes a token whose device an administrator must approve: its file.
fn token_for_approval(world: &World, name: &str) -> String {
    world
        .gateway(["person", "add", name, "--group", "employees"])
        .succeeded();
    let token = world
        .path(&format!("{}.enrollment", name.to_lowercase()))
        .display()
        .to_string();
    world
        .gateway(["token", "add", "--person", name, "--out", &token, "--approval"])
        .succeeded();
    token
}

/// E1: both sides show the fingerprint of the device's own key; nothing happens before it is approved.
#[test]
fn device_waits_for_approval() {
    let mut world = World::new();
    let token = token_for_approval(&world, "Alice");
    let enroll = |world: &World| world.agent("Alice", ["enroll", "--token-file", &token]);
    let shown = enroll(&world).ended_with(WAITING).json()["fingerprint"].clone();
    let waiting = world.gateway(["device", "waiting"]).succeeded().json();
    assert_eq!(waiting["waiting"][0]["fingerprint"], shown);
    assert_eq!(enroll(&world).ended_with(WAITING).json()["fingerprint"], shown);
    assert!(device(&world).is_null());
    world
        .gateway(["device", "approve", shown.as_str().unwrap()])
        .succeeded();
    enroll(&world).succeeded();
    world.start_agent("Alice");
    wait_identity(&world, "Alice", "good");
}

/// E1, E6: a device that waited, or was approved, when its person was revoked is not approved, and does not come in.
#[test]
fn device_of_a_revoked_person_does_not_come_in() {
    let world = World::new();
    for (name, is_approved) in [("Alice", false), ("Bob", true)] {
        let token = token_for_approval(&world, name);
        let enroll = || world.agent(name, ["enroll", "--token-file", &token]);
        let shown = enroll().ended_with(WAITING).json()["fingerprint"].clone();
        let approve = ["device", "approve", shown.as_str().unwrap()];
        if is_approved {
            world.gateway(approve).succeeded();
        }
        world.gateway(["person", "revoke", name]).succeeded();
        world.gateway(approve).ended_with(1);
        let refused = enroll();
        assert!(![0, WAITING].contains(&refused.code), "{}", refused.text);
        let list = world.gateway(["device", "list"]).succeeded().json();
        assert_eq!(list["devices"], Value::Array(Vec::new()));
    }
}
