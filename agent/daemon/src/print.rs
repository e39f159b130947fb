//! Answers to the person at the terminal go to standard output; everything else is a log line
//! on standard error.

use std::io::Write;

use serde::Serialize;

/// Writes a text and a line end to standard output. A reader that went away is no error.
pub(crate) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush());
    if let Err(error) = written {
        tracing::debug!(%error, "standard output is closed");
    }
}

/// Writes one JSON object on one line.
pub(crate) fn json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    line(&serde_json::to_string(value)?);
    Ok(())
}

/// Writes why a command failed to standard error.
pub(crate) fn problem(message: &str) {
    let mut out = std::io::stderr().lock();
    if writeln!(out, "error: {}", message.trim_end()).is_err() {
        tracing::debug!("standard error is closed");
    }
}
