//! Backup and restore: nothing comes back, nothing forks, and there is a way on.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::world::{Answer, KEPT, PATIENCE, World, contains, files_below, run};

struct Backup {
    folder: PathBuf,
    key: PathBuf,
    subject_keys: PathBuf,
}

impl Backup {
    fn make(world: &World) -> (Self, Value) {
        let backup = Self {
            folder: world.path("backup"),
            key: world.path("backup.key"),
            subject_keys: world.path("subject-keys.sealed"),
        };
        let [out, key, subjects] = backup.texts();
        let flags = [
            "backup",
            "--out",
            &out,
            "--key",
            &key,
            "--subject-keys",
            &subjects,
        ];
        let made = world.gateway(flags).succeeded().json();
        (backup, made)
    }

    fn texts(&self) -> [String; 3] {
        [&self.folder, &self.key, &self.subject_keys].map(|path| path.display().to_string())
    }

    fn restore(&self, to: &Path) -> Answer {
        let ([from, key, subjects], to) = (self.texts(), to.display().to_string());
        let flags = [
            "restore",
            "--from",
            &from,
            "--key",
            &key,
            "--subject-keys",
            &subjects,
            "--dir",
            &to,
            "--json",
        ];
        run("sealgate", flags)
    }

    /// The disaster: the gateway's folder is gone, and comes back from the backup.
    fn put_back(&self, world: &mut World) {
        world.stop_gateway();
        fs::rename(world.path("gateway"), world.path("gateway-lost")).unwrap();
        self.restore(&world.path("gateway")).succeeded();
        world.start_gateway();
    }
}

fn confirm(world: &World) -> Answer {
    world.gateway(["restore", "--confirm"])
}

fn verify(world: &World, log: &str, pin: &Path) -> Answer {
    world.gateway(["log", "publish"]).succeeded();
    let (log, pin) = (
        world.path("gateway").join(log).display().to_string(),
        pin.display().to_string(),
    );
    run("sealgate", ["verify", &log, "--pin", &pin, "--json"])
}

fn pin(world: &World, log: &str) -> PathBuf {
    let path = world.path(&format!("{log}.pin"));
    let out = path.display().to_string();
    world
        .gateway(["log", "pin", "--log", log, "--out", &out])
        .succeeded();
    path
}

fn held(world: &World, story: &str) -> u64 {
    let shown = world.gateway(["story", "show", story]).succeeded().json();
    shown["envelope_bytes"].as_u64().unwrap()
}

/// Agents start again, as after a night: they do not wait out their pauses.
fn restart_agents(world: &mut World) {
    for name in ["Alice", "Bob"] {
        world.stop_agent(name);
        world.start_agent(name);
    }
}

/// K7, K18, K27: what is in a backup, and what is not.
#[test]
fn backup_holds_no_story_and_no_key_in_clear() {
    let world = World::with_team();
    let file = world.path("plan.txt");
    fs::write(&file, "the plan of the hedgehogs").unwrap();
    let share = [
        "share",
        "--audience",
        "team",
        "--text",
        "unexpired",
        "--file",
        file.to_str().unwrap(),
    ];
    world.agent("Alice", share).succeeded();
    let gateway = world.path("gateway");
    let (backup, made) = Backup::make(&world);
    assert_eq!(made["subject_keys"], true);
    let taken = files_below(&backup.folder);
    let mut secrets = Vec::new();
    for folder in ["bucket-keys", "subject-keys"] {
        secrets.extend(
            files_below(&gateway.join(folder))
                .into_iter()
                .map(|(_, bytes)| bytes[..32].to_vec()),
        );
    }
    for (path, bytes) in files_below(&gateway.join("keys")) {
        if path.extension().is_some_and(|extension| extension == "key") {
            let pem = String::from_utf8(bytes).unwrap();
            secrets.push(pem.lines().nth(1).unwrap().as_bytes().to_vec());
        }
    }
    let blobs = files_below(&gateway.join("blobs"));
    secrets.extend(blobs.into_iter().map(|(_, bytes)| bytes[..32].to_vec()));
    assert!(secrets.len() > 10);
    for (path, bytes) in &taken {
        for secret in &secrets {
            assert!(!contains(bytes, secret), "{}", path.display());
        }
    }
    let rows = crate::world::database::stories_with_ciphertext(&backup.folder.join("gateway.db"));
    assert_eq!(rows, (1, 0), "one story is known, none has bytes");

    let again = world
        .gateway(["backup", "--out", &backup.texts()[0], "--key", &backup.texts()[1]])
        .ended_with(1);
    assert!(again.errors.contains("exists"), "{}", again.errors);
    let inside = world.path("other");
    let key = inside.join("key").display().to_string();
    let inside = world
        .gateway(["backup", "--out", &inside.display().to_string(), "--key", &key])
        .ended_with(1);
    assert!(
        inside.errors.contains("must not lie in the backup"),
        "{}",
        inside.errors
    );
}

/// A backup that was touched, or is not whole, or meets another key, is refused before anything counts.
#[test]
fn changed_backup_is_not_restored() {
    let mut world = World::with_team();
    world.share("Alice", "team", "one");
    let (backup, _) = Backup::make(&world);
    world.stop_gateway();
    let target = world.path("restored");
    for (path, original) in files_below(&backup.folder) {
        let mut flipped = original.clone();
        let at = flipped.len() / 2;
        flipped[at] ^= 0x01;
        fs::write(&path, &flipped).unwrap();
        let refused = backup.restore(&target);
        assert_eq!(refused.code, 1, "{}", path.display());
        fs::write(&path, &original).unwrap();
        assert!(!target.exists());
    }
    let other = Backup {
        key: world.path("other.key"),
        ..Backup {
            folder: backup.folder.clone(),
            key: PathBuf::new(),
            subject_keys: backup.subject_keys.clone(),
        }
    };
    fs::write(&other.key, "00".repeat(32)).unwrap();
    let refused = other.restore(&target).ended_with(1);
    assert!(refused.errors.contains("do not open"), "{}", refused.errors);
    backup.restore(&target).succeeded();
    let onto = backup.restore(&target).ended_with(1);
    assert!(onto.errors.contains("is not overwritten"), "{}", onto.errors);
}

/// D6, K34, L9: share, back up, let one expire, take one back, restore: nothing comes back; the gateway is held until an
/// operator confirms; both logs go on where they were.
#[test]
fn restore_revives_no_story_and_continues_both_logs() {
    let mut world = World::with_team();
    let open = world.share("Alice", "team", "still open at the backup");
    let revoked = world.share("Alice", "team", "revoked after the backup");
    let short = [
        "share",
        "--audience",
        "team",
        "--text",
        "expired after the backup",
        "--ttl",
        "5s",
    ];
    let expired = world.agent("Alice", short).succeeded().json()["story"]
        .as_str()
        .unwrap()
        .to_owned();
    world.received("Bob", &revoked);
    let (ledger, directory) = (pin(&world, "ledger"), pin(&world, "directory"));
    let (backup, _) = Backup::make(&world);
    world.agent("Alice", ["revoke", &revoked]).succeeded();
    let gone = [
        "feed",
        "--wait",
        &revoked,
        "--until",
        "revoked",
        "--timeout",
        PATIENCE,
    ];
    world.agent("Bob", gone).succeeded();
    world
        .gateway(["story", "wait-purged", &expired, "--timeout", PATIENCE])
        .succeeded();

    backup.put_back(&mut world);
    let health = world.gateway(["doctor"]).ended_with(1);
    assert!(
        health.text.contains("sealgate restore --confirm"),
        "{}",
        health.text
    );
    let refused = world.gateway(["person", "add", "Carol"]).ended_with(1);
    assert!(refused.errors.contains("restore --confirm"), "{}", refused.errors);
    restart_agents(&mut world);
    let kept = ["share", "--audience", "team", "--text", "while it is held"];
    let kept = world.agent("Alice", kept).ended_with(KEPT).json()["kept"]
        .as_str()
        .unwrap()
        .to_owned();
    confirm(&world).succeeded();
    confirm(&world).ended_with(1);
    restart_agents(&mut world);

    for story in [&open, &revoked, &expired] {
        assert_eq!(held(&world, story), 0);
    }
    assert!(files_below(&world.path("gateway/blobs")).is_empty());
    verify(&world, "ledger", &ledger).succeeded();
    verify(&world, "directory", &directory).succeeded();
    let restores = world
        .gateway(["log", "search", "--kind", "restore"])
        .succeeded()
        .json();
    assert_eq!(restores["entries"].as_array().unwrap().len(), 1);

    // Everybody is behind and joins again; what was kept meanwhile is sent, and what follows arrives.
    let wait = ["pending", "--wait", &kept, "--timeout", PATIENCE];
    let drafts = world.agent("Alice", wait).succeeded().json();
    let sent = drafts["drafts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|draft| draft["id"] == kept.as_str())
        .unwrap()
        .clone();
    assert_eq!(sent["state"], "sent", "{sent}");
    let after = world.share("Alice", "team", "after the restore");
    assert_eq!(world.received("Bob", &after)["text"], "after the restore");
    assert!(!world.reads("Bob", &revoked));
    let search = world
        .gateway(["log", "search", "--kind", "relay", "--app", "sealgate"])
        .succeeded()
        .json();
    assert_eq!(
        search["entries"].as_array().unwrap().len(),
        5,
        "the record is there, and can be read"
    );
    assert_eq!(search["complete"], true);
}

/// K7: an audience that the backup does not have is lost on its members, who are told, and can be made again.
#[test]
fn audience_that_is_younger_than_the_backup_is_made_again() {
    let mut world = World::with_team();
    let (backup, _) = Backup::make(&world);
    let create = ["audience", "create", "young", "--with", "Bob"];
    world.agent("Alice", create).succeeded();
    let before = world.share("Alice", "young", "before the restore");
    world.received("Bob", &before);
    backup.put_back(&mut world);
    restart_agents(&mut world);
    confirm(&world).succeeded();
    restart_agents(&mut world);

    let refused = world.agent("Alice", ["share", "--audience", "young", "--text", "to nobody"]);

    assert!(
        refused.errors.contains("you are in no audience `young`"),
        "{}",
        refused.errors
    );
    let status = world.agent("Alice", ["status"]).succeeded();
    assert!(
        status.text.contains("does not know audience young"),
        "{}",
        status.text
    );
    world.agent("Alice", create).succeeded();
    let after = world.share("Alice", "young", "made again");
    assert_eq!(world.received("Bob", &after)["text"], "made again");
}

/// K4, B3: agents have followed the directory log further than the backup. The gateway learns it from their checkpoint,
/// refuses to go on beside it, and gets the entries back from one of them; no old policy comes into force meanwhile.
#[test]
fn restored_gateway_does_not_fork_what_agents_have_followed() {
    let mut world = World::with_team();
    let (backup, made) = Backup::make(&world);
    world.employ("Carol", "employees");
    let carol = world.agent("Carol", ["status"]).json()["device"]
        .as_str()
        .unwrap()
        .to_owned();
    world.gateway(["device", "revoke", &carol]).succeeded();
    let second = world.sign_policy(2);
    world.gateway(["policy", "publish", &second]).succeeded();
    let wait = ["status", "--wait-policy", "2", "--timeout", PATIENCE];
    world.agent("Alice", wait).succeeded();
    let directory = pin(&world, "directory");

    backup.put_back(&mut world);
    restart_agents(&mut world);
    let alarm = [
        "status",
        "--wait-alarm",
        "directory log is refused",
        "--timeout",
        PATIENCE,
    ];
    world.agent("Alice", alarm).succeeded();
    let refused = confirm(&world).ended_with(1);
    assert!(
        refused.errors.contains("sealgate-agent directory"),
        "{}",
        refused.errors
    );
    world.stop_gateway();
    world.start_gateway();
    let refused = confirm(&world).ended_with(1);
    assert!(
        refused.errors.contains("agents have followed"),
        "over a restart: {}",
        refused.errors
    );

    let file = world.path("followed.json").display().to_string();
    world.agent("Alice", ["directory", "--out", &file]).succeeded();
    let original = fs::read_to_string(&file).unwrap();
    let mut shorter: Value = serde_json::from_str(&original).unwrap();
    shorter["entries"].as_array_mut().unwrap().pop();
    fs::write(&file, shorter.to_string()).unwrap();
    world.gateway(["restore", "--directory", &file]).ended_with(1);
    fs::write(&file, &original).unwrap();
    let back = world
        .gateway(["restore", "--directory", &file])
        .succeeded()
        .json();
    assert_eq!(
        back["directory_size"].as_u64().unwrap(),
        made["directory_size"].as_u64().unwrap() + back["added"].as_u64().unwrap()
    );
    assert_eq!(back["added"], 3);
    confirm(&world).succeeded();
    verify(&world, "directory", &directory).succeeded();

    let devices = world.gateway(["device", "list"]).succeeded().json();
    let devices = devices["devices"].as_array().unwrap();
    let listed = devices
        .iter()
        .find(|device| device["device"] == carol.as_str())
        .unwrap();
    assert_eq!(listed["revoked"], true, "a revocation outlives the restore");

    let health = world.gateway(["doctor"]).ended_with(1);
    assert!(
        health.text.contains("no policy is in force"),
        "version 1 must not decide again: {}",
        health.text
    );
    let older = world.path("policy-1.bundle").display().to_string();
    world.gateway(["policy", "publish", &older]).ended_with(1);
    world.gateway(["policy", "publish", &second]).succeeded();
    restart_agents(&mut world);
    let after = world.share_at_last("Alice", "team", "under the second policy");
    assert_eq!(world.received("Bob", &after)["text"], "under the second policy");
}

/// W1, K27: what was erased stays so, although the keys that are put back are of before.
#[test]
fn restore_of_older_keys_destroys_erased_ones_again() {
    let mut world = World::with_team();
    let first = world.share("Alice", "team", "Bob is in the team");
    world.received("Bob", &first);
    world.share("Bob", "team", "about Bob");
    let (older, _) = Backup::make(&world);
    world.gateway(["person", "erase", "Bob"]).succeeded();
    let readable = |world: &World| {
        let found = world
            .gateway(["log", "search", "--kind", "relay"])
            .succeeded()
            .json();
        found["entries"][1]["shredded"] == false
    };
    assert!(!readable(&world));
    let newer = world.path("newer").display().to_string();
    world
        .gateway(["backup", "--out", &newer, "--key", &older.texts()[1]])
        .succeeded();
    let mixed = Backup {
        folder: world.path("newer"),
        ..older
    };
    mixed.put_back(&mut world);
    confirm(&world).succeeded();
    assert!(!readable(&world));
    let about_alice = world
        .gateway(["log", "search", "--person", "Alice", "--kind", "enroll"])
        .succeeded()
        .json();
    assert_eq!(
        about_alice["entries"][0]["shredded"], false,
        "only what was erased"
    );
}
