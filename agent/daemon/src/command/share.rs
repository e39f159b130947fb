//! `share` and `check`

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use policies::terms::Label;
use serde::Serialize;
use zeroize::Zeroizing;

use super::{Context, duration, policy_tests};
use crate::agent::Agent;
use crate::card::{self, Tense};
use crate::compose::{draft, share as compose};
use crate::daemon;
use crate::exit::Exit;
use crate::limits;
use crate::local::client::LocalAgent;
use crate::local::frame;
use crate::local::wire::{self, LocalProblem, Outcome, ShareAnswer, ShareHeader};
use crate::print;
use crate::uplink::policy;

/// A draft on the command line.
#[derive(Debug, Args)]
pub(super) struct DraftContent {
    /// The text.
    #[arg(long, value_name = "TEXT", conflicts_with = "text_file")]
    text: Option<String>,
    /// A file with the text; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    text_file: Option<PathBuf>,
    /// A file to attach; may be given several times.
    #[arg(long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct DraftArguments {
    #[command(flatten)]
    content: DraftContent,
    /// A label to add; labels that rules set cannot be taken away.
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<Label>,
    /// Why it must be shared, where a rule asks for a reason.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Share it although a rule warns.
    #[arg(long)]
    accept_warning: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Share {
    /// The audience, by name or id.
    #[arg(long, value_name = "NAME")]
    audience: String,
    /// How long it lives, up to a day.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    ttl: Option<Duration>,
    #[command(flatten)]
    draft: DraftArguments,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Run the tests with a draft of a policy folder instead.
    #[arg(long, value_name = "FOLDER")]
    tests: Option<PathBuf>,
    /// The audience for which to check; by default none.
    #[arg(long, value_name = "NAME")]
    audience: Option<String>,
    #[command(flatten)]
    draft: DraftArguments,
}

impl Share {
    pub(crate) async fn execute(self, context: &Context) -> anyhow::Result<Exit> {
        let ttl_s = self.ttl.map(lifetime).transpose()?;
        let frame = self.draft.frame(Some(self.audience), ttl_s)?;
        let agent = LocalAgent::of(&context.paths)?;
        if context.json {
            let answer: ShareAnswer = agent.post_frame(wire::SHARE, &frame).await?;
            print::json(&answer)?;
            return Ok(answer.outcome.exit());
        }
        // R5: the verdict, the readers and what will be reported are shown before anything leaves.
        let verdict: ShareAnswer = agent.post_frame(wire::CHECK, &frame).await?;
        if verdict.outcome == Outcome::Clear {
            print::line(&card::render(&verdict, Tense::Would));
        }
        let answer: ShareAnswer = agent.post_frame(wire::SHARE, &frame).await?;
        print::line(&card::render(&answer, Tense::Done));
        Ok(answer.outcome.exit())
    }
}

impl Check {
    pub(crate) async fn execute(self, context: &Context) -> anyhow::Result<Exit> {
        if let Some(folder) = &self.tests {
            return policy_tests::execute(folder, context.json).await;
        }
        let frame = self.draft.frame(self.audience, None)?;
        crate::config::enrollment::Enrollment::load(&context.paths)?;
        // Whoever gets the folder's lock knows that no agent runs on it.
        let answer: ShareAnswer = match daemon::lock(&context.paths) {
            Ok(_lock) => check_alone(context, &frame).await?,
            Err(_) => {
                LocalAgent::of(&context.paths)?
                    .post_frame(wire::CHECK, &frame)
                    .await?
            }
        };
        if context.json {
            print::json(&answer)?;
        } else {
            print::line(&card::render(&answer, Tense::Would));
        }
        Ok(answer.outcome.exit())
    }
}

/// Without a running agent: with the last good policy of the folder, and without any network.
async fn check_alone(context: &Context, bytes: &[u8]) -> anyhow::Result<ShareAnswer> {
    let agent = Agent::open(context.paths.clone()).await?;
    policy::load_last_good(&agent).await?;
    let (header, draft) = draft::from_frame(bytes)?;
    let answer = compose::check(&agent, &header, draft).await;
    agent.vault.close().await;
    answer
}

impl DraftArguments {
    fn frame(self, audience: Option<String>, ttl_s: Option<u32>) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        let (names, parts) = self.content.read()?;
        let header = ShareHeader {
            audience,
            labels: self.labels,
            reason: self.reason,
            accept_warning: self.accept_warning,
            ttl_s,
            names,
            consent: None,
        };
        encode(&header, &parts)
    }
}

impl DraftContent {
    /// Names of the files, and the parts of a frame: the text, then the files.
    pub(super) fn read(self) -> anyhow::Result<(Vec<String>, frame::Parts)> {
        let text = match (self.text, &self.text_file) {
            (Some(text), _) => Zeroizing::new(text.into_bytes()),
            (None, Some(file)) => read_text(file)?,
            (None, None) => Zeroizing::new(Vec::new()),
        };
        if text.is_empty() && self.files.is_empty() {
            return Err(usage("there is no draft", "give --text, --text-file or --file").into());
        }
        let mut parts = vec![text];
        let mut names = Vec::with_capacity(self.files.len());
        for file in &self.files {
            names.push(name_of(file));
            parts.push(read(file)?);
        }
        Ok((names, parts))
    }
}

/// A frame for the agent.
pub(super) fn encode<H: Serialize>(header: &H, parts: &frame::Parts) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_slice()).collect();
    frame::encode(header, &parts).map_err(|error| usage(&error.to_string(), "share less at once").into())
}

fn read_text(file: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    if file != Path::new("-") {
        return read(file);
    }
    let mut text = Zeroizing::new(Vec::new());
    let bound = u64::try_from(limits::TEXT_BYTES_MAX)?.saturating_add(1);
    std::io::stdin()
        .lock()
        .take(bound)
        .read_to_end(&mut text)
        .context("standard input cannot be read")?;
    Ok(text)
}

fn read(file: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let length = std::fs::metadata(file)
        .map_err(|error| unreadable(file, &error))?
        .len();
    if length > limits::DRAFT_BYTES_MAX {
        return Err(usage(
            &format!("`{}` is too large for a story", file.display()),
            "share something smaller",
        )
        .into());
    }
    std::fs::read(file)
        .map(Zeroizing::new)
        .map_err(|error| unreadable(file, &error))
}

fn unreadable(file: &Path, error: &std::io::Error) -> anyhow::Error {
    usage(
        &format!("`{}` cannot be read: {error}", file.display()),
        "check the path",
    )
    .into()
}

fn name_of(file: &Path) -> String {
    file.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_else(|| "file".to_owned())
}

fn lifetime(ttl: Duration) -> Result<u32, LocalProblem> {
    let seconds = u32::try_from(ttl.as_secs())
        .ok()
        .filter(|seconds| (1..=limits::STORY_TTL_S).contains(seconds));
    seconds.ok_or_else(|| usage("a story lives for one second to one day", "use --ttl 24h or less"))
}

fn usage(message: &str, help: &str) -> LocalProblem {
    LocalProblem::new(Exit::Usage, message, help)
}
