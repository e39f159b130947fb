//! Answers to the person at the terminal go to standard output; everything else is a log line
//! on standard error.

use std::io::{BufRead as _, IsTerminal as _, Read as _, Write};

use serde::Serialize;

/// Writes a text for people and a line end to standard output.
pub(crate) fn line(text: &str) {
    raw_line(&harmless(text));
}

/// Writes one JSON object on one line; JSON escapes control characters itself.
pub(crate) fn json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    raw_line(&serde_json::to_string(value)?);
    Ok(())
}

/// A reader that went away is no error.
fn raw_line(text: &str) {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush());
    if let Err(error) = written {
        tracing::debug!(%error, "standard output is closed");
    }
}

/// The text with everything escaped by which its author could steer the reader's terminal or reorder its words:
/// control characters other than line end and tab, and bidirectional controls (UAX #9).
fn harmless(text: &str) -> String {
    let steers = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) {
            shown.extend(c.escape_unicode())
        } else {
            shown.push(c)
        }
    }
    shown
}

/// Asks at the terminal; without one the answer is no.
///
/// # Errors
/// Standard input cannot be read.
pub(crate) fn is_confirmed(question: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    line(&format!("{question} y/N"));
    let mut answer = String::new();
    std::io::stdin().lock().take(16).read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Writes why a command failed to standard error.
pub(crate) fn problem(message: &str) {
    let mut out = std::io::stderr().lock();
    if writeln!(out, "error: {}", harmless(message.trim_end())).is_err() {
        tracing::debug!("standard error is closed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a story, a file or an audience is called is its author's: none of it may steer the terminal.
    #[test]
    fn foreign_text_steers_no_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(harmless("exe.\u{202e}gpj"), "exe.\\u{202e}gpj");
        assert_eq!(harmless("line\n\tnext \r"), "line\n\tnext \\u{d}");
        assert_eq!(harmless("Grüße, 日本語, العربية"), "Grüße, 日本語, العربية");
    }
}
