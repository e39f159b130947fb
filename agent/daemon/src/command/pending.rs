//! `pending`

use std::time::Duration;

use clap::Args;

use super::{Context, duration};
use crate::exit::Exit;
use crate::local::client::{LocalAgent, query};
use crate::local::wire::{self, PendingAnswer, PendingView, WaitQuery};
use crate::print;

#[derive(Debug, Args)]
pub(crate) struct Pending {
    /// Wait until the draft of this id is decided.
    #[arg(long, value_name = "ID")]
    wait: Option<String>,
    /// How long to wait.
    #[arg(long, value_parser = duration::parse, requires = "wait")]
    timeout: Option<Duration>,
}

impl Pending {
    pub(crate) async fn execute(self, context: &Context) -> anyhow::Result<Exit> {
        let agent = LocalAgent::of(&context.paths)?;
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
    format!(
        "{} {}{story}",
        draft.id,
        state.as_str().unwrap_or_default().replace('_', " ")
    )
}
