//! Every instrument of the gateway, by what it measures.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use actix_web::http::Method;
use gateway_api::error::ErrorCode;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, MeterProvider as _};
use opentelemetry::{KeyValue, StringValue};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{
    Instrument, InstrumentKind, ManualReader, Pipeline, SdkMeterProvider, Stream, Temporality,
};
use telemetry::{Exports, Failures, Signal};

use super::prometheus;
use crate::limits;

/// Buckets of durations, seconds: from a look into memory to a disk that stalls.
const SECONDS: [f64; 17] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 60.0,
];
/// Buckets of a commit's stories, up to [`limits::RELAY_BATCH_MAX`].
const STORIES: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0];

/// What is counted while requests run.
pub(crate) struct Metrics {
    reader: Shared,
    provider: SdkMeterProvider,
    /// Whether a collector gets them, too.
    is_exported: bool,
    routes: Routes,
    accepted: Counter<u64>,
    refused: Counter<u64>,
    limited: Counter<u64>,
    blob_errors: Counter<u64>,
    requests: Histogram<f64>,
    decisions: Histogram<f64>,
    commit_stories: Histogram<u64>,
    commits: Histogram<f64>,
    appends: Histogram<f64>,
    wakes: Histogram<f64>,
    pub(super) gauges: Gauges,
}

/// What stands at one value at a time.
pub(super) struct Gauges {
    pub(super) build: Gauge<u64>,
    pub(super) ready: Gauge<u64>,
    pub(super) queue_depth: Gauge<u64>,
    pub(super) queue_limit: Gauge<u64>,
    pub(super) devices: Gauge<u64>,
    pub(super) waiting: Gauge<u64>,
    pub(super) ledger_entries: Gauge<u64>,
    pub(super) directory_entries: Gauge<u64>,
    pub(super) disk_free: Gauge<u64>,
    pub(super) clock_settled: Gauge<u64>,
    pub(super) policy_version: Gauge<u64>,
    pub(super) policy_age: Gauge<u64>,
    pub(super) policy_end: Gauge<u64>,
    pub(super) certificate_end: Gauge<u64>,
    pub(super) purge_lag: Gauge<u64>,
}

/// What the blob store was asked to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BlobWork {
    Write,
    Read,
    Remove,
    List,
}

impl BlobWork {
    const ALL: [Self; 4] = [Self::Write, Self::Read, Self::Remove, Self::List];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::Remove => "remove",
            Self::List => "list",
        }
    }
}

impl Metrics {
    /// Read at `/metrics`, and by the collector's reader if there is one.
    pub(crate) fn new(exports: &Exports) -> Self {
        let reader = Shared::default();
        let exporting = exports.take_reader();
        let is_exported = exporting.is_some();
        let mut provider = SdkMeterProvider::builder()
            .with_resource(exports.resource().clone())
            .with_reader(reader.clone())
            .with_view(bounded);
        if let Some(exporting) = exporting {
            provider = provider.with_reader(exporting);
        }
        let provider = provider.build();
        let meter = provider.meter("sealgate");
        count_failures(&meter, Arc::clone(exports.failures()));
        let metrics = Self {
            routes: Routes::default(),
            accepted: counter(
                &meter,
                "sealgate.stories.accepted",
                "Stories that are durable, recorded and deliverable.",
            ),
            refused: counter(
                &meter,
                "sealgate.stories.refused",
                "Stories that were refused, by the code of the answer.",
            ),
            limited: counter(
                &meter,
                "sealgate.requests.limited",
                "Requests that were answered 429, by the class whose rate was reached.",
            ),
            blob_errors: counter(
                &meter,
                "sealgate.blobs.errors",
                "Failures of the store of attachments, by what it was to do.",
            ),
            requests: seconds(
                &meter,
                "sealgate.http.request.duration",
                "Requests of agents, by method, template of the route, and status.",
            ),
            decisions: seconds(
                &meter,
                "sealgate.decision.duration",
                "From a story's whole body to the decision about it.",
            ),
            commit_stories: meter
                .u64_histogram("sealgate.commit.stories")
                .with_description("Stories of one commit.")
                .with_boundaries(STORIES.to_vec())
                .build(),
            commits: seconds(
                &meter,
                "sealgate.commit.duration",
                "From a commit's first statement to its stories being deliverable, the ledger included.",
            ),
            appends: seconds(
                &meter,
                "sealgate.ledger.append.duration",
                "From a commit's records to the ledger having them on disk.",
            ),
            wakes: seconds(
                &meter,
                "sealgate.sync.delay.duration",
                "From a change that is committed to the answer of a recipient's device that waited for it.",
            ),
            gauges: Gauges::new(&meter),
            reader,
            provider,
            is_exported,
        };
        metrics.accept(0);
        BlobWork::ALL
            .into_iter()
            .for_each(|work| metrics.count_blob_errors(work, 0));
        metrics
    }

    /// What is to be closed at the end.
    pub(crate) fn provider(&self) -> SdkMeterProvider {
        self.provider.clone()
    }

    pub(crate) const fn is_exported(&self) -> bool {
        self.is_exported
    }

    /// The label of a route: `route` is a template of our route table, or none.
    pub(crate) fn route_name(&self, route: Option<&str>) -> StringValue {
        self.routes.name(route)
    }

    pub(crate) fn accept(&self, stories: usize) {
        self.accepted.add(stories.try_into().unwrap_or(u64::MAX), &[]);
    }

    pub(crate) fn refuse(&self, code: ErrorCode) {
        self.refused.add(1, &[KeyValue::new("reason", code.as_str())]);
    }

    pub(crate) fn limit(&self, class: &'static str, requests: u64) {
        self.limited.add(requests, &[KeyValue::new("class", class)]);
    }

    pub(crate) fn fail_blob(&self, work: BlobWork) {
        self.count_blob_errors(work, 1);
    }

    fn count_blob_errors(&self, work: BlobWork, errors: u64) {
        self.blob_errors
            .add(errors, &[KeyValue::new("operation", work.as_str())]);
    }

    pub(crate) fn request(&self, method: &'static str, route: StringValue, status: u16, took: Duration) {
        let labels = [
            KeyValue::new("method", method),
            KeyValue::new("route", route),
            KeyValue::new("status", i64::from(status)),
        ];
        self.requests.record(took.as_secs_f64(), &labels);
    }

    pub(crate) fn decide(&self, took: Duration) {
        self.decisions.record(took.as_secs_f64(), &[]);
    }

    pub(crate) fn append(&self, took: Duration) {
        self.appends.record(took.as_secs_f64(), &[]);
    }

    pub(crate) fn commit(&self, stories: usize, took: Duration) {
        self.commit_stories
            .record(stories.try_into().unwrap_or(u64::MAX), &[]);
        self.commits.record(took.as_secs_f64(), &[]);
    }

    pub(crate) fn wake(&self, took: Duration) {
        self.wakes.record(took.as_secs_f64(), &[]);
    }

    /// Everything, in the text format of Prometheus.
    pub(crate) fn text(&self) -> String {
        let mut read = ResourceMetrics::default();
        match self.reader.collect(&mut read) {
            Ok(()) => prometheus::text(&read),
            Err(_) => String::new(),
        }
    }
}

impl Gauges {
    fn new(meter: &Meter) -> Self {
        let gauge = |name, unit, description| {
            meter
                .u64_gauge(name)
                .with_unit(unit)
                .with_description(description)
                .build()
        };
        Self {
            build: gauge("sealgate.build.info", "", "1, with the version of the gateway."),
            ready: gauge(
                "sealgate.ready",
                "",
                "1 if this part lets the gateway do its work, by part.",
            ),
            queue_depth: gauge("sealgate.queue.depth", "", "Stories that wait for the writer."),
            queue_limit: gauge(
                "sealgate.queue.limit",
                "",
                "Stories that may wait; the next one is answered 503.",
            ),
            devices: gauge("sealgate.devices", "", "Devices of the directory log, by state."),
            waiting: gauge("sealgate.devices.waiting", "", "Devices that wait for news."),
            ledger_entries: gauge("sealgate.ledger.entries", "", "Entries of the ledger."),
            directory_entries: gauge("sealgate.directory.entries", "", "Entries of the directory log."),
            disk_free: gauge("sealgate.disk.free", "By", "Room on the disk of the data folder."),
            clock_settled: gauge(
                "sealgate.clock.settled",
                "",
                "1 unless the wall clock has jumped against the boot clock.",
            ),
            policy_version: gauge(
                "sealgate.policy.version",
                "",
                "Version of the policy in force; 0 for none.",
            ),
            policy_age: gauge(
                "sealgate.policy.age",
                "s",
                "Since the policy in force came into force.",
            ),
            policy_end: gauge(
                "sealgate.policy.end.timestamp",
                "s",
                "When the policy in force ends, Unix time.",
            ),
            certificate_end: gauge(
                "sealgate.certificate.end.timestamp",
                "s",
                "When a certificate ends, Unix time: that of the TLS server, or that of the authority.",
            ),
            purge_lag: gauge(
                "sealgate.purge.lag",
                "s",
                "How long the oldest story that has ended has been waiting to be shredded.",
            ),
        }
    }
}

fn count_failures(meter: &Meter, failures: Arc<Failures>) {
    let _counter = meter
        .u64_observable_counter("sealgate.telemetry.export.failures")
        .with_description("Exports of telemetry that the collector did not take, by signal.")
        .with_callback(move |counter| {
            for signal in Signal::ALL {
                let labels = [KeyValue::new("signal", signal.as_str())];
                counter.observe(failures.count(signal), &labels);
            }
        })
        .build();
}

fn counter(meter: &Meter, name: &'static str, description: &'static str) -> Counter<u64> {
    meter.u64_counter(name).with_description(description).build()
}

fn seconds(meter: &Meter, name: &'static str, description: &'static str) -> Histogram<f64> {
    meter
        .f64_histogram(name)
        .with_unit("s")
        .with_description(description)
        .with_boundaries(SECONDS.to_vec())
        .build()
}

/// No instrument has more series than this, whatever it is given.
fn bounded(_: &Instrument) -> Option<Stream> {
    Stream::builder()
        .with_cardinality_limit(limits::SERIES_PER_METRIC_MAX)
        .build()
        .ok()
}

/// A peer may call its method anything.
pub(crate) fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        _ => "other",
    }
}

/// Templates of routes, each stored once: a label that is made per request allocates nothing.
#[derive(Default)]
struct Routes(RwLock<BTreeMap<String, StringValue>>);

impl Routes {
    fn name(&self, route: Option<&str>) -> StringValue {
        let Some(route) = route else {
            return StringValue::from("-");
        };
        let known = self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(route)
            .cloned();
        known.unwrap_or_else(|| {
            let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
            let name = StringValue::from(Arc::<str>::from(route));
            names.entry(route.to_owned()).or_insert(name).clone()
        })
    }
}

/// The reader that `/metrics` asks, of which the provider has another handle.
#[derive(Clone, Debug, Default)]
struct Shared(Arc<ManualReader>);

impl MetricReader for Shared {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, read: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(read)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}
