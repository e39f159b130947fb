//! `outbox`

use std::time::Duration;

use clap::Args;

use super::{Context, duration};
use crate::exit::Exit;
use crate::local::client::{LocalAgent, query};
use crate::local::wire::{self, OutboxAnswer, OutboxFile, WaitQuery};
use crate::print;

#[derive(Debug, Args)]
pub(crate) struct Outbox {
    /// Wait until the file of this name is sent, blocked or in error.
    #[arg(long, value_name = "NAME")]
    wait: Option<String>,
    /// How long to wait.
    #[arg(long, value_parser = duration::parse, requires = "wait")]
    timeout: Option<Duration>,
}

impl Outbox {
    pub(crate) async fn execute(self, context: &Context) -> anyhow::Result<Exit> {
        let agent = LocalAgent::of(&context.paths)?;
        let asked = WaitQuery {
            wait: self.wait,
            until: None,
            timeout_s: self.timeout.map(|timeout| timeout.as_secs()),
        };
        let answer: OutboxAnswer = agent.get(&query(wire::OUTBOX, &asked)?).await?;
        if context.json {
            print::json(&answer)?;
        } else if answer.files.is_empty() {
            print::line(&format!(
                "the outbox is empty: put a file into {}/AUDIENCE/",
                context.paths.outbox().display()
            ));
        } else {
            print::line(&answer.files.iter().map(line).collect::<Vec<_>>().join("\n"));
        }
        Ok(Exit::Done)
    }
}

fn line(file: &OutboxFile) -> String {
    let state = serde_json::to_value(file.state).unwrap_or_default();
    let story = file
        .story
        .map(|story| format!(" as story {story}"))
        .unwrap_or_default();
    let reason = file
        .reason
        .as_deref()
        .and_then(|reason| reason.lines().next())
        .map(|line| format!(": {line}"));
    format!(
        "{} {} to {}{story}{}",
        state.as_str().unwrap_or_default(),
        file.name,
        file.audience,
        reason.unwrap_or_default()
    )
}
