//! The list: everything that may leave a process, by name and by type.

use std::fmt;

use aws_lc_rs::hmac;
use opentelemetry::{KeyValue, StringValue};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter, SpanLinks};

macro_rules! span_names {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)*) => {
        /// What a span is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum SpanName {
            $($(#[$doc])* $variant,)*
        }

        impl SpanName {
            /// Every name.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// As a collector sees it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

span_names! {
    /// At the agent: a draft on its way.
    Share => "share",
    /// Detectors over the draft.
    Inspect => "inspect",
    /// By the policy, at the agent; by the sharing rules and all other checks, at the gateway.
    Decide => "decide",
    /// MLS and attachments.
    Seal => "seal",
    /// Until the gateway's answer.
    Send => "send",
    /// At the gateway: one request.
    Request => "request",
    /// In the writer's queue.
    Queue => "queue",
    /// From the batch's first statement to its stories being deliverable.
    Commit => "commit",
    /// Until the ledger has the batch on disk.
    LedgerAppend => "ledger append",
    /// Of the recipients' devices.
    Wake => "wake",
}

/// One field of a span.
#[derive(Clone, Debug)]
pub enum Field {
    /// HTTP method, of those that we serve.
    Method(&'static str),
    /// Template of a route of ours.
    Route(StringValue),
    /// HTTP status.
    Status(u16),
    /// What was decided, a word of ours.
    Decision(&'static str),
    /// A code of the error table.
    Code(&'static str),
    /// Version of the policy that decided.
    PolicyVersion(u64),
    /// Whose gateway it is.
    Tenant(KeyedHash),
    /// Whose request it is.
    Device(KeyedHash),
    /// Stories of a commit.
    Stories(u64),
    /// Devices that were woken.
    Devices(u64),
}

impl Field {
    const KEYS: [&'static str; 10] = [
        "http.request.method",
        "http.route",
        "http.response.status_code",
        "sealgate.decision",
        "sealgate.code",
        "sealgate.policy.version",
        "sealgate.tenant.hash",
        "sealgate.device.hash",
        "sealgate.stories",
        "sealgate.devices",
    ];

    pub(crate) fn into_attribute(self) -> KeyValue {
        let [
            method,
            route,
            status,
            decision,
            code,
            version,
            tenant,
            device,
            stories,
            devices,
        ] = Self::KEYS;
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        match self {
            Self::Method(value) => KeyValue::new(method, value),
            Self::Route(value) => KeyValue::new(route, value),
            Self::Status(value) => KeyValue::new(status, i64::from(value)),
            Self::Decision(value) => KeyValue::new(decision, value),
            Self::Code(value) => KeyValue::new(code, value),
            Self::PolicyVersion(value) => KeyValue::new(version, number(value)),
            Self::Tenant(value) => KeyValue::new(tenant, value.0),
            Self::Device(value) => KeyValue::new(device, value.0),
            Self::Stories(value) => KeyValue::new(stories, number(value)),
            Self::Devices(value) => KeyValue::new(devices, number(value)),
        }
    }
}

/// Numbers that a log record may have, by name.
pub(crate) const LOG_NUMBERS: [&str; 26] = [
    "added",
    "audiences",
    "blobs",
    "bytes",
    "count",
    "current",
    "destroyed",
    "devices",
    "dropped",
    "elapsed_ms",
    "ends_s",
    "epoch",
    "expired",
    "finished",
    "found",
    "free_bytes",
    "generation",
    "keys",
    "level",
    "log_index",
    "one_time",
    "people",
    "removed",
    "status",
    "stories",
    "version",
];
/// Words that it may have, by name, if the word is one that the program uses ([`crate::LogLayer`]).
pub(crate) const LOG_WORDS: [&str; 5] = ["cause", "code", "kind", "signal", "what"];
/// Ids that leave as a keyed hash.
pub(crate) const LOG_HASHES: [&str; 1] = ["device"];

/// What stands for an id outside: an HMAC under a key that lives as long as the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedHash(String);

impl KeyedHash {
    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

/// Makes keyed hashes.
#[derive(Clone)]
pub struct Hasher(hmac::Key);

impl Hasher {
    /// With a key of its own.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn new() -> anyhow::Result<Self> {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| anyhow::anyhow!("the system has no randomness"))?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &key)))
    }

    /// 64 bits: few enough to say nothing else, enough to tell a company's devices apart.
    #[must_use]
    pub fn hash(&self, id: &[u8]) -> KeyedHash {
        KeyedHash(hex::encode(self.number(id).to_be_bytes()))
    }

    pub(crate) fn number(&self, bytes: &[u8]) -> u64 {
        let tag = hmac::sign(&self.0, bytes);
        tag.as_ref()
            .iter()
            .take(8)
            .fold(0, |number, byte| (number << 8) | u64::from(*byte))
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

/// The last door of spans: what is not on the list does not pass, whoever made it.
#[derive(Debug)]
pub(crate) struct Listed<E>(pub(crate) E);

impl<E: SpanExporter> SpanExporter for Listed<E> {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        batch.iter_mut().for_each(cut_down);
        self.0.export(batch).await
    }

    fn shutdown_with_timeout(&self, timeout: std::time::Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn set_resource(&mut self, resource: &opentelemetry_sdk::Resource) {
        self.0.set_resource(resource);
    }
}

fn cut_down(span: &mut SpanData) {
    if !SpanName::ALL.iter().any(|name| name.as_str() == span.name) {
        span.name = "other".into();
    }
    span.attributes
        .retain(|attribute| Field::KEYS.contains(&attribute.key.as_str()));
    span.events = SpanEvents::default();
    span.links = SpanLinks::default();
    span.status = opentelemetry::trace::Status::Unset;
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry::trace::{Span as _, Status, Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Kept {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(batch);
            Ok(())
        }
    }

    /// A span that somebody made by hand: its name, a field, an event and a status say too much.
    #[test]
    fn what_is_not_on_the_list_does_not_pass() {
        let kept = Kept::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(Listed(kept.clone()))
            .build();
        let mut span = provider.tracer("t").start("budget.xlsx");
        span.set_attribute(KeyValue::new("path", "/home/alice/budget.xlsx"));
        span.set_attribute(Field::Status(201).into_attribute());
        span.add_event("alice", vec![KeyValue::new("url", "https://host")]);
        span.set_status(Status::error("no room for budget.xlsx"));
        span.end();
        provider.force_flush().unwrap();
        let spans = kept.0.lock().unwrap();
        let written = format!("{:?}", spans[0]);
        for planted in ["alice", "budget", "https"] {
            assert!(!written.contains(planted), "{written}");
        }
        assert_eq!(spans[0].attributes, [Field::Status(201).into_attribute()]);
        assert_eq!(spans[0].name, "other");
    }

    #[test]
    fn hashes_of_two_processes_say_nothing_of_each_other() {
        let (one, other) = (Hasher::new().unwrap(), Hasher::new().unwrap());
        assert_eq!(one.hash(b"device"), one.hash(b"device"));
        assert_ne!(one.hash(b"device"), one.hash(b"devicf"));
        assert_ne!(one.hash(b"device"), other.hash(b"device"));
    }
}
