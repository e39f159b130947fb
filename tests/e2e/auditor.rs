//! The auditor's work: searches that say whether they are complete, exports and pins that verify elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::world::{BLOCKED, World, copy_folder, files_below, run};

fn search(world: &World, flags: &[&str]) -> Value {
    let arguments = ["log", "search"].iter().chain(flags).copied();
    world.gateway(arguments).succeeded().json()
}

fn found(world: &World, flags: &[&str]) -> usize {
    search(world, flags)["entries"].as_array().unwrap().len()
}

fn ledger_key(world: &World) -> String {
    fs::read_to_string(world.path("gateway/ledger/key"))
        .unwrap()
        .trim()
        .to_owned()
}

/// Alice shares twice and is blocked once, Bob shares once; all of it has reached the ledger.
fn world_with_a_past() -> World {
    let world = World::with_team();
    for text in ["one", "two"] {
        let story = world.share("Alice", "team", text);
        world.received("Bob", &story);
    }
    world.share("Bob", "team", "three");
    let card = "my card is 4111 1111 1111 1111, cvv 123";
    world
        .agent("Alice", ["share", "--audience", "team", "--text", card])
        .ended_with(BLOCKED);
    for name in ["Alice", "Bob"] {
        let wait = ["status", "--wait-spool", "--timeout", crate::world::PATIENCE];
        world.agent(name, wait).succeeded();
    }
    world
}

/// L9: each filter finds what it should and no more, and each search is itself an entry, made before the answer.
#[test]
fn search_narrows_and_is_recorded() {
    let world = world_with_a_past();
    let relay = |flags: &[&str]| found(&world, &[&["--kind", "relay"], flags].concat());
    assert_eq!(relay(&[]), 3);
    assert_eq!(relay(&["--person", "Alice"]), 2);
    let one = search(&world, &["--kind", "relay", "--person", "Bob"]);
    let entry = &one["entries"][0]["payload"];
    let text = |field: &str| entry[field].as_str().unwrap().to_owned();
    assert_eq!(relay(&["--person", &text("person")]), 1);
    assert_eq!(relay(&["--device", &text("device")]), 1);
    assert_eq!(relay(&["--audience", &text("audience")]), 3);
    assert_eq!(relay(&["--app", &text("app")]), 3);
    assert_eq!(relay(&["--policy-version", "1"]), 3);
    assert_eq!(relay(&["--policy-version", "2"]), 0);
    let at_s = one["entries"][0]["at_s"].as_u64().unwrap();
    assert_eq!(relay(&["--person", "Bob", "--since", &at_s.to_string()]), 1);
    assert_eq!(relay(&["--person", "Bob", "--until", &at_s.to_string()]), 0);
    assert_eq!(relay(&["--since", "2099-01-01T00:00:00Z"]), 0);

    let blocked = search(&world, &["--kind", "event", "--verdict", "block"]);
    let event = &blocked["entries"][0]["payload"]["event"];
    let rule = event["rules"][0].as_str().unwrap();
    assert_eq!(found(&world, &["--kind", "event", "--rule", rule]), 1);
    if let Some(label) = event["labels"][0].as_str() {
        assert_eq!(found(&world, &["--kind", "event", "--label", label]), 1);
    }
    assert_eq!(found(&world, &["--kind", "event", "--label", "no-such-label"]), 0);

    let reads = search(&world, &["--kind", "log-read"]);
    let reads = reads["entries"].as_array().unwrap();
    let about_bob = reads
        .iter()
        .filter(|read| read["payload"]["search"]["person"] == entry["person"])
        .count();
    assert_eq!(about_bob, 4);
    let refused = world.gateway(["log", "search", "--kind", "relais"]).ended_with(1);
    assert!(refused.errors.contains("kinds are"), "{}", refused.errors);
}

/// Never silently cut: pages together cover exactly the ledger that the first one saw, through the socket and with the
/// lock (K34), and the answer says so.
#[test]
fn pages_together_are_complete() {
    let mut world = world_with_a_past();
    let whole = search(&world, &["--kind", "relay"]);
    assert_eq!(whole["complete"], true);
    assert_eq!(whole["coverage"]["to"], whole["coverage"]["tree_size"]);

    let first = search(&world, &["--kind", "relay", "--limit", "1"]);
    assert_eq!(
        (&first["complete"], &first["more"]),
        (&Value::from(false), &Value::from(true))
    );
    world.share("Bob", "team", "four, after the first page");
    world.stop_gateway();
    let (mut count, mut from) = (1, first["coverage"]["to"].clone());
    let mut page = first;
    while let Some(next) = page["next"].as_str() {
        page = search(&world, &["--kind", "relay", "--limit", "1", "--page", next]);
        assert_eq!(page["coverage"]["from"], from);
        from = page["coverage"]["to"].clone();
        count += page["entries"].as_array().unwrap().len();
    }
    assert_eq!(count, 3, "a story of after the first page is in none of them");
    assert_eq!(page["coverage"]["to"], page["coverage"]["tree_size"]);
    assert_eq!(found(&world, &["--kind", "relay"]), 4);
    let nonsense = world.gateway(["log", "search", "--page", "9.1"]).ended_with(1);
    assert!(nonsense.errors.contains("--page"), "{}", nonsense.errors);
}

/// W1: what was erased is still counted, and said to be what nobody can know.
#[test]
fn search_over_erased_entries_says_that_it_is_incomplete() {
    let world = world_with_a_past();
    world.gateway(["person", "erase", "Bob"]).succeeded();
    let by_header = search(&world, &["--kind", "relay"]);
    assert_eq!(
        (&by_header["complete"], 3),
        (&Value::from(true), by_header["entries"].as_array().unwrap().len())
    );
    let shredded = |entry: &&Value| entry["shredded"] == true;
    assert_eq!(
        by_header["entries"]
            .as_array()
            .unwrap()
            .iter()
            .filter(shredded)
            .count(),
        1
    );

    let by_payload = search(&world, &["--kind", "relay", "--app", "sealgate"]);
    assert_eq!(by_payload["entries"].as_array().unwrap().len(), 2);
    assert_eq!(by_payload["coverage"]["unreadable"], 1);
    assert_eq!(by_payload["complete"], false);
    let export = world.path("export").display().to_string();
    let exported = world
        .gateway(["log", "export", "--out", &export, "--kind", "relay"])
        .succeeded();
    assert_eq!(exported.json()["entries"], 3);
    let verified = run(
        "sealgate",
        [
            "verify",
            "--export",
            &export,
            "--key",
            &ledger_key(&world),
            "--json",
        ],
    );
    assert_eq!(verified.succeeded().json()["entries"], 3);
}

fn verify_export(folder: &Path, key: &str) -> crate::world::Answer {
    let folder = folder.display().to_string();
    run(
        "sealgate",
        ["verify", "--export", &folder, "--key", key, "--json"],
    )
}

/// The file that the verifier names.
fn wrong_file(folder: &Path, key: &str) -> String {
    let report = verify_export(folder, key).ended_with(1).json();
    assert_eq!(report["ok"], false, "{report}");
    report["file"].as_str().unwrap().to_owned()
}

/// L9: an export verifies with the ledger's key alone, whatever is changed in it is named, and it is itself an entry,
/// which it holds.
#[test]
fn export_verifies_elsewhere_and_no_byte_of_it_can_be_changed() {
    let world = world_with_a_past();
    let key = ledger_key(&world);
    let out = world.path("export");
    let answer = world
        .gateway([
            "log",
            "export",
            "--out",
            &out.display().to_string(),
            "--person",
            "Alice",
        ])
        .succeeded()
        .json();
    assert_eq!(answer["complete"], true);
    let verified = verify_export(&out, &key).succeeded().json();
    assert_eq!(verified["entries"], answer["entries"]);
    let again = world
        .gateway(["log", "export", "--out", &out.display().to_string()])
        .ended_with(1);
    assert!(again.errors.contains("exists"), "{}", again.errors);

    let files = files_below(&out);
    assert!(files.iter().any(|(path, _)| path.ends_with("policies/1.bundle")));
    for (path, original) in &files {
        let name = path.strip_prefix(&out).unwrap().display().to_string();
        for position in [0, original.len() / 3, original.len() / 2, original.len() - 1] {
            let mut flipped = original.clone();
            flipped[position] ^= 0x01;
            fs::write(path, &flipped).unwrap();
            assert_eq!(wrong_file(&out, &key), name, "byte {position}");
        }
        fs::remove_file(path).unwrap();
        assert_eq!(wrong_file(&out, &key), name, "removed");
        fs::write(path, original).unwrap();
    }
    fs::write(out.join("entries/99999"), "one more").unwrap();
    assert_eq!(wrong_file(&out, &key), "entries/99999");
    fs::remove_file(out.join("entries/99999")).unwrap();
    verify_export(&out, &key).succeeded();
    let other = fs::read_to_string(world.path("gateway/directory/key")).unwrap();
    assert_eq!(wrong_file(&out, other.trim()), "manifest.note");

    let everything = world.path("everything");
    let whole = world
        .gateway(["log", "export", "--out", &everything.display().to_string()])
        .succeeded()
        .json();
    assert_eq!(whole["entries"], whole["coverage"]["tree_size"]);
    verify_export(&everything, &key).succeeded();
    let lines = fs::read_to_string(everything.join("entries.jsonl")).unwrap();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(last["kind"], "log-export");
}

/// Cloudflare's `tlog_tiles` and `signed_note` accept the proof of an exported entry.
#[test]
fn a_stranger_checks_an_exported_proof() {
    let world = world_with_a_past();
    let out = world.path("export");
    world
        .gateway([
            "log",
            "export",
            "--out",
            &out.display().to_string(),
            "--kind",
            "relay",
        ])
        .succeeded();
    let verifier = signed_note::StandardVerifier::new(&ledger_key(&world)).unwrap();
    let known = signed_note::VerifierList::new(vec![Box::new(verifier)]);
    let mut checked = 0;
    for (path, entry) in files_below(&out.join("entries")) {
        let index = path.file_name().unwrap().to_str().unwrap();
        let proof = fs::read_to_string(out.join(format!("proofs/{index}.tlog-proof"))).unwrap();
        let (proof, note) = proof.split_once("\n\n").unwrap();
        let note = signed_note::Note::from_bytes(note.as_bytes()).unwrap();
        assert_eq!(note.verify(&known).unwrap().0.len(), 1);
        let text = String::from_utf8(note.text().to_vec()).unwrap();
        let [_, size, root] = text.lines().collect::<Vec<_>>()[..] else {
            panic!("{text}");
        };
        let mut lines = proof.lines();
        assert_eq!(lines.next(), Some("c2sp.org/tlog-proof@v1"));
        assert_eq!(lines.next(), Some(format!("index {index}").as_str()));
        let hash = |text: &str| tlog_tiles::Hash::parse_hash(text).unwrap();
        let hashes: Vec<_> = lines.map(hash).collect();
        let leaf = tlog_tiles::record_hash(&entry);
        let index = index.parse().unwrap();
        tlog_tiles::check_record(&hashes, size.parse().unwrap(), hash(root), index, leaf).unwrap();
        checked += 1;
    }
    assert_eq!(checked, 3);
}

fn pin(world: &World, gateway: &Path, name: &str) -> PathBuf {
    let out = world.path(name);
    let folder = gateway.display().to_string();
    run(
        "sealgate",
        [
            "log",
            "pin",
            "--dir",
            &folder,
            "--out",
            &out.display().to_string(),
        ],
    )
    .succeeded();
    out
}

fn verify_pinned(log: &Path, pin: &Path) -> crate::world::Answer {
    let (log, pin) = (log.display().to_string(), pin.display().to_string());
    run("sealgate", ["verify", &log, "--pin", &pin, "--json"])
}

/// L3: against a checkpoint that was kept elsewhere, a log that grew verifies; one that shrank, and one with another
/// past under the same key, are refused with what to do.
#[test]
fn pinned_checkpoint_tells_a_rewritten_log() {
    let mut world = World::with_team();
    world.share("Alice", "team", "before");
    let ledger = world.path("gateway/ledger");
    world.gateway(["log", "publish"]).succeeded();
    let earlier = world.path("earlier");
    copy_folder(&ledger, &earlier);
    let first = pin(&world, &world.path("gateway"), "first.pin");
    world.share("Alice", "team", "after");
    world.gateway(["log", "publish"]).succeeded();
    let report = verify_pinned(&ledger, &first).succeeded().json();
    assert!(
        report["size"].as_u64() > report["pinned_size"].as_u64(),
        "{report}"
    );

    let smaller = verify_pinned(&earlier, &first).ended_with(1).json();
    let fault = smaller["fault"].as_str().unwrap();
    assert!(
        fault.contains("when it was pinned") && fault.contains("Keep this log and the pin"),
        "{fault}"
    );

    world.stop_gateway();
    let forked = world.path("forked");
    copy_folder(&world.path("gateway"), &forked);
    world.gateway(["person", "add", "Carol"]).succeeded();
    let second = pin(&world, &world.path("gateway"), "second.pin");
    let folder = forked.display().to_string();
    for name in ["Dave", "Erin", "Frank"] {
        run("sealgate", ["person", "add", name, "--dir", &folder]).succeeded();
    }
    verify_pinned(&ledger, &second).succeeded();
    let fork = verify_pinned(&forked.join("ledger"), &second)
        .ended_with(1)
        .json();
    let fault = fork["fault"].as_str().unwrap();
    assert!(fault.contains("does not begin with"), "{fault}");
    verify_pinned(&forked.join("ledger"), &first).succeeded();

    let changed = fs::read_to_string(&second)
        .unwrap()
        .replace("acme/ledger", "acme/other");
    fs::write(&second, changed).unwrap();
    let refused = verify_pinned(&ledger, &second).ended_with(1);
    assert!(refused.errors.contains("is no pin"), "{}", refused.errors);
}
