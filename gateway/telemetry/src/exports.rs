//! Everything that exports, from its start to its last export.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::KeyValue;
use opentelemetry::logs::LoggerProvider as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::HttpClient;
use opentelemetry_otlp::{
    LogExporter, MetricExporter, Protocol, RetryPolicy, SpanExporter, WithExportConfig as _,
    WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{BatchConfigBuilder as LogBatches, BatchLogProcessor, SdkLoggerProvider};
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder as SpanBatches, BatchSpanProcessor, Sampler, SdkTracerProvider,
};
use tokio::sync::oneshot;

use crate::allowed::{Hasher, Listed};
use crate::collector::{Collector, Failures};
use crate::logs::{self, Sink};
use crate::sampler::KeyedRatio;
use crate::settings::{Settings, Signal};
use crate::trace::Tracing;

/// Spans, and records, that wait for an export at most: bounds memory while the collector is away.
const QUEUE_MAX: usize = 2_048;
/// Of one export.
const BATCH_MAX: usize = 512;

/// Reads the metrics of a meter provider, now and then, for the collector.
pub type MetricReader = PeriodicReader<MetricExporter>;

/// Which program exports.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// `service.name`.
    pub name: &'static str,
    /// `service.version`.
    pub version: &'static str,
    /// What it has to export.
    pub signals: &'static [Signal],
    /// Whether others go on with its traces: then spans have ids, exported or not.
    pub begins_traces: bool,
}

/// The exporters of a process.
#[derive(Debug)]
pub struct Exports {
    tracing: Tracing,
    spans: SdkTracerProvider,
    records: Option<SdkLoggerProvider>,
    reader: Mutex<Option<MetricReader>>,
    resource: Resource,
    hasher: Hasher,
    failures: Arc<Failures>,
    patience: Duration,
}

impl Exports {
    /// None.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn off() -> anyhow::Result<Self> {
        Self::silent(false)
    }

    fn silent(has_ids: bool) -> anyhow::Result<Self> {
        let spans = SdkTracerProvider::builder()
            .with_sampler(Sampler::AlwaysOff)
            .build();
        Ok(Self {
            tracing: tracing_of(&spans, has_ids),
            spans,
            records: None,
            reader: Mutex::default(),
            resource: Resource::builder_empty().build(),
            hasher: Hasher::new()?,
            failures: Arc::default(),
            patience: Duration::ZERO,
        })
    }

    /// Starts what the settings ask for, on threads of their own. Within a runtime, which must go on until
    /// [`Self::close`] has returned.
    ///
    /// # Errors
    /// The endpoint cannot be used, or the system has no randomness.
    pub fn start(settings: &Settings, program: Program) -> anyhow::Result<Self> {
        let Some(endpoint) = &settings.endpoint else {
            return Self::silent(program.begins_traces);
        };
        let failures = Arc::<Failures>::default();
        let (hasher, resource) = (Hasher::new()?, resource(program)?);
        let way = Way {
            endpoint: endpoint.trim_end_matches('/'),
            client: Arc::new(Collector::new(settings.timeout(), Arc::clone(&failures))?),
            timeout: settings.timeout(),
        };
        let exports = |signal| program.signals.contains(&signal) && settings.exports(signal);
        let mut spans = SdkTracerProvider::builder().with_resource(resource.clone());
        spans = if exports(Signal::Traces) {
            spans
                .with_sampler(KeyedRatio::new(hasher.clone(), settings.sample_ratio))
                .with_span_processor(way.spans(settings.interval())?)
        } else {
            spans.with_sampler(Sampler::AlwaysOff)
        };
        let spans = spans.build();
        let records = if exports(Signal::Logs) {
            let provider = SdkLoggerProvider::builder()
                .with_resource(resource.clone())
                .with_log_processor(way.records(settings.interval())?)
                .build();
            logs::send_to(Sink {
                logger: provider.logger(program.name),
                hasher: hasher.clone(),
            });
            Some(provider)
        } else {
            None
        };
        let reader = if exports(Signal::Metrics) {
            Some(way.metrics(settings.interval())?)
        } else {
            None
        };
        Ok(Self {
            tracing: tracing_of(&spans, program.begins_traces || exports(Signal::Traces)),
            spans,
            records,
            reader: Mutex::new(reader),
            resource,
            hasher,
            failures,
            patience: settings.timeout(),
        })
    }

    /// Makes spans.
    #[must_use]
    pub const fn tracing(&self) -> &Tracing {
        &self.tracing
    }

    /// Makes the hashes of this process.
    #[must_use]
    pub const fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// Exports that failed.
    #[must_use]
    pub const fn failures(&self) -> &Arc<Failures> {
        &self.failures
    }

    /// Who exports, for a meter provider.
    #[must_use]
    pub const fn resource(&self) -> &Resource {
        &self.resource
    }

    /// The reader for the program's meter provider, once, if metrics are exported.
    #[must_use]
    pub fn take_reader(&self) -> Option<MetricReader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The last export of everything, for no longer than one export may take: the collector may be away.
    pub async fn close(&self, meters: Option<SdkMeterProvider>) {
        if self.patience.is_zero() {
            return;
        }
        let (spans, records, patience) = (self.spans.clone(), self.records.clone(), self.patience);
        let closing = [
            on_a_thread(move || drop(spans.shutdown_with_timeout(patience))),
            on_a_thread(move || drop(records.map(|records| records.shutdown_with_timeout(patience)))),
            on_a_thread(move || drop(meters.map(|meters| meters.shutdown_with_timeout(patience)))),
        ];
        let closed = async {
            for ended in closing {
                // A thread that died has closed nothing more.
                ended.await.unwrap_or_default();
            }
        };
        if tokio::time::timeout(patience, closed).await.is_err() {
            tracing::warn!("the collector did not take the last telemetry in time");
        }
    }
}

/// A thread that the end of the runtime does not wait for.
fn on_a_thread(work: impl FnOnce() + Send + 'static) -> oneshot::Receiver<()> {
    let (told, ended) = oneshot::channel();
    std::thread::spawn(move || {
        work();
        // Nobody waits any more: the patience was over.
        told.send(()).unwrap_or_default();
    });
    ended
}

fn tracing_of(provider: &SdkTracerProvider, is_active: bool) -> Tracing {
    Tracing {
        tracer: provider.tracer("sealgate"),
        is_active,
    }
}

/// No host, no process, no user, and nothing from the environment: a name, a version, and a number for this start.
fn resource(program: Program) -> anyhow::Result<Resource> {
    let mut instance = [0; 16];
    aws_lc_rs::rand::fill(&mut instance).map_err(|_| anyhow::anyhow!("the system has no randomness"))?;
    let attributes = [
        KeyValue::new("service.name", program.name),
        KeyValue::new("service.version", program.version),
        KeyValue::new("service.instance.id", hex::encode(instance)),
    ];
    Ok(Resource::builder_empty().with_attributes(attributes).build())
}

/// How every exporter is made.
struct Way<'a> {
    endpoint: &'a str,
    client: Arc<dyn HttpClient>,
    timeout: Duration,
}

impl Way<'_> {
    fn address(&self, signal: Signal) -> String {
        format!("{}/v1/{}", self.endpoint, signal.as_str())
    }

    fn spans(&self, interval: Duration) -> anyhow::Result<BatchSpanProcessor> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(self.address(Signal::Traces))
            .with_timeout(self.timeout)
            .with_shared_http_client(Arc::clone(&self.client))
            .with_retry_policy(RetryPolicy::disabled())
            .build()
            .context("`telemetry.endpoint` cannot be used for traces")?;
        let batches = SpanBatches::default()
            .with_max_queue_size(QUEUE_MAX)
            .with_max_export_batch_size(BATCH_MAX)
            .with_scheduled_delay(interval)
            .build();
        Ok(BatchSpanProcessor::builder(Listed(exporter))
            .with_batch_config(batches)
            .build())
    }

    fn records(&self, interval: Duration) -> anyhow::Result<BatchLogProcessor> {
        let exporter = LogExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(self.address(Signal::Logs))
            .with_timeout(self.timeout)
            .with_shared_http_client(Arc::clone(&self.client))
            .with_retry_policy(RetryPolicy::disabled())
            .build()
            .context("`telemetry.endpoint` cannot be used for logs")?;
        let batches = LogBatches::default()
            .with_max_queue_size(QUEUE_MAX)
            .with_max_export_batch_size(BATCH_MAX)
            .with_scheduled_delay(interval)
            .build();
        Ok(BatchLogProcessor::builder(exporter)
            .with_batch_config(batches)
            .build())
    }

    fn metrics(&self, interval: Duration) -> anyhow::Result<MetricReader> {
        let exporter = MetricExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(self.address(Signal::Metrics))
            .with_timeout(self.timeout)
            .with_shared_http_client(Arc::clone(&self.client))
            .with_retry_policy(RetryPolicy::disabled())
            .build()
            .context("`telemetry.endpoint` cannot be used for metrics")?;
        Ok(PeriodicReader::builder(exporter).with_interval(interval).build())
    }
}
