//! `report-false-positive`

use clap::Args;

use super::Context;
use super::share::{DraftContent, encode};
use crate::exit::Exit;
use crate::local::client::LocalAgent;
use crate::local::wire::{self, FalsePositiveAnswer, FalsePositiveRequest, ShareHeader};
use crate::print;

#[derive(Debug, Args)]
pub(crate) struct ReportFalsePositive {
    /// The decision, by the id that `activity` shows; its draft is not kept, so that only what was
    /// reported of it is known.
    #[arg(long, value_name = "ID", conflicts_with_all = ["text", "text_file", "files", "audience"])]
    activity: Option<String>,
    /// The audience of a draft that is given again.
    #[arg(long, value_name = "NAME")]
    audience: Option<String>,
    #[command(flatten)]
    content: DraftContent,
    /// What is no such thing: a detector or a family that was found.
    #[arg(long, value_name = "NAME")]
    finding: Option<String>,
    /// What it is; only the compliance officer can open it.
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// Include the matched text; only the compliance officer can open it.
    #[arg(long)]
    include_match: bool,
    /// Report what is shown without being asked.
    #[arg(long)]
    yes: bool,
}

impl ReportFalsePositive {
    pub(crate) async fn execute(self, context: &Context) -> anyhow::Result<Exit> {
        let agent = LocalAgent::of(&context.paths)?;
        let (names, parts) = if self.activity.is_some() {
            Default::default()
        } else {
            self.content.read()?
        };
        let draft = ShareHeader {
            audience: self.audience,
            names,
            ..ShareHeader::default()
        };
        let request = FalsePositiveRequest {
            draft: self.activity.is_none().then_some(draft),
            activity: self.activity,
            finding: self.finding,
            comment: self.comment,
            include_match: self.include_match,
            confirmed: None,
        };
        let answer: FalsePositiveAnswer = agent
            .post_frame(wire::FALSE_POSITIVE, &encode(&request, &parts)?)
            .await?;
        show(context, &answer, "This would be reported:")?;
        if !self.yes && (context.json || !print::is_confirmed("Report this?")?) {
            print::problem("nothing was reported; add --yes to report what is shown");
            return Ok(Exit::Usage);
        }
        let confirmed = FalsePositiveRequest {
            confirmed: Some(answer.digest),
            ..request
        };
        let answer: FalsePositiveAnswer = agent
            .post_frame(wire::FALSE_POSITIVE, &encode(&confirmed, &parts)?)
            .await?;
        show(context, &answer, "Reported:")?;
        Ok(Exit::Done)
    }
}

fn show(context: &Context, answer: &FalsePositiveAnswer, title: &str) -> anyhow::Result<()> {
    if context.json {
        return print::json(answer);
    }
    print::line(&format!("{title}\n{}", text(answer)));
    Ok(())
}

fn text(answer: &FalsePositiveAnswer) -> String {
    let fields = answer.reported.as_object().cloned().unwrap_or_default();
    let mut lines: Vec<String> = fields
        .iter()
        .filter(|(name, _)| *name != "sealed")
        .map(|(name, value)| format!("  {name}: {value}"))
        .collect();
    lines.push("  and, for the compliance officer alone:".to_owned());
    let detectors: Vec<&str> = answer
        .sealed
        .detectors
        .iter()
        .map(|detector| detector.as_str())
        .collect();
    if !detectors.is_empty() {
        lines.push(format!("    detectors: {}", detectors.join(", ")));
    }
    lines.push(format!(
        "    comment: {}",
        answer.sealed.comment.as_deref().unwrap_or("none")
    ));
    if answer.matched.is_empty() {
        lines.push("    no matched text".to_owned());
    }
    lines.extend(
        answer
            .matched
            .iter()
            .map(|text| format!("    matched text: {text}")),
    );
    lines.join("\n")
}
