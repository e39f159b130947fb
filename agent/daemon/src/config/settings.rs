//! `agent.toml`: optional behaviour, every default in code.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use telemetry::Signal;

use crate::limits;

/// What an agent has to export.
pub(crate) const SIGNALS: [Signal; 2] = [Signal::Traces, Signal::Logs];

/// The whole file; an unknown key is an error that names it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    pub outbox: OutboxSettings,
    /// Where traces and logs of this agent go, if anywhere.
    pub telemetry: telemetry::Settings,
}

/// `[outbox]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OutboxSettings {
    /// Whether the folder is watched at all.
    pub enabled: bool,
    /// How long a file must stay unchanged before it is taken, in milliseconds.
    pub quiet_ms: u64,
    /// Whether a folder on a network's file system may be used. It is looked at every few seconds, since hints do not
    /// come from there, and another machine may change a file unseen.
    pub allow_network: bool,
}

impl Default for OutboxSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            quiet_ms: u64::try_from(limits::OUTBOX_QUIET.as_millis()).unwrap_or(1_000),
            allow_network: false,
        }
    }
}

impl OutboxSettings {
    pub(crate) fn quiet(&self) -> Duration {
        Duration::from_millis(self.quiet_ms)
    }
}

impl Settings {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let settings: Self = toml::from_str(text)?;
        settings.telemetry.check(&SIGNALS)?;
        Ok(settings)
    }

    /// Reads the file; none means the defaults.
    ///
    /// # Errors
    /// A file that cannot be read or holds an unknown key or a wrong type.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).with_context(|| format!("`{}` is not valid", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_named() {
        let error = toml::from_str::<Settings>("[outbox]\nquiet = 3\n").unwrap_err();
        assert!(error.to_string().contains("quiet"));
    }

    #[test]
    fn metrics_of_an_agent_are_refused() {
        let refused = Settings::parse("[telemetry]\nsignals = [\"metrics\"]\n").unwrap_err();
        assert!(refused.to_string().contains("telemetry.signals"), "{refused}");
    }

    #[test]
    fn no_file_means_the_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::load(&folder.path().join("agent.toml")).unwrap();
        assert!(settings.outbox.enabled);
        assert_eq!(settings.outbox.quiet(), limits::OUTBOX_QUIET);
    }
}
