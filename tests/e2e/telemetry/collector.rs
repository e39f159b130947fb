//! A collector: takes OTLP over HTTP, keeps every body as it came, and reads it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

/// Paths with their bodies, in the order of their arrival.
type Bodies = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A running one.
pub(super) struct Collector {
    pub(super) url: String,
    bodies: Bodies,
}

/// Everything that arrived.
#[derive(Default)]
pub(super) struct Received {
    pub(super) bodies: Vec<(String, Vec<u8>)>,
    /// With the program that each is of.
    pub(super) spans: Vec<(String, Span)>,
    pub(super) metrics: BTreeSet<String>,
    pub(super) records: Vec<Record>,
    pub(super) resources: Vec<Vec<KeyValue>>,
    shown: String,
}

/// A record of a log.
pub(super) struct Record {
    pub(super) body: String,
}

impl Collector {
    pub(super) fn start() -> Self {
        Self::with(|connection, bodies| while take(connection, bodies).is_some() {})
    }

    /// One that takes connections and bytes, and answers nothing.
    pub(super) fn hanging() -> Self {
        Self::with(|connection, _| {
            let mut bytes = [0; 4_096];
            while connection.read(&mut bytes).is_ok_and(|count| count > 0) {}
        })
    }

    fn with(serve: fn(&mut BufReader<TcpStream>, &Bodies)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let bodies = Bodies::default();
        let kept = Arc::clone(&bodies);
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || serve(&mut BufReader::new(connection), &kept));
            }
        });
        Self { url, bodies }
    }

    /// What arrived until now.
    pub(super) fn received(&self) -> Received {
        let mut received = Received {
            bodies: self.bodies.lock().unwrap().clone(),
            ..Received::default()
        };
        for (path, body) in received.bodies.clone() {
            match path.as_str() {
                "/v1/traces" => received.take_traces(&body),
                "/v1/metrics" => received.take_metrics(&body),
                "/v1/logs" => received.take_logs(&body),
                other => panic!("{other} is no path of OTLP"),
            }
        }
        received
    }
}

/// One request; none at the connection's end.
fn take(connection: &mut BufReader<TcpStream>, bodies: &Bodies) -> Option<()> {
    let (mut line, mut length) = (String::new(), 0);
    if connection.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let path = line.split(' ').nth(1)?.to_owned();
    loop {
        let mut header = String::new();
        connection.read_line(&mut header).ok()?;
        let header = header.trim().to_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).ok()?;
    bodies.lock().unwrap().push((path, body));
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
    connection.get_mut().write_all(answer.as_bytes()).ok()
}

impl Received {
    fn take_traces(&mut self, body: &[u8]) {
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        self.shown.push_str(&format!("{request:?}\n"));
        for of_resource in request.resource_spans {
            let program = self.program(of_resource.resource);
            for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                self.spans.push((program.clone(), span));
            }
        }
    }

    fn take_metrics(&mut self, body: &[u8]) {
        let request = ExportMetricsServiceRequest::decode(body).unwrap();
        self.shown.push_str(&format!("{request:?}\n"));
        for of_resource in request.resource_metrics {
            self.program(of_resource.resource);
            let metrics = of_resource
                .scope_metrics
                .into_iter()
                .flat_map(|scope| scope.metrics);
            self.metrics.extend(metrics.map(|metric| metric.name));
        }
    }

    fn take_logs(&mut self, body: &[u8]) {
        let request = ExportLogsServiceRequest::decode(body).unwrap();
        self.shown.push_str(&format!("{request:?}\n"));
        for of_resource in request.resource_logs {
            self.program(of_resource.resource);
            for record in of_resource
                .scope_logs
                .into_iter()
                .flat_map(|scope| scope.log_records)
            {
                let Some(Value::StringValue(body)) = record.body.and_then(|body| body.value) else {
                    panic!("a record without a sentence");
                };
                self.records.push(Record { body });
            }
        }
    }

    /// The name of the program that a resource is; the resource is kept.
    fn program(&mut self, resource: Option<Resource>) -> String {
        let attributes = resource.unwrap().attributes;
        let name = super::word(&attributes, "service.name").unwrap();
        self.resources.push(attributes);
        name
    }

    /// All of it, decoded.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Leaves the bodies below the target folder for `tests/strangers/otlp`, with what must not be in them.
    pub(super) fn keep_for_strangers(&self, planted: &[String]) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("strangers/otlp");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for (number, (path, body)) in self.bodies.iter().enumerate() {
            let signal = path.trim_start_matches("/v1/");
            fs::write(folder.join(format!("{number:04}.{signal}")), body).unwrap();
        }
        fs::write(folder.join("planted"), planted.join("\n")).unwrap();
    }
}
