//! A stranger between agents and the gateway: they take it for the gateway, since it has the gateway's keys. It stops the
//! requests that a test names, and lets the test say whether the gateway gets them, and whether the agent hears of it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use gateway_api::error::Problem;
use reqwest::blocking::{Client, Response};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::{contains, device};

/// A request that has not come by then does not come.
const ARRIVAL: Duration = Duration::from_secs(60);
/// Headers that belong to one connection.
const OF_CONNECTION: [&str; 4] = ["host", "connection", "content-length", "transfer-encoding"];

pub(crate) struct Front(Arc<Shared>);

struct Shared {
    /// Where the folders of the agents lie.
    folder: PathBuf,
    gateway: String,
    tls: Arc<ServerConfig>,
    holds: Mutex<Vec<Hold>>,
}

struct Hold {
    path_end: String,
    body_part: String,
    stopped: mpsc::Sender<Stopped>,
}

/// The next request to a path, which will be stopped.
pub(crate) struct Held(mpsc::Receiver<Stopped>);

/// A request that the gateway has not got.
pub(crate) struct Stopped {
    request: Arc<Request>,
    verdict: mpsc::Sender<Verdict>,
}

/// A request that its agent knows nothing of any more.
pub(crate) struct Lost(Arc<Request>);

enum Verdict {
    Pass,
    Lose,
    Refuse(Box<Problem>),
}

/// A request as it came.
struct Request {
    method: reqwest::Method,
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    url: String,
    client: Client,
}

impl Front {
    /// Listens where the agents look for the gateway.
    pub(crate) fn start(listener: TcpListener, folder: &Path, gateway: String) -> Self {
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            gateway,
            tls: Arc::new(server_config(&folder.join("gateway/keys"))),
            holds: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&serving);
                thread::spawn(move || serve(&shared, stream));
            }
        });
        Self(shared)
    }

    /// Stops the next POST to a path that ends so.
    pub(crate) fn hold(&self, path_end: &str) -> Held {
        self.hold_with(path_end, "")
    }

    /// The same, of those with this in their body.
    pub(crate) fn hold_with(&self, path_end: &str, body_part: &str) -> Held {
        let (stopped, held) = mpsc::channel();
        self.0.holds.lock().unwrap().push(Hold {
            path_end: path_end.to_owned(),
            body_part: body_part.to_owned(),
            stopped,
        });
        Held(held)
    }
}

impl Held {
    pub(crate) fn arrived(&self) -> Stopped {
        self.0.recv_timeout(ARRIVAL).unwrap()
    }
}

impl Stopped {
    pub(crate) fn body(&self) -> &[u8] {
        &self.request.body
    }

    /// The gateway gets it, and what it answers goes no further.
    pub(crate) fn send(&self) -> Response {
        self.request.send().unwrap()
    }

    /// As if nobody stood in between.
    pub(crate) fn pass(self) {
        self.verdict.send(Verdict::Pass).unwrap();
    }

    /// The connection ends without an answer; the request may still be sent.
    pub(crate) fn lose(self) -> Lost {
        self.verdict.send(Verdict::Lose).unwrap();
        Lost(self.request)
    }

    /// The agent gets this for an answer.
    pub(crate) fn refuse(self, problem: Problem) {
        self.verdict.send(Verdict::Refuse(Box::new(problem))).unwrap();
    }
}

impl Lost {
    /// The gateway gets it late.
    pub(crate) fn send(&self) -> Response {
        self.0.send().unwrap()
    }
}

impl Request {
    fn send(&self) -> reqwest::Result<Response> {
        let mut request = self.client.request(self.method.clone(), &self.url);
        for (name, value) in &self.headers {
            request = request.header(name, value.as_slice());
        }
        request.body(self.body.clone()).send()
    }
}

/// A certificate of the gateway's authority, and a look at the ones that its clients have.
fn server_config(keys: &Path) -> ServerConfig {
    let read = |name: &str| fs::read_to_string(keys.join(name)).unwrap();
    let authority = rcgen::KeyPair::from_pem(&read("ca.key")).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&read("ca.pem"), authority).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let certificate = rcgen::CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(read("ca.pem").as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .unwrap();
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap()
}

/// One request after the other, until either side has enough.
fn serve(shared: &Shared, stream: TcpStream) -> Option<()> {
    let connection = ServerConnection::new(Arc::clone(&shared.tls)).ok()?;
    let mut tls = StreamOwned::new(connection, stream);
    let mut client = None;
    loop {
        let request = Arc::new(read_request(shared, &mut tls, &mut client)?);
        let answer = match stopped(shared, &request) {
            Verdict::Pass => {
                let response = request.send().ok()?;
                let mut head = format!("HTTP/1.1 {}\r\n", response.status());
                for (name, value) in response.headers() {
                    if !OF_CONNECTION.contains(&name.as_str()) {
                        head.push_str(&format!("{name}: {}\r\n", value.to_str().ok()?));
                    }
                }
                (head, response.bytes().ok()?.to_vec())
            }
            Verdict::Lose => return None,
            Verdict::Refuse(problem) => (
                format!(
                    "HTTP/1.1 {}\r\ncontent-type: application/problem+json\r\n",
                    problem.status
                ),
                serde_json::to_vec(&problem).unwrap(),
            ),
        };
        let (head, body) = answer;
        let has_body = !head.starts_with("HTTP/1.1 304");
        let length = if has_body {
            format!("content-length: {}\r\n", body.len())
        } else {
            String::new()
        };
        tls.write_all(format!("{head}{length}\r\n").as_bytes()).ok()?;
        tls.write_all(&body).ok()?;
        tls.flush().ok()?;
    }
}

/// What the test says to a request that it waits for.
fn stopped(shared: &Shared, request: &Arc<Request>) -> Verdict {
    let hold = {
        let mut holds = shared.holds.lock().unwrap();
        let is_held = |hold: &Hold| {
            request.method == reqwest::Method::POST
                && request.path.ends_with(&hold.path_end)
                && (hold.body_part.is_empty() || contains(&request.body, hold.body_part.as_bytes()))
        };
        let found = holds.iter().position(is_held);
        found.map(|at| holds.remove(at))
    };
    let Some(hold) = hold else { return Verdict::Pass };
    let (verdict, said) = mpsc::channel();
    let request = Arc::clone(request);
    let told = hold.stopped.send(Stopped { request, verdict });
    told.map_or(Verdict::Lose, |()| said.recv().unwrap_or(Verdict::Lose))
}

fn read_request(
    shared: &Shared,
    tls: &mut StreamOwned<ServerConnection, TcpStream>,
    client: &mut Option<Client>,
) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 * 1024];
    let (method, path, headers, body_at, length) = loop {
        let read = tls.read(&mut chunk).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(body_at) = head.parse(&bytes).unwrap() else {
            continue;
        };
        let header = |wanted: &str| {
            let found = head
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case(wanted));
            found.map(|header| std::str::from_utf8(header.value).unwrap().to_owned())
        };
        assert_eq!(
            header("transfer-encoding"),
            None,
            "an agent knows the length of what it sends"
        );
        let length = header("content-length").map_or(0, |length| length.parse::<usize>().unwrap());
        let kept = head
            .headers
            .iter()
            .filter(|header| !OF_CONNECTION.contains(&header.name.to_ascii_lowercase().as_str()))
            .map(|header| (header.name.to_owned(), header.value.to_vec()))
            .collect::<Vec<_>>();
        break (
            head.method?.to_owned(),
            head.path?.to_owned(),
            kept,
            body_at,
            length,
        );
    };
    let mut body = bytes.split_off(body_at);
    while body.len() < length {
        let read = tls.read(&mut chunk).ok().filter(|read| *read > 0)?;
        body.extend_from_slice(&chunk[..read]);
    }
    if client.is_none() {
        let certificate = tls.conn.peer_certificates()?.first()?;
        *client = Some(device::client(&agent_with(&shared.folder, certificate)?));
    }
    Some(Request {
        method: method.parse().ok()?,
        url: format!("{}{path}", shared.gateway),
        path,
        headers,
        body,
        client: client.clone()?,
    })
}

/// The folder of the agent that has this certificate.
fn agent_with(folder: &Path, certificate: &CertificateDer<'_>) -> Option<PathBuf> {
    let folders = fs::read_dir(folder).ok()?;
    folders.flatten().map(|entry| entry.path()).find(|folder| {
        let pem = fs::read(folder.join("keys/tls.pem")).unwrap_or_default();
        CertificateDer::from_pem_slice(&pem).is_ok_and(|found| found == *certificate)
    })
}
