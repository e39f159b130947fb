//! A hostile network (H3, H5, H6): what a peer may do to the gateway before anybody asks who it is, and after.

use std::io::ErrorKind;
use std::num::NonZeroU32;
use std::time::Duration;

use gateway_api::v1::sync::{InboxBody, SyncResponse};
use policies::terms::AudienceId;
use rustls::SupportedProtocolVersion;

use super::*;
use crate::config::{Config, Rate};
use crate::jobs;
use crate::store::inbox;

/// A limit against hanging, not a measure.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than any head that the gateway takes.
const LONG: usize = 256 * 1024;

/// A gateway that waits for nobody longer than a second.
async fn impatient() -> World {
    World::with(|config| {
        config.network.handshake_s = 1;
        config.network.patience_s = 1;
    })
    .await
}

fn tcp(world: &World) -> TcpStream {
    let stream = TcpStream::connect(world.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A TLS connection with this identity, or none.
fn wire(world: &World, identity: Option<&Identity>) -> Wire {
    let config = Arc::new(tls(world.gateway.keys.authority.certificate_pem(), identity));
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(config, name).unwrap();
    Wire(StreamOwned::new(connection, tcp(world)))
}

/// Says that nothing more is sent; then everything that comes.
fn finish(mut wire: Wire) -> String {
    wire.0.conn.send_close_notify();
    // The gateway may have ended the connection already.
    let _ = wire.0.flush();
    read_to_end(&mut wire)
}

/// Everything that comes until the peer ends the connection.
fn read_to_end(wire: &mut Wire) -> String {
    let mut all = Vec::new();
    match wire.0.read_to_end(&mut all) {
        Ok(_) => {}
        // A reset, or an end without the TLS alert: an end.
        Err(error) if error.kind() != ErrorKind::WouldBlock && error.kind() != ErrorKind::TimedOut => {}
        Err(error) => panic!("the connection stays open: {error}"),
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// In a thread of its own: the gateway works on while this waits.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn statuses(answer: &str) -> Vec<u16> {
    let heads = answer.split("HTTP/1.1 ").skip(1);
    let status = |head: &str| head.split(' ').next().unwrap().parse().unwrap();
    heads.map(status).collect()
}

/// H3: a body that begins and does not go on.
#[tokio::test]
async fn body_that_pauses_is_given_up() {
    let world = impatient().await;
    let device = world.device().await;
    let mut wire = wire(&world, Some(&device.identity));
    let answer = beside(move || {
        let head = "POST /v1/sync HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{";
        wire.0.write_all(head.as_bytes()).unwrap();
        read_to_end(&mut wire)
    })
    .await;
    assert_eq!(statuses(&answer), [408], "{answer}");
    assert!(answer.contains("body-too-slow"), "{answer}");
}

/// H3: nothing after the connection, half of a TLS handshake, TLS and no request.
#[tokio::test]
async fn connection_on_which_nothing_happens_is_ended() {
    let world = impatient().await;
    let (mut silent, mut half) = (tcp(&world), tcp(&world));
    let mut idle = wire(&world, None);
    beside(move || {
        while idle.0.conn.is_handshaking() {
            idle.0.conn.complete_io(&mut idle.0.sock).unwrap();
        }
        half.write_all(&[0x16, 3, 1, 2, 0]).unwrap();
        for stream in [&mut silent, &mut half] {
            let read = stream.read(&mut [0]);
            assert!(matches!(&read, Ok(0)) || read.is_err_and(|error| error.kind() != ErrorKind::WouldBlock));
        }
        let answer = read_to_end(&mut idle);
        assert!(matches!(statuses(&answer)[..], [] | [408]), "{answer}");
    })
    .await;
}

/// H3: whoever asks and never takes the answers loses the connection, and with it what waits for it.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn reader_that_takes_nothing_is_dropped() {
    let world = impatient().await;
    let device = world.device().await;
    let mut wire = wire(&world, Some(&device.identity));
    let ended = beside(move || {
        let request = "GET /v1/people HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(1_000);
        loop {
            if let Err(error) = wire.0.write_all(request.as_bytes()) {
                return error.kind();
            }
        }
    })
    .await;
    assert!(
        matches!(ended, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        "{ended}"
    );
}

/// Requests whose end two readers may see in different places (RFC 9112, section 11.2), each with another request hidden
/// behind the end that one of them sees.
fn ambiguous() -> Vec<(&'static str, String)> {
    let post = |headers: &str, body: &str| {
        format!("POST /v1/sync HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n\r\n{body}")
    };
    let hidden = "GET /hidden HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let chunked = format!("0\r\n\r\n{hidden}");
    vec![
        (
            "length and chunks",
            post("content-length: 4\r\ntransfer-encoding: chunked", &chunked),
        ),
        (
            "chunks and length",
            post("transfer-encoding: chunked\r\ncontent-length: 4", &chunked),
        ),
        (
            "two lengths",
            post("content-length: 2\r\ncontent-length: 0", &format!("{{}}{hidden}")),
        ),
        (
            "two lengths in one",
            post("content-length: 2, 0", &format!("{{}}{hidden}")),
        ),
        (
            "signed length",
            post("content-length: +2", &format!("{{}}{hidden}")),
        ),
        (
            "negative length",
            post("content-length: -2", &format!("{{}}{hidden}")),
        ),
        (
            "hexadecimal length",
            post("content-length: 0x2", &format!("{{}}{hidden}")),
        ),
        ("empty length", post("content-length: ", &format!("{{}}{hidden}"))),
        (
            "space before the colon",
            post("transfer-encoding : chunked", &chunked),
        ),
        ("folded line", post("transfer-encoding:\r\n chunked", &chunked)),
        ("unknown coding", post("transfer-encoding: xchunked", &chunked)),
        (
            "chunks not last",
            post("transfer-encoding: chunked, identity", &chunked),
        ),
        (
            "chunks twice",
            post(
                "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
                &chunked,
            ),
        ),
        (
            "signed chunk",
            post(
                "transfer-encoding: chunked",
                &format!("+2\r\n{{}}\r\n0\r\n\r\n{hidden}"),
            ),
        ),
        (
            "prefixed chunk",
            post(
                "transfer-encoding: chunked",
                &format!("0x2\r\n{{}}\r\n0\r\n\r\n{hidden}"),
            ),
        ),
        (
            "chunk that overflows",
            post(
                "transfer-encoding: chunked",
                &format!("10000000000000002\r\n{{}}\r\n0\r\n\r\n{hidden}"),
            ),
        ),
        (
            "chunk without its end",
            post(
                "transfer-encoding: chunked",
                &format!("2\r\n{{}}0\r\n\r\n{hidden}"),
            ),
        ),
        (
            "chunk that ends with a bare line feed",
            post("transfer-encoding: chunked", &format!("2\n{{}}\n0\n\n{hidden}")),
        ),
        (
            "NUL in a header",
            post("x: \0\r\ncontent-length: 2", &format!("{{}}{hidden}")),
        ),
        (
            "bare carriage return",
            post("x: y\rcontent-length: 2", &format!("{{}}{hidden}")),
        ),
        (
            "chunks in HTTP/1.0",
            format!(
                "POST /v1/sync HTTP/1.0\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n{chunked}"
            ),
        ),
        (
            "no host",
            format!("POST /v1/sync HTTP/1.1\r\ncontent-length: 2\r\n\r\n{{}}{hidden}"),
        ),
        (
            "two hosts",
            post("host: elsewhere\r\ncontent-length: 2", &format!("{{}}{hidden}")),
        ),
    ]
}

/// H3: what is ambiguous is refused and ends the connection, so that nothing can be hidden behind it.
#[tokio::test]
async fn ambiguous_requests_are_refused_and_end_the_connection() {
    let world = impatient().await;
    let device = world.device().await;
    let mut taken = Vec::new();
    for (what, request) in ambiguous() {
        let mut wire = wire(&world, Some(&device.identity));
        let answer = beside(move || {
            // The gateway may end the connection before it has read everything.
            let _ = wire.0.write_all(request.as_bytes());
            finish(wire)
        })
        .await;
        if !matches!(statuses(&answer)[..], [] | [400 | 501 | 505]) {
            taken.push((what, statuses(&answer)));
        }
    }
    assert_eq!(taken, [], "taken, or answered twice");
}

/// RFC 9112, section 2.2 lets a reader take a bare line feed as the end of a line, and actix does. What that could hide
/// from another reader is asked under the same identity: a connection has one, from the device to the gateway.
#[tokio::test]
async fn bare_line_feed_ends_a_line_and_changes_no_identity() {
    let world = impatient().await;
    for (identity, expected) in [
        (None, [401, 401]),
        (Some(world.device().await.identity), [404, 404]),
    ] {
        let mut wire = wire(&world, identity.as_ref());
        let story = "/v1/stories/05050505050505050505050505050505";
        let request = format!("GET {story} HTTP/1.1\nhost: localhost\n\n").repeat(2);
        let answer = beside(move || {
            wire.0.write_all(request.as_bytes()).unwrap();
            finish(wire)
        })
        .await;
        assert_eq!(statuses(&answer), expected, "{answer}");
    }
}

/// H3: everything has a bound, and whoever exceeds it is told.
#[tokio::test]
async fn oversized_requests_are_refused() {
    let world = impatient().await;
    let device = world.device().await;
    let long = "x".repeat(LONG);
    let many: String = (0..1_000).map(|number| format!("x-{number}: y\r\n")).collect();
    let chunks = format!("10000\r\n{}\r\n", "x".repeat(0x10000)).repeat(2);
    let cases = [
        (
            format!("GET /{long} HTTP/1.1\r\nhost: localhost\r\n\r\n"),
            &[400, 414, 431][..],
        ),
        (
            format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {long}\r\n\r\n"),
            &[400, 431],
        ),
        (
            format!("GET / HTTP/1.1\r\nhost: localhost\r\n{many}\r\n"),
            &[400, 431],
        ),
        (
            format!("POST /v1/sync HTTP/1.1\r\nhost: localhost\r\ncontent-length: {LONG}\r\n\r\n{long}"),
            &[413],
        ),
        (
            format!(
                "POST /v1/sync HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"
            ),
            &[413],
        ),
        (
            format!(
                "PUT /v1/blobs/{} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 999999999999\r\n\r\nx",
                "05".repeat(32)
            ),
            &[400, 413],
        ),
    ];
    for (request, expected) in cases {
        let mut wire = wire(&world, Some(&device.identity));
        let answer = beside(move || {
            // The gateway may end the connection before it has read everything.
            let _ = wire.0.write_all(request.as_bytes());
            finish(wire)
        })
        .await;
        let found = statuses(&answer);
        assert!(
            found.is_empty() || found.iter().all(|status| expected.contains(status)),
            "{found:?} instead of {expected:?}"
        );
    }
    assert_eq!(world.reach(&device, &device.identity).await, "ok");
}

/// H6: what is above the rate is answered 429 with the time to wait; other work of the device, and other devices, go on.
#[tokio::test]
async fn device_that_asks_too_often_is_told_when_to_come_again() {
    let world = World::with(|config| {
        config.rates.poll = Rate {
            per_s: NonZeroU32::MIN,
            burst: NonZeroU32::MIN,
        };
    })
    .await;
    let (device, other) = (world.device().await, world.device().await);
    assert_eq!(world.reach(&device, &device.identity).await, "ok");
    let client = client(&device.token.ca_pem, Some(&device.identity));
    let url = format!("https://localhost:{}{}", world.address.port(), api::sync::PATH);
    let refused = client
        .post(url)
        .json(&SyncRequest::default())
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["retry-after"], "1");
    let problem: Problem = refused.json().await.unwrap();
    assert_eq!(problem.code.as_str(), "rate-limited");
    assert_eq!(world.reach(&other, &other.identity).await, "ok");
    let people = format!("https://localhost:{}/v1/people", world.address.port());
    assert_eq!(client.get(people).send().await.unwrap().status(), StatusCode::OK);
}

/// H6: strangers without a certificate do not keep devices out.
#[tokio::test]
async fn strangers_that_flood_keep_no_device_out() {
    let world = World::with(|config| {
        config.rates.stranger = Rate {
            per_s: NonZeroU32::MIN,
            burst: NonZeroU32::new(3).unwrap(),
        };
    })
    .await;
    let device = world.device().await;
    let stranger = client(&device.token.ca_pem, None);
    let url = format!("https://localhost:{}/v1/enroll", world.address.port());
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(stranger.post(&url).body("{").send().await.unwrap().status());
    }
    assert!(answers.contains(&StatusCode::TOO_MANY_REQUESTS), "{answers:?}");
    assert_eq!(world.reach(&device, &device.identity).await, "ok");
}

fn try_version(world: &World, version: &'static SupportedProtocolVersion) -> bool {
    let mut roots = RootCertStore::empty();
    let ca = world.gateway.keys.authority.certificate_pem();
    roots
        .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = tcp(world);
    while connection.is_handshaking() {
        if connection.complete_io(&mut stream).is_err() {
            return false;
        }
    }
    true
}

/// TLS 1.3 alone, unless the operator says otherwise.
#[tokio::test]
async fn older_tls_is_spoken_only_where_the_operator_says_so() {
    for tls12 in [false, true] {
        let world = World::with(|config| config.listen.tls12 = tls12).await;
        let world = Arc::new(world);
        let asked = Arc::clone(&world);
        let spoken = beside(move || {
            [&rustls::version::TLS13, &rustls::version::TLS12].map(|version| try_version(&asked, version))
        })
        .await;
        assert_eq!(spoken, [true, tls12]);
    }
}

fn certificate(wire: &mut Wire) -> CertificateDer<'static> {
    assert_eq!(wire.call("GET", "/nothing").0, 404);
    wire.0.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

/// H5: another key or other names while the gateway serves: new connections see them, open ones go on. Files that cannot
/// be used change nothing and are told.
#[tokio::test]
async fn certificate_is_replaced_while_connections_go_on() {
    let world = World::new().await;
    let mut open = wire(&world, None);
    let (first, mut open) = beside(move || (certificate(&mut open), open)).await;
    let path = world.layout.key("server.key");

    std::fs::write(&path, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    jobs::round(&world.gateway).await;

    let mut fresh = wire(&world, None);
    let second = beside(move || certificate(&mut fresh)).await;
    assert_ne!(first, second);
    let still = beside(move || open.call("GET", "/nothing").0).await;
    assert_eq!(still, 404);

    std::fs::write(&path, "no key").unwrap();
    jobs::round(&world.gateway).await;
    let mut fresh = wire(&world, None);
    assert_eq!(beside(move || certificate(&mut fresh)).await, second);
    assert!(world.page().await.contains("`keys/server.key` cannot be used"));

    std::fs::write(&path, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    jobs::round(&world.gateway).await;
    assert!(!world.page().await.contains("cannot be used"));
}

/// K15: acknowledgements that come twice, or late and behind a later one, bring nothing back and lose nothing.
#[tokio::test]
async fn acknowledgements_come_in_any_order() {
    let world = World::new().await;
    let device = world.device().await;
    let id = device.enrolled.device;
    let mut write = world.gateway.store.write().await.unwrap();
    for number in 0..3 {
        let body = InboxBody::Renew {
            group: AudienceId::from_bytes([number; 16]),
        };
        let body = serde_json::to_vec(&body).unwrap();
        inbox::put(&mut write, id, &body, world.gateway.clock.now_s())
            .await
            .unwrap();
    }
    write.commit().await.unwrap();
    let client = client(&device.token.ca_pem, Some(&device.identity));
    for (acknowledged, expected) in [
        (0, vec![1, 2, 3]),
        (2, vec![3]),
        (2, vec![3]),
        (1, vec![3]),
        (3, vec![]),
        (0, vec![]),
    ] {
        let request = SyncRequest {
            inbox: acknowledged,
            ..SyncRequest::default()
        };
        let (_, answer) = world
            .call(&client, Method::POST, api::sync::PATH, &json!(request))
            .await;
        let response: SyncResponse = serde_json::from_value(answer).unwrap();
        let sequences: Vec<u64> = response.inbox.iter().map(|item| item.sequence).collect();
        assert_eq!(sequences, expected, "after {acknowledged}");
    }
}

/// H7: a request that the gateway has begun to take when it is stopped is answered.
#[tokio::test]
async fn request_in_flight_at_a_stop_is_answered() {
    let world = World::new().await;
    let device = world.device().await;
    let body = serde_json::to_string(&SyncRequest::default()).unwrap();
    let mut wire = wire(&world, Some(&device.identity));
    let head = format!(
        "POST /v1/sync HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut wire = beside(move || {
        wire.0.write_all(head.as_bytes()).unwrap();
        let mut answer = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
        wire.0.read_exact(&mut answer).unwrap();
        wire
    })
    .await;
    let stopping = tokio::spawn(world.servers[0].0.stop(true));
    let answer = beside(move || {
        wire.0.write_all(body.as_bytes()).unwrap();
        read_to_end(&mut wire)
    })
    .await;
    assert_eq!(statuses(&answer), [200], "{answer}");
    stopping.await.unwrap();
}

impl World {
    /// As [`World::new`], with another configuration.
    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::new_with(|layout| {
            let mut config = Config::read(&layout.config()).unwrap();
            change(&mut config);
            std::fs::write(layout.config(), toml::to_string(&config).unwrap()).unwrap();
        })
        .await
    }
}
