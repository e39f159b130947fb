//! `pending`

use std::time::Duration;

use clap::Args;

use super::{Context, duration};
use crate::card::{self, Tense};
use crate::exit::Exit;
use crate::local::client::{LocalAgent, query};
use crate::local::wire::{self, PendingAnswer, PendingView, ResumeRequest, ShareAnswer, WaitQuery};
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
        let asked = WaitQuery {
            wait: self.wait,
            until: None,
            timeout_s: self.timeout.map(|timeout| timeout.as_secs()),
        };
        let answer: PendingAnswer = agent.get(&query(wire::PENDING, &asked)?).await?;
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
    let help = if draft.resumable {
        format!(
            "\n  its content is kept; share it with: sealgate-agent pending --resume {} [--reason \"...\"] [--accept-warning]",
            draft.id
        )
    } else {
        String::new()
    };
    format!(
        "{} {}{story}{help}",
        draft.id,
        state.as_str().unwrap_or_default().replace('_', " ")
    )
}
