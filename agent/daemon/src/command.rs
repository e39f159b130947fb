//! The command line. Every command but `enroll`, `unenroll`, `run`, `doctor` and, where no agent runs, `rejoin` speaks to the running agent.

pub(crate) mod activity;
pub(crate) mod app;
pub(crate) mod audience;
pub(crate) mod directory;
pub(crate) mod doctor;
pub(crate) mod duration;
pub(crate) mod enroll;
pub(crate) mod feed;
pub(crate) mod notices;
pub(crate) mod outbox;
pub(crate) mod pending;
pub(crate) mod policy_tests;
pub(crate) mod rejoin;
pub(crate) mod report_false_positive;
pub(crate) mod revoke;
pub(crate) mod rules;
pub(crate) mod run;
pub(crate) mod share;
pub(crate) mod status;
pub(crate) mod unenroll;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::paths::Paths;
use crate::exit::Exit;
use crate::local::wire::LocalProblem;
use crate::print;
use crate::uplink::policy::trial;

/// The agent of Sealgate: stories are checked here, before they are sealed.
#[derive(Debug, Parser)]
#[command(name = "sealgate-agent", version, about)]
pub(crate) struct Command {
    /// The agent's folder.
    #[arg(long, global = true, value_name = "DIR", default_value = "sealgate-agent")]
    dir: PathBuf,
    /// Print one JSON object.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Enrol this device with the administrator's token file.
    Enroll(enroll::Enroll),
    /// Run the agent.
    Run,
    /// How the agent is.
    Status(status::Status),
    /// Audiences: who reads what you share.
    #[command(subcommand)]
    Audience(audience::AudienceVerb),
    /// Share a story.
    Share(share::Share),
    /// Inspect a draft; nothing is sealed, kept or reported.
    Check(share::Check),
    /// Read what has arrived.
    Feed(feed::Feed),
    /// Take an own story back.
    Revoke(revoke::Revoke),
    /// What was decided, and exactly what was reported.
    Activity,
    /// Say that a finding is none: shows what would be reported, and reports it once you confirm.
    ReportFalsePositive(report_false_positive::ReportFalsePositive),
    /// Apps that may ask this agent for verdicts.
    #[command(subcommand)]
    App(app::AppVerb),
    /// Start with fresh keys after the agent's state was lost, damaged or put back from a copy.
    Rejoin(rejoin::Rejoin),
    /// Write the directory log as this device followed it, for an administrator whose gateway lost its end.
    Directory(directory::Directory),
    /// What is wrong with this agent, and how to mend it.
    Doctor,
    /// Leave for good: the device is revoked, its keys and everything the agent keeps are destroyed.
    Unenroll(unenroll::Unenroll),
    /// The rules that apply, in plain words.
    Rules,
    /// New devices in your name, new members of your audiences: kept until you acknowledge them.
    Notices(notices::Notices),
    /// Files of the outbox folder.
    Outbox(outbox::Outbox),
    /// Drafts that are kept for later.
    Pending(pending::Pending),
    /// The agent's own child: tries the bundle on standard input.
    #[command(name = trial::COMMAND, hide = true)]
    PolicyTrial,
}

/// What every command gets.
pub(crate) struct Context {
    pub paths: Paths,
    pub json: bool,
}

impl Command {
    /// Runs the command and says how it ended.
    pub(crate) async fn execute(self) -> Exit {
        let context = Context {
            paths: Paths::new(self.dir),
            json: self.json,
        };
        let done = match self.verb {
            Verb::Enroll(command) => command.execute(&context).await,
            Verb::Run => run::execute(&context).await,
            Verb::Status(command) => command.execute(&context).await,
            Verb::Audience(command) => command.execute(&context).await,
            Verb::Share(command) => command.execute(&context).await,
            Verb::Check(command) => command.execute(&context).await,
            Verb::Feed(command) => command.execute(&context).await,
            Verb::Revoke(command) => command.execute(&context).await,
            Verb::Activity => activity::execute(&context).await,
            Verb::ReportFalsePositive(command) => command.execute(&context).await,
            Verb::App(command) => command.execute(&context).await,
            Verb::Rejoin(command) => command.execute(&context).await,
            Verb::Directory(command) => command.execute(&context).await,
            Verb::Doctor => doctor::execute(&context).await,
            Verb::Unenroll(command) => command.execute(&context).await,
            Verb::Rules => rules::execute(&context).await,
            Verb::Notices(command) => command.execute(&context).await,
            Verb::Outbox(command) => command.execute(&context).await,
            Verb::Pending(command) => command.execute(&context).await,
            Verb::PolicyTrial => trial::execute().map(|()| Exit::Done),
        };
        done.unwrap_or_else(|error| failed(&context, &error))
    }
}

/// The error for a person on standard error, for a program as JSON.
fn failed(context: &Context, error: &anyhow::Error) -> Exit {
    let problem = error.downcast_ref::<LocalProblem>();
    let exit = problem.map_or(Exit::Failed, |problem| problem.exit);
    print::problem(&format!("{error:#}"));
    if context.json {
        let shown = serde_json::json!({ "error": format!("{error:#}"), "exit": exit.code() });
        print::line(&shown.to_string());
    }
    exit
}
