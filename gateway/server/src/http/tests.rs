//! Identities of devices over real TLS, by a clock that the test moves.

mod network;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::dev::ServerHandle;
use gateway_api::bytes::Bytes;
use gateway_api::enrollment::EnrollmentFile;
use gateway_api::error::Problem;
use gateway_api::v1::enroll::{
    EnrollRequest, EnrollResponse, Waiting, binding_digest, fingerprint, proof_message,
};
use gateway_api::v1::renew::{Origin, RenewRequest, RenewResponse};
use gateway_api::v1::sync::SyncRequest;
use gateway_api::v1::{self as api, renew};
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use policies::terms::{AudienceClass, DeviceId, Digest, TenantId};
use rcgen::{CertificateParams, KeyPair};
use reqwest::Method;
use reqwest::StatusCode;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::server;
use crate::admin::tokens::NewToken;
use crate::admin::{self, Command};
use crate::cli::init;
use crate::clock::Clock;
use crate::config::layout::Layout;
use crate::domain::gateway::Gateway;
use crate::domain::search::Filter;
use crate::{limits, status};

const DAY_S: u64 = 86_400;
const LIFE_S: u64 = 7 * DAY_S;

/// Every route that asks for a device.
const ROUTES: [(&str, &str); 30] = [
    ("POST", "/v1/renew"),
    ("GET", "/v1/people"),
    ("GET", "/v1/directory/checkpoint"),
    ("POST", "/v1/directory/checkpoint"),
    ("GET", "/v1/directory/tile/entries/000"),
    ("POST", "/v1/key-packages"),
    ("GET", "/v1/key-packages"),
    ("POST", "/v1/key-packages/claim"),
    ("POST", "/v1/groups"),
    ("GET", "/v1/groups/05050505050505050505050505050505"),
    ("POST", "/v1/groups/05050505050505050505050505050505/commits"),
    ("POST", "/v1/groups/05050505050505050505050505050505/proposals"),
    ("GET", "/v1/groups/05050505050505050505050505050505/public-state"),
    (
        "POST",
        "/v1/groups/05050505050505050505050505050505/external-commit",
    ),
    ("POST", "/v1/groups/05050505050505050505050505050505/readmission"),
    ("POST", "/v1/rejoin"),
    ("POST", "/v1/groups/05050505050505050505050505050505/stories"),
    ("POST", "/v1/device-lists"),
    ("GET", "/v1/device-lists/05050505050505050505050505050505"),
    (
        "POST",
        "/v1/device-lists/05050505050505050505050505050505/stories",
    ),
    ("GET", "/v1/stories/05050505050505050505050505050505"),
    ("POST", "/v1/stories/05050505050505050505050505050505/revoke"),
    (
        "PUT",
        "/v1/blobs/0505050505050505050505050505050505050505050505050505050505050505",
    ),
    (
        "GET",
        "/v1/blobs/0505050505050505050505050505050505050505050505050505050505050505",
    ),
    ("POST", "/v1/sync"),
    ("GET", "/v1/bundle"),
    ("POST", "/v1/bundle/ack"),
    ("POST", "/v1/preflight"),
    ("POST", "/v1/events"),
    ("POST", "/v1/unenroll"),
];

/// A running gateway with one person.
struct World {
    folder: TempDir,
    layout: Layout,
    gateway: Arc<Gateway>,
    writer: tokio::task::JoinHandle<()>,
    servers: Vec<(ServerHandle, tokio::task::JoinHandle<std::io::Result<()>>)>,
    address: SocketAddr,
    page: SocketAddr,
}

/// A device with all its keys.
struct Device {
    key: SigningKey,
    token: EnrollmentFile,
    enrolled: EnrollResponse,
    identity: Identity,
}

/// A TLS key with a certificate.
#[derive(Clone)]
struct Identity {
    key_pem: String,
    certificate_pem: String,
}

struct Request {
    key_pem: String,
    csr_pem: String,
}

impl World {
    async fn new() -> Self {
        Self::new_with(|_| {}).await
    }

    /// The folder as `change` leaves it.
    async fn new_with(change: impl FnOnce(&Layout)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let layout = init::make(folder.path(), &TenantId::parse("acme").unwrap(), 1).unwrap();
        change(&layout);
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let world = Self::open(folder, layout, now_s).await;
        world
            .admin(Command::PersonAdd {
                name: "Alice".to_owned(),
                address: None,
                groups: Vec::new(),
            })
            .await;
        world
    }

    async fn open(folder: TempDir, layout: Layout, now_s: u64) -> Self {
        let (gateway, writer) = Gateway::open_at(layout.clone(), Clock::manual(now_s))
            .await
            .unwrap();
        let (devices, page) = (listen(), listen());
        let (address, page_address) = (devices.local_addr().unwrap(), page.local_addr().unwrap());
        let servers = [
            server::serve(&gateway, devices).unwrap(),
            status::serve(&gateway, page).unwrap(),
        ];
        Self {
            folder,
            layout,
            gateway,
            writer,
            servers: servers
                .map(|server| (server.handle(), tokio::spawn(server)))
                .into(),
            address,
            page: page_address,
        }
    }

    /// Ends the process and starts it again on the same folder.
    async fn restart(self) -> Self {
        for (handle, running) in self.servers {
            handle.stop(true).await;
            running.await.unwrap().unwrap();
        }
        self.gateway.close(self.writer).await.unwrap();
        let now_s = self.gateway.clock.now_s();
        // The folder is free when the last worker has let go.
        while Arc::strong_count(&self.gateway) > 1 {
            tokio::task::yield_now().await;
        }
        drop(self.gateway);
        Self::open(self.folder, self.layout, now_s).await
    }

    /// The status page.
    async fn page(&self) -> String {
        let url = format!("http://localhost:{}/", self.page.port());
        let client = client(self.gateway.keys.authority.certificate_pem(), None);
        client.get(url).send().await.unwrap().text().await.unwrap()
    }

    async fn admin(&self, command: Command) -> Value {
        admin::run(&self.gateway, command).await.unwrap().json
    }

    async fn token(&self, change: impl FnOnce(&mut NewToken)) -> EnrollmentFile {
        let mut new = NewToken {
            person: "Alice".to_owned(),
            class: AudienceClass::Internal,
            lifetime_s: 3_600,
            uses: 1,
            host: None,
            serial: None,
            approval: false,
        };
        change(&mut new);
        let made = self.admin(Command::TokenAdd(new)).await;
        toml::from_str(made["file"].as_str().unwrap()).unwrap()
    }

    async fn device(&self) -> Device {
        let token = self.token(|_| {}).await;
        let (key, request) = (device_key(), Request::new());
        let enrolled = self
            .enroll(&enroll_request(&key, &token, &request))
            .await
            .unwrap();
        Device {
            identity: request.with(&enrolled.certificate_pem),
            key,
            token,
            enrolled,
        }
    }

    async fn try_enroll(&self, request: &EnrollRequest) -> (StatusCode, Value) {
        let ca = self.gateway.keys.authority.certificate_pem();
        self.call(
            &client(ca, None),
            Method::POST,
            api::enroll::PATH,
            &json!(request),
        )
        .await
    }

    async fn enroll(&self, request: &EnrollRequest) -> Result<EnrollResponse, String> {
        let (status, answer) = self.try_enroll(request).await;
        if status == StatusCode::CREATED {
            Ok(serde_json::from_value(answer).unwrap())
        } else {
            Err(code(&answer))
        }
    }

    async fn call(
        &self,
        client: &reqwest::Client,
        method: Method,
        path: &str,
        body: &Value,
    ) -> (StatusCode, Value) {
        let request = client
            .request(method, format!("https://localhost:{}{path}", self.address.port()))
            .json(body);
        let response = request.send().await.unwrap();
        let status = response.status();
        (status, response.json().await.unwrap_or_default())
    }

    async fn renew_from(
        &self,
        device: &Device,
        from: &Identity,
        request: &RenewRequest,
    ) -> Result<RenewResponse, String> {
        let client = client(&device.token.ca_pem, Some(from));
        let (status, answer) = self
            .call(&client, Method::POST, renew::PATH, &json!(request))
            .await;
        if status == StatusCode::CREATED {
            Ok(serde_json::from_value(answer).unwrap())
        } else {
            Err(code(&answer))
        }
    }

    /// Renews the device's certificate with a fresh key.
    async fn renew(&self, device: &mut Device) -> RenewResponse {
        let request = Request::new();
        let answer = self
            .renew_from(device, &device.identity, &device.renewal(&request.csr_pem))
            .await
            .unwrap();
        device.identity = request.with(&answer.certificate_pem);
        answer
    }

    /// What the long poll answers: `ok`, or the code of its refusal.
    async fn sync(&self, device: &Device, identity: &Identity, origin: Origin) -> String {
        let request = SyncRequest {
            origin,
            ..SyncRequest::default()
        };
        let client = client(&device.token.ca_pem, Some(identity));
        let (status, answer) = self
            .call(&client, Method::POST, api::sync::PATH, &json!(request))
            .await;
        if status == StatusCode::OK {
            "ok".to_owned()
        } else {
            code(&answer)
        }
    }

    async fn reach(&self, device: &Device, identity: &Identity) -> String {
        self.sync(device, identity, Origin::default()).await
    }

    async fn ledger(&self, kind: &str) -> Vec<Value> {
        let command = Command::LogSearch {
            filter: Filter {
                kind: Some(kind.to_owned()),
                ..Filter::default()
            },
            person: None,
            page: None,
            limit: 100,
        };
        let found = self.admin(command).await;
        found["entries"].as_array().unwrap().clone()
    }
}

impl Device {
    fn renewal(&self, csr_pem: &str) -> RenewRequest {
        let message = renew::proof_message(&self.enrolled.tenant, self.enrolled.device, csr_pem);
        let proof: Signature = self.key.sign(&message);
        RenewRequest {
            csr_pem: csr_pem.to_owned(),
            proof: Bytes(proof.to_bytes().to_vec()),
            origin: Origin::default(),
        }
    }
}

impl Request {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(Vec::new()).unwrap();
        Self {
            csr_pem: params.serialize_request(&key).unwrap().pem().unwrap(),
            key_pem: key.serialize_pem(),
        }
    }

    fn with(&self, certificate_pem: &str) -> Identity {
        Identity {
            key_pem: self.key_pem.clone(),
            certificate_pem: certificate_pem.to_owned(),
        }
    }
}

fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn device_key() -> SigningKey {
    SigningKey::from_slice(&crate::domain::random::bytes::<32>().unwrap()).unwrap()
}

fn enroll_request(key: &SigningKey, token: &EnrollmentFile, request: &Request) -> EnrollRequest {
    let proof: Signature = key.sign(&proof_message(&token.token.0, &request.csr_pem));
    EnrollRequest {
        token: token.token.clone(),
        again: None,
        host: None,
        serial: None,
        csr_pem: request.csr_pem.clone(),
        device_key: Bytes(key.verifying_key().to_sec1_point(true).as_bytes().to_vec()),
        proof: Bytes(proof.to_bytes().to_vec()),
        agent_version: "0".to_owned(),
    }
}

fn code(problem: &Value) -> String {
    let problem: Problem = serde_json::from_value(problem.clone()).unwrap();
    problem.code.as_str().to_owned()
}

fn tls(ca_pem: &str, identity: Option<&Identity>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let Some(identity) = identity else {
        return builder.with_no_client_auth();
    };
    let certificate = CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
    builder.with_client_auth_cert(vec![certificate], key).unwrap()
}

fn client(ca_pem: &str, identity: Option<&Identity>) -> reqwest::Client {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls(ca_pem, identity))
        .no_proxy()
        .build()
        .unwrap()
}

/// A connection of which it is known how it began.
struct Wire(StreamOwned<ClientConnection, TcpStream>);

impl Wire {
    fn open(config: &Arc<ClientConfig>, address: SocketAddr) -> Self {
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
        Self(StreamOwned::new(connection, TcpStream::connect(address).unwrap()))
    }

    /// Status and code of the answer; the connection stays open.
    fn call(&mut self, method: &str, path: &str) -> (u16, String) {
        let body = if method == "GET" { "" } else { "{}" };
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}");
        self.0.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        loop {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
            if answer.ends_with(b"\r\n\r\n") {
                break;
            }
        }
        let head = String::from_utf8(answer).unwrap().to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head.split("content-length: ").nth(1).unwrap();
        let mut body = vec![0; length.lines().next().unwrap().parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        let code = serde_json::from_slice::<Problem>(&body)
            .map_or_else(|_| String::new(), |problem| problem.code.as_str().to_owned());
        (status, code)
    }

    fn is_resumed(&self) -> bool {
        self.0.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }
}

fn origin(machine: u8, boot: u8) -> Origin {
    Origin {
        machine: Some(Digest::from_bytes([machine; 32])),
        boot: Some(Digest::from_bytes([boot; 32])),
    }
}

/// E1, E9: a token enrols as many devices as it says, and each use is recorded with the token.
#[tokio::test(flavor = "multi_thread")]
async fn token_enrols_its_number_of_devices() {
    let world = World::new().await;
    let token = world.token(|new| new.uses = 2).await;
    let enroll =
        async |key: &SigningKey, request: &Request| world.enroll(&enroll_request(key, &token, request)).await;
    let (first, second) = (
        enroll(&device_key(), &Request::new()).await.unwrap(),
        enroll(&device_key(), &Request::new()).await.unwrap(),
    );
    assert_ne!(first.device, second.device);
    let third = enroll(&device_key(), &Request::new()).await;
    assert_eq!(third.unwrap_err(), "token-invalid");
    let uses = world.ledger("token").await;
    let used = uses.iter().filter(|entry| entry["payload"]["used"] == true);
    assert_eq!(used.count(), 2);
    assert_eq!(world.ledger("enroll").await.len(), 2);
    let tokens = world.admin(Command::TokenList).await;
    assert_eq!(tokens["tokens"][0]["state"], "used");
}

/// E1: at most 72 hours, and not a second longer than it says.
#[tokio::test(flavor = "multi_thread")]
async fn token_ends() {
    let world = World::new().await;
    let new = |lifetime_s, uses| {
        Command::TokenAdd(NewToken {
            person: "Alice".to_owned(),
            class: AudienceClass::Internal,
            lifetime_s,
            uses,
            host: None,
            serial: None,
            approval: false,
        })
    };
    for (lifetime_s, uses) in [
        (0, 1),
        (72 * 3_600 + 1, 1),
        (60, 0),
        (60, limits::TOKEN_USES_MAX + 1),
    ] {
        assert!(
            admin::run(&world.gateway, new(lifetime_s, uses)).await.is_err(),
            "{lifetime_s} s, {uses} uses"
        );
    }
    let token = world.token(|_| {}).await;
    world.gateway.clock.advance(3_600);
    let refused = world
        .enroll(&enroll_request(&device_key(), &token, &Request::new()))
        .await;
    assert_eq!(refused.unwrap_err(), "token-invalid");
}

/// E1: a bound token is refused elsewhere, and is not spent by that.
#[tokio::test(flavor = "multi_thread")]
async fn bound_token_counts_on_its_machine_alone() {
    let world = World::new().await;
    let token = world
        .token(|new| {
            new.host = Some("Laptop-7".to_owned());
            new.serial = Some("S123".to_owned());
        })
        .await;
    assert!(token.bound_to_host && token.bound_to_serial);
    let says = |host: &str, serial: &str| EnrollRequest {
        host: Some(binding_digest(&token.token.0, host)),
        serial: Some(binding_digest(&token.token.0, serial)),
        ..enroll_request(&device_key(), &token, &Request::new())
    };
    for elsewhere in [says("laptop-8", "S123"), says("laptop-7", "S124")] {
        assert_eq!(world.enroll(&elsewhere).await.unwrap_err(), "token-invalid");
    }
    let nothing = enroll_request(&device_key(), &token, &Request::new());
    assert_eq!(world.enroll(&nothing).await.unwrap_err(), "token-invalid");
    world.enroll(&says("laptop-7", "s123")).await.unwrap();
}

/// E1, E9: nothing is certified or logged before an administrator has compared the fingerprint.
#[tokio::test(flavor = "multi_thread")]
async fn device_waits_for_approval() {
    let world = World::new().await;
    let token = world
        .token(|new| {
            new.approval = true;
            new.uses = 2;
        })
        .await;
    let (mine, other) = (device_key(), device_key());
    let request = enroll_request(&mine, &token, &Request::new());
    let (status, answer) = world.try_enroll(&request).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let waiting: Waiting = serde_json::from_value(answer).unwrap();
    assert_eq!(waiting.fingerprint, fingerprint(&request.device_key.0));
    assert_eq!(world.gateway.directory.size(), 0);
    let denied = enroll_request(&other, &token, &Request::new());
    world.try_enroll(&denied).await;

    let listed = world.admin(Command::DeviceWaiting).await;
    assert_eq!(listed["waiting"].as_array().unwrap().len(), 2);
    let decide = |fingerprint: String, approve| Command::DeviceDecide { fingerprint, approve };
    let unknown = admin::run(&world.gateway, decide("0000".to_owned(), true)).await;
    assert!(unknown.is_err());
    world.admin(decide(waiting.fingerprint, true)).await;
    world
        .admin(decide(fingerprint(&denied.device_key.0), false))
        .await;

    // The token has ended since: it was spent in time.
    world.gateway.clock.advance(DAY_S);
    world.enroll(&request).await.unwrap();
    assert_eq!(world.enroll(&denied).await.unwrap_err(), "token-invalid");
    assert_eq!(world.ledger("enroll-decision").await.len(), 2);
    assert_eq!(world.gateway.directory.size(), 1);
}

/// E1: guessing is stopped for the rest of the minute; who has a token is not kept out by it.
#[tokio::test(flavor = "multi_thread")]
async fn failed_enrollments_are_limited() {
    let world = World::new().await;
    let token = world.token(|_| {}).await;
    let guess = EnrollmentFile {
        token: Bytes(vec![7; 32]),
        ..token.clone()
    };
    let guess = enroll_request(&device_key(), &guess, &Request::new());
    for _ in 0..limits::FAILED_ENROLLMENTS_PER_MINUTE {
        assert_eq!(world.enroll(&guess).await.unwrap_err(), "token-invalid");
    }
    assert_eq!(world.enroll(&guess).await.unwrap_err(), "busy");
    let right = enroll_request(&device_key(), &token, &Request::new());
    world.enroll(&right).await.unwrap();
    world.gateway.clock.advance(60);
    assert_eq!(world.enroll(&guess).await.unwrap_err(), "token-invalid");
}

/// E3, E4: an answer that was lost is fetched again, and nothing is done twice.
#[tokio::test(flavor = "multi_thread")]
async fn same_enrollment_is_answered_alike() {
    let world = World::new().await;
    let token = world.token(|_| {}).await;
    let (key, request) = (device_key(), Request::new());
    let asked = enroll_request(&key, &token, &request);
    let first = world.enroll(&asked).await.unwrap();
    let world = world.restart().await;
    let again = world.enroll(&asked).await.unwrap();
    assert_eq!(first.certificate_pem, again.certificate_pem);
    assert_eq!(first.device, again.device);
    assert_eq!(world.gateway.directory.size(), 1);
    assert_eq!(world.ledger("enroll").await.len(), 1);
    // Not for another key, though the token is the same.
    let other = enroll_request(&device_key(), &token, &Request::new());
    assert_eq!(world.enroll(&other).await.unwrap_err(), "token-invalid");
}

/// E4, E9: the same request gets the same certificate, old and new are both valid, each renewal is recorded.
#[tokio::test(flavor = "multi_thread")]
async fn renewal_is_answered_alike_and_both_certificates_hold() {
    let world = World::new().await;
    let device = world.device().await;
    let request = Request::new();
    let asked = device.renewal(&request.csr_pem);
    let first = world.renew_from(&device, &device.identity, &asked).await.unwrap();
    let world = world.restart().await;
    let again = world.renew_from(&device, &device.identity, &asked).await.unwrap();
    assert_eq!(first.certificate_pem, again.certificate_pem);
    assert_eq!(first.generation, 2);
    let next = request.with(&first.certificate_pem);
    assert_eq!(world.reach(&device, &device.identity).await, "ok");
    assert_eq!(world.reach(&device, &next).await, "ok");
    let recorded = world.ledger("renew").await;
    assert_eq!(recorded.len(), 1);
    assert_eq!(recorded[0]["payload"]["generation"], 2);
}

/// E3, E4: each renewal needs a key that was never certified, and the device key's proof.
#[tokio::test(flavor = "multi_thread")]
async fn renewal_needs_a_fresh_tls_key_and_the_device_key() {
    let world = World::new().await;
    let mut device = world.device().await;
    let request = Request::new();
    let stranger = Device {
        key: device_key(),
        token: device.token.clone(),
        enrolled: device.enrolled.clone(),
        identity: device.identity.clone(),
    };
    let refused = world
        .renew_from(&device, &device.identity, &stranger.renewal(&request.csr_pem))
        .await;
    assert_eq!(refused.unwrap_err(), "proof-invalid");

    let used = KeyPair::from_pem(&device.identity.key_pem).unwrap();
    let again = CertificateParams::new(vec!["other.example".to_owned()]).unwrap();
    let again = again.serialize_request(&used).unwrap().pem().unwrap();
    let refused = world
        .renew_from(&device, &device.identity, &device.renewal(&again))
        .await;
    assert_eq!(refused.unwrap_err(), "renewal-refused");
    assert_eq!(world.renew(&mut device).await.generation, 2);
}

/// E5: asleep past the end: the certificate renews itself within the window, and does nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn ended_certificate_renews_itself_within_the_window() {
    let world = World::new().await;
    let mut device = world.device().await;
    world.gateway.clock.advance(LIFE_S + 29 * DAY_S);
    let config = Arc::new(tls(&device.token.ca_pem, Some(&device.identity)));
    for (method, path) in ROUTES.into_iter().filter(|(_, path)| *path != renew::PATH) {
        let answer = Wire::open(&config, world.address).call(method, path);
        assert_eq!(answer, (401, "identity-expired".to_owned()), "{method} {path}");
    }
    world.renew(&mut device).await;
    assert_eq!(world.reach(&device, &device.identity).await, "ok");

    world.gateway.clock.advance(LIFE_S + 30 * DAY_S);
    let late = world
        .renew_from(
            &device,
            &device.identity,
            &device.renewal(&Request::new().csr_pem),
        )
        .await;
    assert_eq!(late.unwrap_err(), "identity-invalid");
}

/// E5: not one that was revoked meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn ended_certificate_of_a_revoked_device_does_not_renew() {
    let world = World::new().await;
    let device = world.device().await;
    world.gateway.clock.advance(LIFE_S + 1);
    let id = device.enrolled.device;
    world.admin(Command::DeviceRevoke { device: id }).await;
    let refused = world
        .renew_from(
            &device,
            &device.identity,
            &device.renewal(&Request::new().csr_pem),
        )
        .await;
    assert_eq!(refused.unwrap_err(), "device-revoked");
}

/// E6: at once on every route, on a connection that is open, and on a resumed session, which shows no certificate again.
#[tokio::test(flavor = "multi_thread")]
async fn revocation_holds_on_every_route_and_on_resumed_sessions() {
    let listed = include_str!("v1.rs");
    let routes = ["web::get()", "web::post()", "web::put()"].map(|verb| listed.matches(verb).count());
    // Enrollment asks for no device.
    assert_eq!(
        routes.iter().sum::<usize>() - 1,
        ROUTES.len(),
        "list the new route"
    );

    let world = World::new().await;
    let device = world.device().await;
    let config = Arc::new(tls(&device.token.ca_pem, Some(&device.identity)));
    let mut open = Wire::open(&config, world.address);
    assert_eq!(open.call("POST", api::sync::PATH).1, "bad-request");
    assert_eq!(open.call("GET", "/v1/key-packages").0, 200);
    assert!(!open.is_resumed());
    let mut resumed = Wire::open(&config, world.address);
    assert_eq!(resumed.call("GET", "/v1/key-packages").0, 200);
    assert!(resumed.is_resumed());

    let id = device.enrolled.device;
    world.admin(Command::DeviceRevoke { device: id }).await;
    for (method, path) in ROUTES {
        let mut resumed = Wire::open(&config, world.address);
        let refused = (403, "device-revoked".to_owned());
        assert_eq!(resumed.call(method, path), refused, "{method} {path}");
        assert!(resumed.is_resumed(), "{method} {path}");
    }
    assert_eq!(open.call("GET", "/v1/key-packages").1, "device-revoked");
    assert_eq!(world.ledger("device-revoke").await.len(), 1);
}

/// E6: a long poll that waits ends with the revocation.
#[tokio::test(flavor = "multi_thread")]
async fn revocation_ends_a_long_poll() {
    let world = World::new().await;
    let device = world.device().await;
    let client = client(&device.token.ca_pem, Some(&device.identity));
    let request = SyncRequest {
        directory_size: 2,
        wait_s: 55,
        ..SyncRequest::default()
    };
    let body = json!(request);
    let waiting = world.call(&client, Method::POST, api::sync::PATH, &body);
    let revoking = async {
        let id = device.enrolled.device;
        while !world.gateway.wake.is_online(id, world.gateway.clock.now_s()) {
            tokio::task::yield_now().await;
        }
        world.admin(Command::DeviceRevoke { device: id }).await
    };
    let ((status, answer), _) = tokio::join!(waiting, revoking);
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(code(&answer), "device-revoked");
}

/// E7, E9: the second of two copies that renews shuts the device out, until an administrator has looked at it.
#[tokio::test(flavor = "multi_thread")]
async fn copy_that_renews_is_quarantined() {
    let world = World::new().await;
    let mut device = world.device().await;
    let copied = device.identity.clone();
    world.renew(&mut device).await;
    let copy = world
        .renew_from(&device, &copied, &device.renewal(&Request::new().csr_pem))
        .await;
    assert_eq!(copy.unwrap_err(), "device-quarantined");
    assert_eq!(world.reach(&device, &device.identity).await, "device-quarantined");
    let renewing = world
        .renew_from(
            &device,
            &device.identity,
            &device.renewal(&Request::new().csr_pem),
        )
        .await;
    assert_eq!(renewing.unwrap_err(), "device-quarantined");

    let world = world.restart().await;
    assert_eq!(world.reach(&device, &device.identity).await, "device-quarantined");
    let listed = world.admin(Command::DeviceList).await;
    assert_eq!(listed["devices"][0]["quarantine"], "key-generation");
    let page = world.page().await;
    assert!(page.contains("sealgate device release"), "{page}");

    let id = device.enrolled.device;
    world.admin(Command::DeviceRelease { device: id }).await;
    assert_eq!(world.reach(&device, &device.identity).await, "ok");
    // A backup that was put back goes on from the certificate that it has.
    device.identity = copied;
    assert_eq!(world.renew(&mut device).await.generation, 3);
    assert!(!world.page().await.contains("release"));
    assert_eq!(world.ledger("device-quarantine").await.len(), 1);
    assert_eq!(world.ledger("device-release").await.len(), 1);
}

/// E7: one identity on two machines, or by two starts in turn.
#[tokio::test(flavor = "multi_thread")]
async fn identity_in_two_places_is_quarantined() {
    let world = World::new().await;
    let device = world.device().await;
    let at = async |place| world.sync(&device, &device.identity, place).await;
    for place in [origin(1, 1), origin(1, 1), origin(1, 2), origin(1, 3)] {
        assert_eq!(at(place).await, "ok");
    }
    assert_eq!(at(origin(1, 2)).await, "device-quarantined");
    assert_eq!(at(origin(1, 3)).await, "device-quarantined");
    let id = device.enrolled.device;
    world.admin(Command::DeviceRelease { device: id }).await;
    assert_eq!(at(origin(1, 2)).await, "ok");
    assert_eq!(at(origin(2, 4)).await, "device-quarantined");
    let causes: Vec<Value> = world
        .ledger("device-quarantine")
        .await
        .iter()
        .map(|entry| entry["payload"]["cause"].clone())
        .collect();
    assert_eq!(causes.len(), 2);
    assert!(causes.contains(&json!("boot")) && causes.contains(&json!("machine")));
}

/// E8: a device that is not accepted any more enrols again as itself, with its own key and person alone.
#[tokio::test(flavor = "multi_thread")]
async fn device_enrols_again_as_itself() {
    let world = World::new().await;
    let device = world.device().await;
    world.gateway.clock.advance(LIFE_S + 31 * DAY_S);
    let token = world.token(|_| {}).await;
    let again = |key: &SigningKey, device: DeviceId, request: &Request| EnrollRequest {
        again: Some(device),
        ..enroll_request(key, &token, request)
    };
    let id = device.enrolled.device;
    let request = Request::new();
    let stranger = again(&device_key(), id, &request);
    assert_eq!(world.enroll(&stranger).await.unwrap_err(), "token-invalid");
    let unknown = again(&device.key, DeviceId::from_bytes([9; 16]), &request);
    assert_eq!(world.enroll(&unknown).await.unwrap_err(), "identity-invalid");

    let enrolled = world.enroll(&again(&device.key, id, &request)).await.unwrap();
    assert_eq!(enrolled.device, id);
    assert_eq!(world.gateway.directory.size(), 1);
    let identity = request.with(&enrolled.certificate_pem);
    assert_eq!(world.reach(&device, &identity).await, "ok");

    world.admin(Command::DeviceRevoke { device: id }).await;
    let token = world.token(|_| {}).await;
    let revoked = EnrollRequest {
        again: Some(id),
        ..enroll_request(&device.key, &token, &Request::new())
    };
    assert_eq!(world.enroll(&revoked).await.unwrap_err(), "device-revoked");
}
