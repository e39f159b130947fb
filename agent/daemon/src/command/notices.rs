//! `notices`

use std::time::Duration;

use clap::Args;

use super::{Context, duration};
use crate::exit::Exit;
use crate::local::client::{LocalAgent, query};
use crate::local::wire::{self, NoticeView, NoticesAnswer, NoticesQuery, NoticesRead};
use crate::print;

#[derive(Debug, Args)]
pub(crate) struct Notices {
    /// Acknowledge what is shown: it is not shown again.
    #[arg(long)]
    acknowledge: bool,
    /// Wait for a notice that contains this text.
    #[arg(long, value_name = "TEXT")]
    wait: Option<String>,
    /// How long to wait.
    #[arg(long, value_parser = duration::parse, requires = "wait")]
    timeout: Option<Duration>,
}

impl Notices {
    pub(crate) async fn execute(self, context: &Context) -> anyhow::Result<Exit> {
        let agent = LocalAgent::of(&context.paths)?;
        let asked = NoticesQuery {
            wait: self.wait,
            timeout_s: self.timeout.map(|timeout| timeout.as_secs()),
        };
        let shown: NoticesAnswer = agent.get(&query(wire::NOTICES, &asked)?).await?;
        if context.json {
            print::json(&shown)?;
        } else {
            print::line(&text(&shown));
        }
        // Only after they were shown, and only those: one that comes in between is not lost.
        if let (true, Some(last)) = (self.acknowledge, shown.notices.last()) {
            let read = NoticesRead {
                through: last.position,
            };
            let _: NoticesAnswer = agent.post(wire::NOTICES, &read).await?;
        }
        Ok(Exit::Done)
    }
}

fn text(answer: &NoticesAnswer) -> String {
    if answer.notices.is_empty() {
        return "nothing to acknowledge".to_owned();
    }
    let lines: Vec<String> = answer.notices.iter().map(line).collect();
    lines.join("\n")
}

fn line(notice: &NoticeView) -> String {
    let at = i64::try_from(notice.at_s)
        .ok()
        .and_then(|at_s| jiff::Timestamp::from_second(at_s).ok());
    let at = at.map(|at| at.to_string()).unwrap_or_default();
    format!("{at} {}", notice.message)
}
