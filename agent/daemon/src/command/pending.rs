//! `pending`

use std::time::Duration;

use clap::Args;

use super::{Context, duration};
use crate::card::{self, Tense};
use crate::exit::Exit;
use crate::local::client::{LocalAgent, query};
use crate::local::wire::{
    self, PendingAnswer, PendingChange, PendingView, ResumeRequest, ShareAnswer, WaitQuery,
};
use crate::print;

#[derive(Debug, Args)]
pub(crate) struct Pending {
    /// Wait until the draft of this id is decided.
    #[arg(long, value_name = "ID")]
    wait: Option<String>,
    /// How long to wait.
    #[arg(long, value_parser = duration::parse, requires = "wait")]
    timeout: Option<Duration>,
    /// Share the held draft of this id, with an answer if its rules ask for one.
    #[arg(long, value_name = "ID", conflicts_with = "wait")]
    resume: Option<String>,
    /// Do not send the draft of this id. Its content is kept for a day, to take this back.
    #[arg(long, value_name = "ID", conflicts_with_all = ["wait", "resume"])]
    discard: Option<String>,
    /// Take a discarding back: the draft waits, or is held, as before.
    #[arg(long, value_name = "ID", conflicts_with_all = ["wait", "resume", "discard"])]
    restore: Option<String>,
    /// Why it must be shared, where a rule asks for a reason.
    #[arg(long, value_name = "TEXT", requires = "resume")]
    reason: Option<String>,
    /// Share it although a rule warns.
    #[arg(long, requires = "resume")]
    accept_warning: bool,
}

impl Pending {
    pub(crate) async fn execute(self, context: &Context) -> anyhow::Result<Exit> {
        let agent = LocalAgent::of(&context.paths)?;
        if let Some(id) = self.resume {
            let request = ResumeRequest {
                id,
                reason: self.reason,
                accept_warning: self.accept_warning,
            };
            let answer: ShareAnswer = agent.post(wire::RESUME, &request).await?;
            if context.json {
                print::json(&answer)?;
            } else {
                print::line(&card::render(&answer, Tense::Done));
            }
            return Ok(answer.outcome.exit());
        }
        let change = match (self.discard, self.restore) {
            (Some(id), _) => Some(PendingChange::Discard { id }),
            (None, Some(id)) => Some(PendingChange::Restore { id }),
            (None, None) => None,
        };
        let asked = WaitQuery {
            wait: self.wait,
            until: None,
            timeout_s: self.timeout.map(|timeout| timeout.as_secs()),
        };
        let answer: PendingAnswer = match change {
            Some(change) => agent.post(wire::PENDING, &change).await?,
            None => agent.get(&query(wire::PENDING, &asked)?).await?,
        };
        if context.json {
            print::json(&answer)?;
        } else if answer.drafts.is_empty() {
            print::line("no draft waits");
        } else {
            print::line(&answer.drafts.iter().map(line).collect::<Vec<_>>().join("\n"));
        }
        Ok(Exit::Done)
    }
}

fn line(draft: &PendingView) -> String {
    let state = serde_json::to_value(draft.state).unwrap_or_default();
    let story = draft
        .story
        .map(|story| format!(" as story {story}"))
        .unwrap_or_default();
    let about = about(draft);
    let help = if let Some(until_s) = draft.restorable_until_s {
        format!(
            "\n  its content is kept until {}; take it back with: sealgate-agent pending --restore {}",
            at(until_s),
            draft.id
        )
    } else if draft.resumable {
        format!(
            "\n  its content is kept; share it with: sealgate-agent pending --resume {} [--reason \"...\"] [--accept-warning]",
            draft.id
        )
    } else {
        String::new()
    };
    format!(
        "{} {}{story}{about}{help}",
        draft.id,
        state.as_str().unwrap_or_default().replace('_', " ")
    )
}

/// What its author knows a draft by.
fn about(draft: &PendingView) -> String {
    let mut parts = Vec::new();
    parts.extend(draft.kept_at_s.map(|at_s| format!("of {}", at(at_s))));
    parts.extend(draft.audience.as_ref().map(|audience| format!("for {audience}")));
    let begins = draft.begins.as_ref().filter(|text| !text.is_empty());
    parts.extend(begins.map(|text| format!("\"{}...\"", text.replace('\n', " "))));
    let files = draft.files.filter(|files| *files > 0);
    parts.extend(files.map(|files| format!("{files} files")));
    parts.iter().map(|part| format!(", {part}")).collect()
}

fn at(at_s: u64) -> String {
    jiff::Timestamp::from_second(i64::try_from(at_s).unwrap_or_default())
        .map_or_else(|_| "an unknown time".to_owned(), |at| at.to_string())
}
