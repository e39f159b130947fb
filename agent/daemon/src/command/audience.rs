//! `audience create|add|remove|leave|list`

use clap::{Args, Subcommand};

use super::Context;
use crate::exit::Exit;
use crate::local::client::LocalAgent;
use crate::local::wire::{self, AudienceChange, AudienceView, AudiencesAnswer};
use crate::print;

#[derive(Debug, Subcommand)]
pub(crate) enum AudienceVerb {
    /// Create an audience of yourself and these people.
    Create(Named),
    /// Add people (owners only).
    Add(Named),
    /// Remove people (owners only).
    Remove(Named),
    /// Leave an audience.
    Leave { name: String },
    /// Your audiences, each with its roster.
    List,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    name: String,
    /// A person, by name or id; may be given several times.
    #[arg(long = "with", value_name = "PERSON", required = true)]
    people: Vec<String>,
}

impl AudienceVerb {
    pub(crate) async fn execute(self, context: &Context) -> anyhow::Result<Exit> {
        let agent = LocalAgent::of(&context.paths)?;
        let change = match self {
            Self::Create(Named { name, people }) => Some(AudienceChange::Create { name, people }),
            Self::Add(Named { name, people }) => Some(AudienceChange::Add { name, people }),
            Self::Remove(Named { name, people }) => Some(AudienceChange::Remove { name, people }),
            Self::Leave { name } => Some(AudienceChange::Leave { name }),
            Self::List => None,
        };
        let answer: AudiencesAnswer = match change {
            Some(change) => agent.post(wire::AUDIENCES, &change).await?,
            None => agent.get(wire::AUDIENCES).await?,
        };
        if context.json {
            print::json(&answer)?;
        } else {
            print::line(&text(&answer));
        }
        Ok(Exit::Done)
    }
}

fn text(answer: &AudiencesAnswer) -> String {
    if answer.audiences.is_empty() {
        return "no audiences yet\n  help: sealgate-agent audience create NAME --with PERSON".to_owned();
    }
    let mut lines: Vec<String> = answer.audiences.iter().map(audience).collect();
    lines.extend(answer.notes.iter().map(|note| format!("note: {note}")));
    lines.join("\n")
}

fn audience(view: &AudienceView) -> String {
    let mut text = format!(
        "{} ({}, {}, epoch {}) {}",
        view.name, view.class, view.state, view.epoch, view.audience
    );
    for person in &view.people {
        let owner = if person.owner { ", owner" } else { "" };
        text.push_str(&format!(
            "\n  - {} ({} device(s){owner})",
            person.name, person.devices
        ));
    }
    text
}
