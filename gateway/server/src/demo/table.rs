//! What the demo prints: a readable table, or one JSON object a step.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

const NAME_WIDTH: usize = 44;
const EXPECTED_WIDTH: usize = 30;
/// A step that lasts longer says that it is still at work.
const QUIET: Duration = Duration::from_secs(1);

/// What a step showed.
pub(crate) struct Observed {
    /// In a few words.
    pub(crate) text: String,
    /// Whether that is what was expected.
    pub(crate) ok: bool,
    /// More for a reader, such as the card that the employee sees.
    pub(crate) detail: Option<String>,
}

impl Observed {
    pub(crate) fn new(ok: bool, text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ok,
            detail: None,
        }
    }

    pub(crate) fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

/// The printer, and the count.
pub(crate) struct Table {
    json: bool,
    expected: usize,
    steps: usize,
    started: Instant,
}

impl Table {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            expected: 0,
            steps: 0,
            started: Instant::now(),
        }
    }

    /// A line beside the table.
    pub(crate) fn say(&self, line: &str) {
        if self.json {
            to_stderr(line)
        } else {
            to_stdout(line)
        }
    }

    pub(crate) fn head(&self) {
        self.say("");
        self.say(&format!(
            "     {:<NAME_WIDTH$} {:<EXPECTED_WIDTH$} observed",
            "step", "expected"
        ));
        self.say(&format!(
            "     {:-<NAME_WIDTH$} {:-<EXPECTED_WIDTH$} {:-<30}",
            "", "", ""
        ));
    }

    /// Runs a step and prints its row.
    pub(crate) async fn step(
        &mut self,
        name: &str,
        expected: &str,
        work: impl Future<Output = anyhow::Result<Observed>>,
    ) {
        let observed = match self.watch(name, work).await {
            Ok(observed) => observed,
            Err(error) => Observed::new(false, format!("failed: {error:#}")),
        };
        self.steps += 1;
        self.expected += usize::from(observed.ok);
        if self.json {
            to_stdout(
                &serde_json::json!({
                    "step": name, "expected": expected, "observed": observed.text, "ok": observed.ok
                })
                .to_string(),
            );
        } else {
            let mark = if observed.ok { "ok  " } else { "BAD " };
            to_stdout(&format!(
                "{mark} {name:<NAME_WIDTH$} {expected:<EXPECTED_WIDTH$} {}",
                observed.text
            ));
        }
        for line in observed.detail.iter().flat_map(|detail| detail.lines()) {
            self.say(&format!("     | {line}"));
        }
    }

    /// Awaits `work`, with a line on standard error each second that it lasts.
    pub(crate) async fn watch<T>(&self, name: &str, work: impl Future<Output = T>) -> T {
        let started = Instant::now();
        tokio::pin!(work);
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + QUIET, QUIET);
        let mut shown = false;
        let result = loop {
            tokio::select! {
                result = &mut work => break result,
                _ = ticks.tick() => {
                    progress(&format!("  ... {name} ({} s)", started.elapsed().as_secs()), shown);
                    shown = true;
                }
            }
        };
        if shown && std::io::stderr().is_terminal() {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
        result
    }

    /// The last line; whether every step had the expected outcome.
    pub(crate) fn closing(&self) -> bool {
        self.say("");
        let seconds = self.started.elapsed().as_secs();
        self.say(&format!(
            "{} of {} steps as expected, in {seconds} s",
            self.expected, self.steps
        ));
        self.expected == self.steps
    }
}

fn progress(line: &str, again: bool) {
    if std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr(), "\r\x1b[2K{line}");
    } else if !again {
        to_stderr(line);
    }
}

fn to_stdout(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn to_stderr(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
