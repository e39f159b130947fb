//! `app`

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use policies::terms::App;

use super::Context;
use crate::exit::Exit;
use crate::local::client::LocalAgent;
use crate::local::wire::{self, AppChange, AppCredential, AppView, AppsAnswer, LocalProblem};
use crate::print;

#[derive(Debug, Subcommand)]
pub(crate) enum AppVerb {
    /// Let an app ask for verdicts: writes its credential file.
    Register(Register),
    /// Which apps may.
    List,
    /// Take an app's right away.
    Remove {
        /// The app's name.
        app: App,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Register {
    /// A name for the app: a-z, 0-9, `.`, `_`, `-`. Rules see it.
    app: App,
    /// The program file that the app runs from. Another program is refused, and so is this one
    /// after an update until it is registered again. An interpreter (python3, node) names every
    /// script that it runs: only a program of its own tells an app apart.
    #[arg(long, value_name = "FILE")]
    program: PathBuf,
    /// Where to write the credential (mode 0600; it must not exist). By default `NAME.credential`.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Take the place of an earlier registration; its credential ends.
    #[arg(long)]
    replace: bool,
}

impl AppVerb {
    pub(crate) async fn execute(self, context: &Context) -> anyhow::Result<Exit> {
        let agent = LocalAgent::of(&context.paths)?;
        let (answer, note): (AppsAnswer, _) = match self {
            Self::Register(register) => register.execute(&agent).await?,
            Self::List => (agent.get(wire::APPS).await?, None),
            Self::Remove { app } => {
                let note = format!("`{app}` was removed; its credential ends");
                (
                    agent.post(wire::APPS, &AppChange::Remove { app }).await?,
                    Some(note),
                )
            }
        };
        // The credential is in its file alone.
        let shown = AppsAnswer {
            credential: None,
            ..answer
        };
        if context.json {
            print::json(&shown)?;
        } else {
            print::line(&text(&shown, note));
        }
        Ok(Exit::Done)
    }
}

impl Register {
    async fn execute(self, agent: &LocalAgent) -> anyhow::Result<(AppsAnswer, Option<String>)> {
        let program = std::fs::canonicalize(&self.program)
            .map_err(|error| usage(format!("`{}` cannot be used: {error}", self.program.display())))?;
        let Some(program) = program.to_str().map(str::to_owned) else {
            return Err(usage("the program's path is not UTF-8".to_owned()).into());
        };
        let out = self
            .out
            .unwrap_or_else(|| PathBuf::from(format!("{}.credential", self.app)));
        // Before the agent is asked: a credential that cannot be written would be lost.
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&out)
            .map_err(|error| usage(format!("`{}` cannot be written: {error}", out.display())))?;
        let change = AppChange::Register {
            app: self.app,
            program,
            replace: self.replace,
        };
        let registered = async {
            let answer: AppsAnswer = agent.post(wire::APPS, &change).await?;
            let credential = answer.credential.as_ref();
            write(&mut file, credential.context("the agent gave no credential")?)?;
            Ok(answer)
        };
        match registered.await {
            Ok(answer) => Ok((answer, Some(note(&out)))),
            Err(error) => {
                // An empty credential file would only stand in the way of the next try.
                let _ = std::fs::remove_file(&out);
                Err(error)
            }
        }
    }
}

fn write(file: &mut std::fs::File, credential: &AppCredential) -> anyhow::Result<()> {
    file.write_all(&serde_json::to_vec_pretty(credential)?)?;
    Ok(file.sync_all()?)
}

fn note(out: &Path) -> String {
    format!(
        "the credential is in `{}`: give it to the app alone, nobody else may read it",
        out.display()
    )
}

fn text(answer: &AppsAnswer, note: Option<String>) -> String {
    let mut lines: Vec<String> = answer.apps.iter().map(line).collect();
    if lines.is_empty() {
        lines.push("no app is registered".to_owned());
    }
    lines.extend(note);
    lines.join("\n")
}

fn line(view: &AppView) -> String {
    format!(
        "{} runs {} (SHA-256 {})",
        view.app, view.program, view.program_digest
    )
}

fn usage(message: String) -> LocalProblem {
    LocalProblem::new(Exit::Usage, message, "check the path")
}
