//! The local API from outside: who may use it, and apps that ask for verdicts.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};

use crate::world::{World, program};

/// What an app's request is answered: status and JSON, if there is any.
struct Reply {
    status: u16,
    json: Value,
}

/// Sends one request over the agent's socket, as any program of the same user could.
fn request(socket: &Path, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let mut stream = UnixStream::connect(socket).unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    Reply {
        status,
        json: serde_json::from_str(body).unwrap_or_default(),
    }
}

/// The frame of a draft with a text, as the agent's documentation describes it.
fn frame(text: &str) -> Vec<u8> {
    let header =
        br#"{"audience":null,"labels":[],"reason":null,"accept_warning":false,"ttl_s":null,"names":[]}"#;
    let mut frame = u32::try_from(header.len()).unwrap().to_be_bytes().to_vec();
    frame.extend(header);
    frame.extend(1_u32.to_be_bytes());
    frame.extend((text.len() as u64).to_be_bytes());
    frame.extend(text.as_bytes());
    frame
}

/// Registers an app that runs from a program; its credential file, read.
fn register(world: &World, app: &str, program: &Path) -> Value {
    let file = world.register_app("Alice", app, program);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    serde_json::from_slice(&fs::read(&file).unwrap()).unwrap()
}

fn check(credential: &Value, text: &str) -> Reply {
    let bearer = format!("Bearer {}", credential["credential"].as_str().unwrap());
    let socket = credential["socket"].as_str().unwrap();
    let headers = [("authorization", bearer.as_str())];
    request(Path::new(socket), "POST", "/v1/app/check", &headers, &frame(text))
}

fn confirm(credential: &Value, receipt: &Value, content: &Value) -> Reply {
    let bearer = format!("Bearer {}", credential["credential"].as_str().unwrap());
    let socket = credential["socket"].as_str().unwrap();
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let body = json!({ "receipt": receipt, "content": content }).to_string();
    request(
        Path::new(socket),
        "POST",
        "/v1/app/confirm",
        &headers,
        body.as_bytes(),
    )
}

fn tamper(world: &World) -> Vec<(String, u64)> {
    let status = world.agent("Alice", ["status"]).succeeded().json();
    let seen = status["tamper"].as_array().unwrap();
    seen.iter()
        .map(|seen| {
            (
                seen["cause"].as_str().unwrap().to_owned(),
                seen["count"].as_u64().unwrap(),
            )
        })
        .collect()
}

/// A10: a registered app is given a verdict, and where its content may be shared as it is a receipt that
/// counts once, for this content and this app.
#[test]
fn an_app_cannot_have_one_thing_checked_and_send_another() {
    let mut world = World::new();
    world.employ("Alice", "employees");
    let own = std::env::current_exe().unwrap();
    let (app, other) = (register(&world, "ratchet", &own), register(&world, "other", &own));

    let clear = check(&app, "Lunch at 12:30");
    assert_eq!(clear.status, 200);
    let (receipt, content) = (&clear.json["receipt"], &clear.json["content"]);
    assert!(receipt.is_string());
    let card = check(&app, "my credit card 4556737586899855");
    assert_eq!(card.json["verdict"]["outcome"], "blocked");
    assert!(card.json["receipt"].is_null());

    assert_eq!(confirm(&app, receipt, &card.json["content"]).status, 403);
    assert_eq!(confirm(&other, receipt, content).status, 403);
    assert_eq!(confirm(&app, receipt, content).status, 200);
    assert_eq!(confirm(&app, receipt, content).status, 403);
    assert_eq!(tamper(&world), [("bad_receipt".to_owned(), 3)]);

    // The receipt stays spent when the agent starts again.
    world.stop_agent("Alice");
    world.start_agent("Alice");
    assert_eq!(confirm(&app, receipt, content).status, 403);
}

/// A10, A8: a credential counts with its program only, opens an app's routes only, and ends with the
/// registration; each refusal is counted and shown.
#[test]
fn a_stolen_wrong_or_ended_credential_opens_nothing() {
    let mut world = World::new();
    world.employ("Alice", "employees");
    let own = std::env::current_exe().unwrap();
    let stolen = register(&world, "stolen", &program("sealgate-agent"));
    assert_eq!(check(&stolen, "hello").status, 403);

    let app = register(&world, "ratchet", &own);
    assert_eq!(check(&app, "hello").status, 200);
    let mut wrong = app.clone();
    wrong["credential"] = json!(format!("ratchet.{}", "0".repeat(64)));
    assert_eq!(check(&wrong, "hello").status, 401);
    wrong["credential"] = json!("nobody.00");
    assert_eq!(check(&wrong, "hello").status, 401);

    let bearer = format!("Bearer {}", app["credential"].as_str().unwrap());
    let socket = Path::new(app["socket"].as_str().unwrap());
    let feed = request(
        socket,
        "GET",
        "/v1/feed",
        &[("authorization", bearer.as_str())],
        b"",
    );
    assert_eq!(feed.status, 403);
    let page = [("origin", "https://evil.example")];
    assert_eq!(request(socket, "GET", "/v1/feed", &page, b"").status, 403);

    world.agent("Alice", ["app", "remove", "ratchet"]).succeeded();
    assert_eq!(check(&app, "hello").status, 401);
    assert_eq!(
        tamper(&world),
        [
            ("browser".to_owned(), 1),
            ("wrong_credential".to_owned(), 3),
            ("wrong_program".to_owned(), 1),
            ("beyond_its_rights".to_owned(), 1),
        ]
    );
    let alarms = world.agent("Alice", ["status"]).json()["alarms"].to_string();
    assert!(
        alarms.contains("another program than the registered one"),
        "{alarms}"
    );
}

/// A8: bodies are bounded, and more connections than a user may hold are refused while the others work on.
#[test]
fn floods_are_refused_and_the_agent_works_on() {
    let mut world = World::new();
    world.employ("Alice", "employees");
    let socket = world.agent_folder("Alice").join("agent.sock");
    let headers = [("content-type", "application/json")];
    let long = json!({ "do": "create", "name": "x".repeat(300_000), "people": [] }).to_string();
    let refused = request(&socket, "POST", "/v1/audiences", &headers, long.as_bytes());
    assert_eq!(refused.status, 413);

    let mut first = UnixStream::connect(&socket).unwrap();
    assert!(ask_status(&mut first)["tamper"].as_array().unwrap().is_empty());
    let _held: Vec<UnixStream> = (0..200).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    assert_eq!(request(&socket, "GET", "/v1/status", &[], b"").status, 429);
    let status = ask_status(&mut first);
    assert_eq!(status["tamper"][0]["cause"], "too_many_connections");
}

/// `status` over a connection that stays open.
fn ask_status(stream: &mut UnixStream) -> Value {
    stream
        .write_all(b"GET /v1/status HTTP/1.1\r\nhost: agent\r\n\r\n")
        .unwrap();
    let mut answer = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        answer.read_line(&mut line).unwrap();
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    answer.read_exact(&mut body).unwrap();
    serde_json::from_slice(&body).unwrap()
}

/// A1: the socket and its folder are the owner's alone. A2, A9: no port is open, so that there is none to guess.
#[test]
fn the_agent_listens_on_its_own_socket_only() {
    let mut world = World::new();
    world.employ("Alice", "employees");
    let folder = world.agent_folder("Alice");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.join("agent.sock")), 0o600);
    assert_eq!(mode(&folder), 0o700);
    #[cfg(target_os = "linux")]
    assert_eq!(listening_sockets(world.agent_id("Alice")), 0);
}

/// How many TCP sockets of a process listen, as the kernel lists them.
#[cfg(target_os = "linux")]
fn listening_sockets(process: u32) -> usize {
    const LISTEN: &str = "0A";
    let open: Vec<String> = fs::read_dir(format!("/proc/{process}/fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .map(|target| target.display().to_string())
        .collect();
    assert!(
        open.iter().any(|target| target.starts_with("socket:")),
        "no socket at all is open"
    );
    ["tcp", "tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(format!("/proc/{process}/net/{table}")).ok())
        .flat_map(|table| table.lines().skip(1).map(str::to_owned).collect::<Vec<_>>())
        .filter(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields[3] == LISTEN && open.contains(&format!("socket:[{}]", fields[9]))
        })
        .count()
}
