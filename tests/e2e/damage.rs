//! An agent's stored files, cut short and with a flipped bit: it starts with everything that it had, or says which file
//! is damaged and what to do. It never panics, and never takes damage for good.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::world::{World, copy_folder, files_below};

/// What is done to a file, by where in it.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Cut(usize),
    Flip(usize),
}

/// Stored files, and what a refusal says of them: which, and what to do.
const KINDS: [(&str, &[&str]); 12] = [
    ("enrollment.json", &["enrollment.json", "enrol again"]),
    ("emergency", &["emergency", "remove it"]),
    ("agent.toml", &["agent.toml", "is not valid"]),
    ("state.db-wal", &["state", "rejoin"]),
    ("state.db", &["state", "rejoin"]),
    ("keys/state.key", &["state"]),
    ("keys/leaf.key", &["leaf", "rejoin"]),
    ("keys/expiry/", &["expiry key", "move the file away"]),
    ("keys/device.key", &["device key", "enrol this device again"]),
    ("keys/tls-next.pem", &["tls-next.pem"]),
    ("keys/", &["keys/", "enrol"]),
    ("policy/", &["policy"]),
];

/// Files that hold nothing: made anew at each start.
const WITHOUT_CONTENT: [&str; 3] = ["lock", "state.db-shm", "agent.sock"];

fn damages(length: usize) -> Vec<Damage> {
    let (middle, end) = (length / 2, length.saturating_sub(1));
    let flips = [0, middle, end].map(Damage::Flip);
    [0, middle].map(Damage::Cut).into_iter().chain(flips).collect()
}

fn damage(path: &Path, damage: Damage) {
    let mut bytes = fs::read(path).unwrap();
    match damage {
        Damage::Cut(end) => bytes.truncate(end),
        Damage::Flip(at) => bytes[at] ^= 1,
    }
    fs::write(path, bytes).unwrap();
}

/// What the agent shows of what it had.
fn shown(world: &World, name: &str) -> Result<Value, String> {
    let (feed, activity) = (world.agent(name, ["feed"]), world.agent(name, ["activity"]));
    if feed.code != 0 || activity.code != 0 {
        return Err(format!("{}{}", feed.errors, activity.errors));
    }
    Ok(serde_json::json!([
        feed.json()["stories"],
        activity.json()["entries"]
    ]))
}

/// Whether this is the state of an earlier commit, which a database whose write-ahead log has lost its end cannot be told
/// from here; the gateway tells it by its mark, and the device rejoins (M7, `groups.rs`).
fn is_older(found: &Value, sound: &Value) -> bool {
    let lists = found.as_array().unwrap().iter().zip(sound.as_array().unwrap());
    let mut lists = lists.map(|(found, sound)| (found.as_array().unwrap(), sound.as_array().unwrap()));
    lists.all(|(found, sound)| found.iter().all(|entry| sound.contains(entry)))
}

/// What a renewal leaves that was cut short; what becomes of it if it is damaged after the gateway answered, `identity.rs`
/// shows.
fn begin_renewal(file: &Path) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::new(Vec::new())
        .unwrap()
        .serialize_request(&key)
        .unwrap();
    let pem = key.serialize_pem() + &request.pem().unwrap();
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .unwrap();
    file.write_all(pem.as_bytes()).unwrap();
}

#[test]
fn damaged_file_of_an_agent_is_said() {
    let mut world = World::with_team();
    let settings = world.agent_folder("Bob").join("agent.toml");
    for text in ["one", "two"] {
        let story = world.share("Alice", "team", text);
        world.received("Bob", &story);
    }
    let last = world.share("Bob", "team", "three");
    world.received("Alice", &last);
    world.agent("Bob", ["status", "--wait-spool"]).succeeded();
    world.kill_agent("Bob");
    fs::write(settings, "[outbox]\nenabled = false\n").unwrap();
    begin_renewal(&world.agent_folder("Bob").join("keys/tls-next.pem"));
    world.stop_gateway();

    let kept = world.agent_folder("Bob");
    let damaged = world.agent_folder("Damaged");
    copy_folder(&kept, &damaged);
    world.try_start_agent("Damaged").unwrap();
    let sound = shown(&world, "Damaged").unwrap();
    let (mut tried, mut faults) = (0, Vec::new());
    for (path, bytes) in files_below(&kept) {
        let name = path.strip_prefix(&kept).unwrap().to_str().unwrap();
        if WITHOUT_CONTENT.iter().any(|without| name.ends_with(without)) {
            continue;
        }
        let says = KINDS.iter().find(|(prefix, _)| name.starts_with(prefix));
        let (_, says) = says.unwrap_or_else(|| panic!("what is {name}?"));
        for done in damages(bytes.len()) {
            tried += 1;
            world.kill_agent_if_any("Damaged");
            fs::remove_dir_all(&damaged).unwrap();
            fs::remove_file(world.log_path("Damaged")).unwrap();
            copy_folder(&kept, &damaged);
            damage(&damaged.join(name), done);
            let told = match world.try_start_agent("Damaged") {
                Err(log) => log,
                Ok(()) => match shown(&world, "Damaged") {
                    Ok(found) if found == sound => {
                        // What is not needed to show what there is must still not be taken for good.
                        let status = world.agent("Damaged", ["status"]).succeeded().json();
                        let version = &status["policy_version"];
                        if name.starts_with("policy/") && *version != 0 {
                            faults.push(format!("{name} {done:?}: in force, version {version}"));
                        }
                        continue;
                    }
                    Ok(found) if name.starts_with("state.db") && is_older(&found, &sound) => continue,
                    Ok(found) => {
                        faults.push(format!("{name} {done:?}: shows other things: {found}"));
                        continue;
                    }
                    Err(told) => told,
                },
            };
            let is_said = says.iter().all(|word| told.contains(word)) && !told.contains("panicked");
            if !is_said {
                faults.push(format!("{name} {done:?}: {told}"));
            }
        }
    }
    assert!(tried > 40, "{tried}");
    assert!(
        faults.is_empty(),
        "{} of {tried}:\n{}",
        faults.len(),
        faults.join("\n")
    );
}
