//! Events of the program's log, cut down to the list.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::OnceLock;
use std::time::SystemTime;

use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, Severity};
use opentelemetry_sdk::logs::{SdkLogRecord, SdkLogger};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::allowed::{Hasher, LOG_HASHES, LOG_NUMBERS, LOG_WORDS};

/// Where records go, once an exporter has been started. One per process, as the log itself is.
static SINK: OnceLock<Sink> = OnceLock::new();
/// What stands for a text that the program did not declare.
const UNLISTED: &str = "(a sentence that is not on the list)";

/// A process's way out for records.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) logger: SdkLogger,
    pub(crate) hasher: Hasher,
}

/// Takes records from now on. The first sink of a process stays: a second one is another server of it, in tests alone.
pub(crate) fn send_to(sink: Sink) {
    drop(SINK.set(sink));
}

/// A layer that turns events of one program's own modules into records.
pub struct LogLayer {
    /// Modules begin with this.
    target: &'static str,
    /// Sentences that the program says, each whole.
    messages: BTreeSet<&'static str>,
    /// Words that fields of [`LOG_WORDS`] may have.
    words: BTreeSet<&'static str>,
}

impl LogLayer {
    /// `messages`: one sentence per line.
    #[must_use]
    pub fn new(
        target: &'static str,
        messages: &'static str,
        words: impl IntoIterator<Item = &'static str>,
    ) -> Self {
        Self {
            target,
            messages: messages.lines().collect(),
            words: words.into_iter().collect(),
        }
    }

    fn fill<'a>(&'a self, record: &'a mut SdkLogRecord, hasher: &'a Hasher, event: &Event<'_>) {
        let metadata = event.metadata();
        record.set_timestamp(SystemTime::now());
        record.set_severity_text(metadata.level().as_str());
        record.set_severity_number(severity(*metadata.level()));
        record.set_target(metadata.target().to_owned());
        record.set_body(AnyValue::from(UNLISTED));
        event.record(&mut Listed {
            layer: self,
            record,
            hasher,
        });
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || !metadata.target().starts_with(self.target) {
            return;
        }
        let Some(sink) = SINK.get() else { return };
        let mut record = sink.logger.create_log_record();
        self.fill(&mut record, &sink.hasher, event);
        sink.logger.emit(record);
    }
}

fn severity(level: Level) -> Severity {
    match level {
        Level::ERROR => Severity::Error,
        Level::WARN => Severity::Warn,
        Level::INFO => Severity::Info,
        Level::DEBUG => Severity::Debug,
        Level::TRACE => Severity::Trace,
    }
}

/// Takes what is on the list.
struct Listed<'a> {
    layer: &'a LogLayer,
    record: &'a mut SdkLogRecord,
    hasher: &'a Hasher,
}

impl Visit for Listed<'_> {
    fn record_i64(&mut self, field: &Field, value: i64) {
        if LOG_NUMBERS.contains(&field.name()) {
            self.record.add_attribute(field.name(), value);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record_i64(field, i64::try_from(value).unwrap_or(i64::MAX));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let name = field.name();
        if name == "message" {
            if let Some(message) = self.layer.messages.get(value) {
                self.record.set_body(AnyValue::from(*message));
            }
        } else if LOG_HASHES.contains(&name) {
            let hash = self.hasher.hash(value.as_bytes());
            self.record.add_attribute(name, hash.into_string());
        } else if LOG_WORDS.contains(&name)
            && let Some(word) = self.layer.words.get(value)
        {
            self.record.add_attribute(name, *word);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::logs::LoggerProvider as _;
    use opentelemetry_sdk::logs::SdkLoggerProvider;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Keeps what the layer makes of each event.
    struct Kept {
        layer: LogLayer,
        logger: SdkLogger,
        hasher: Hasher,
        records: Arc<Mutex<Vec<String>>>,
    }

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut record = self.logger.create_log_record();
            self.layer.fill(&mut record, &self.hasher, event);
            self.records.lock().unwrap().push(format!("{record:?}"));
        }
    }

    fn records(work: impl FnOnce()) -> Vec<String> {
        let records = Arc::new(Mutex::new(Vec::new()));
        let layer = Kept {
            layer: LogLayer::new("telemetry", "story refused\nserving", ["busy"]),
            logger: SdkLoggerProvider::builder().build().logger("t"),
            hasher: Hasher::new().unwrap(),
            records: Arc::clone(&records),
        };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        records.lock().unwrap().clone()
    }

    #[test]
    fn record_has_what_is_listed_and_nothing_else() {
        let error = "cannot open /home/alice/budget.xlsx";
        let records = records(|| {
            tracing::info!(device = %"0102", code = "busy", status = 503_u64, path = "/home/alice", %error, "story refused");
            tracing::error!(code = "alice", status = "alice", "story of alice refused");
        });
        let [listed, unlisted] = records.as_slice() else {
            panic!("{records:?}");
        };
        for shown in ["story refused", "\"busy\"", "503", "device"] {
            assert!(listed.contains(shown), "{listed}");
        }
        assert!(unlisted.contains(UNLISTED), "{unlisted}");
        for record in [listed, unlisted] {
            for planted in ["alice", "budget", "0102", "path"] {
                assert!(!record.contains(planted), "{record}");
            }
        }
    }
}
