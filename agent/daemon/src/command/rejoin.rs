//! `rejoin`

use clap::Args;

use super::Context;
use crate::exit::Exit;
use crate::local::client::LocalAgent;
use crate::local::wire::{self, RejoinAnswer};
use crate::vault::damage;
use crate::{clock, daemon, print};

/// Starts with fresh MLS state after a loss: the rejoin is logged and shown to your other devices and to the
/// members of your audiences. Journal, drafts and events stay; stories of before are not shown.
#[derive(Debug, Args)]
pub(crate) struct Rejoin {}

impl Rejoin {
    pub(crate) async fn execute(self, context: &Context) -> anyhow::Result<Exit> {
        let answer = match daemon::lock(&context.paths) {
            // No agent runs, perhaps because it cannot: the folder is made ready, and the next start does the rest.
            Ok(_lock) => {
                crate::config::enrollment::Enrollment::load(&context.paths)?;
                let aside = damage::prepare(&context.paths, clock::wall_s()).await?;
                RejoinAnswer {
                    at_next_start: true,
                    put_aside: aside.map(|path| path.display().to_string()),
                    ..RejoinAnswer::default()
                }
            }
            Err(_) => {
                let agent = LocalAgent::of(&context.paths)?;
                agent.post(wire::REJOIN, &serde_json::json!({})).await?
            }
        };
        if context.json {
            print::json(&answer)?;
        } else {
            print::line(&text(&answer));
        }
        Ok(Exit::Done)
    }
}

fn text(answer: &RejoinAnswer) -> String {
    let mut lines = Vec::new();
    if answer.at_next_start {
        lines.push("the device rejoins when the agent starts: sealgate-agent run".to_owned());
    }
    if let Some(aside) = &answer.put_aside {
        lines.push(format!(
            "the state database cannot be read and was put aside as `{aside}`; drafts and journal that it held are not shown"
        ));
    }
    if let Some(index) = answer.log_index {
        lines.push(format!("rejoined; it is entry {index} of the directory log"));
    }
    lines.extend(answer.joined.iter().map(|name| format!("  in {name} again")));
    let waiting = answer
        .waiting
        .iter()
        .map(|name| format!("  {name}: the next member who posts lets this device in"));
    lines.extend(waiting);
    lines.join("\n")
}
