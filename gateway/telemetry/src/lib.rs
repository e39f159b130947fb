//! What the programs may tell of their own work, and how it gets to a collector.
//!
//! **Architecture Invariant.** Nothing leaves that is not on the list in [`allowed`]: spans and their fields are made
//! of its types, log records are cut down to it, and the exporter drops what is not on it once more. Nobody waits for a
//! collector, and nothing that it does stops a story.
//!
//! ```text
//! within(name, work) ─► span ─┐
//! tracing events ─► LogLayer ─┼─► bounded queues ─► own threads ─► Collector (HTTP on the program's runtime) ─► OTLP
//! instruments ─► reader ──────┘
//! ```
//!
//! ```
//! use telemetry::Settings;
//!
//! let settings: Settings = toml::from_str("endpoint = \"http://127.0.0.1:4318\"\nsample_ratio = 1.0").unwrap();
//! assert!(settings.check(&telemetry::Signal::ALL).is_ok());
//! ```

pub mod allowed;
mod collector;
mod exports;
mod logs;
mod sampler;
mod settings;
mod trace;

pub use allowed::{Field, Hasher, SpanName};
pub use collector::{Cause, Failures};
pub use exports::{Exports, MetricReader, Program};
pub use logs::LogLayer;
pub use settings::{Protocol, Settings, Signal};
pub use trace::{Place, TRACEPARENT, Tracing, note, traceparent};
