//! `[telemetry]`

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

/// Where telemetry goes, and which. The default exports nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Base address of an OTLP collector, such as `http://127.0.0.1:4318`; without one nothing is exported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// What it gets; all that the program has, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signals: Option<Vec<Signal>>,
    /// Traces that are exported, of all of them: 0 to 1.
    pub sample_ratio: f64,
    /// Between two exports, seconds.
    pub interval_s: u64,
    /// For one export, and for the last one at the end, seconds.
    pub timeout_s: u64,
}

/// A protocol of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// Protobuf over HTTP.
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
}

/// A kind of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// Spans.
    Traces,
    /// Counts, values, distributions.
    Metrics,
    /// Records of the log.
    Logs,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// As in the configuration, and in the path of an OTLP request.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpoint: None,
            protocol: Protocol::HttpProtobuf,
            signals: None,
            sample_ratio: 0.01,
            interval_s: 10,
            timeout_s: 3,
        }
    }
}

impl Settings {
    /// Holds the section against its bounds; `has` is what the program has to export.
    ///
    /// # Errors
    /// A value that cannot be meant, by its key.
    pub fn check(&self, has: &[Signal]) -> anyhow::Result<()> {
        if let Some(endpoint) = &self.endpoint {
            let url = reqwest::Url::parse(endpoint).context("`telemetry.endpoint` is not a URL")?;
            ensure!(
                matches!(url.scheme(), "http" | "https") && url.has_host(),
                "`telemetry.endpoint` must begin with http:// or https:// and name a host"
            );
            ensure!(
                url.query().is_none() && url.username().is_empty(),
                "`telemetry.endpoint` takes no query and no user: give a token in OTEL_EXPORTER_OTLP_HEADERS"
            );
        }
        for signal in self.signals.iter().flatten() {
            ensure!(
                has.contains(signal),
                "`telemetry.signals`: there are no {} here",
                signal.as_str()
            );
        }
        ensure!(
            (0.0..=1.0).contains(&self.sample_ratio),
            "`telemetry.sample_ratio` must lie between 0 and 1"
        );
        for (name, value) in [("interval_s", self.interval_s), ("timeout_s", self.timeout_s)] {
            ensure!(
                (1..=300).contains(&value),
                "`telemetry.{name}` must lie between 1 and 300"
            );
        }
        Ok(())
    }

    pub(crate) fn exports(&self, signal: Signal) -> bool {
        self.endpoint.is_some()
            && self
                .signals
                .as_ref()
                .is_none_or(|signals| signals.contains(&signal))
    }

    /// Between two exports.
    #[must_use]
    pub fn interval(&self) -> Duration {
        Duration::from_secs(self.interval_s)
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(), String> {
        let settings: Settings = toml::from_str(text).map_err(|error| error.to_string())?;
        settings
            .check(&[Signal::Traces, Signal::Logs])
            .map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_its_key() {
        assert_eq!(check(""), Ok(()));
        assert_eq!(
            check("endpoint = \"https://collector:4318\"\nsignals = [\"traces\"]"),
            Ok(())
        );
        for (text, told) in [
            ("endpoint = \"collector\"", "telemetry.endpoint"),
            ("endpoint = \"grpc://collector:4317\"", "telemetry.endpoint"),
            (
                "endpoint = \"http://user@collector\"",
                "OTEL_EXPORTER_OTLP_HEADERS",
            ),
            ("protocol = \"grpc\"", "http/protobuf"),
            ("signals = [\"metrics\"]", "no metrics"),
            ("sample_ratio = 1.5", "telemetry.sample_ratio"),
            ("interval_s = 0", "telemetry.interval_s"),
            ("timeout_s = 301", "telemetry.timeout_s"),
            ("colour = 1", "colour"),
        ] {
            let refused = check(text).unwrap_err();
            assert!(refused.contains(told), "{text}: {refused}");
        }
    }

    #[test]
    fn nothing_is_exported_unless_an_endpoint_is_named() {
        let settings = Settings::default();
        assert!(Signal::ALL.iter().all(|signal| !settings.exports(*signal)));
    }
}
