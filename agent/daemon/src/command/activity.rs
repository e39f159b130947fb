//! `activity`

use super::Context;
use crate::card;
use crate::exit::Exit;
use crate::local::client::LocalAgent;
use crate::local::wire::{self, ActivityAnswer, ActivityEntry};
use crate::print;

pub(crate) async fn execute(context: &Context) -> anyhow::Result<Exit> {
    let answer: ActivityAnswer = LocalAgent::of(&context.paths)?.get(wire::ACTIVITY).await?;
    if context.json {
        print::json(&answer)?;
    } else {
        print::line(&text(&answer));
    }
    Ok(Exit::Done)
}

fn text(answer: &ActivityAnswer) -> String {
    let mut lines: Vec<String> = answer.entries.iter().map(line).collect();
    if lines.is_empty() {
        lines.push("nothing was decided yet".to_owned());
    }
    lines.push(format!(
        "\nAn event can hold these fields and no others: {}",
        answer.reported_fields.join(", ")
    ));
    lines.push(
        "A clearance goes with every story that is sent, also where no event is reported: its fields are shown above. \
         Before a story is sealed, the gateway is asked whether its labels, app and key tier may go to the audience."
            .to_owned(),
    );
    lines.join("\n")
}

fn line(entry: &ActivityEntry) -> String {
    let at = i64::try_from(entry.at_s)
        .ok()
        .and_then(|at_s| jiff::Timestamp::from_second(at_s).ok());
    let at = at.map(|at| at.to_string()).unwrap_or_default();
    let rules: Vec<&str> = entry.rules.iter().map(|rule| rule.as_str()).collect();
    let rules = if rules.is_empty() {
        String::new()
    } else {
        format!(" by {}", rules.join(", "))
    };
    let outcome = serde_json::to_value(entry.outcome).unwrap_or_default();
    let outcome = outcome.as_str().unwrap_or_default().replace('_', " ");
    let reported = card::reported(entry.reported.as_ref()).join("; ");
    let clearance = card::clearance(entry.clearance.as_ref()).join("; ");
    let id = entry
        .id
        .as_ref()
        .map(|id| format!("\n  id: {id}"))
        .unwrap_or_default();
    if let Some(dispute) = &entry.dispute {
        let matched = match dispute.matched {
            0 => "no matched text".to_owned(),
            count => format!("{count} matched texts"),
        };
        return format!(
            "{at} you reported a false positive{rules}{id}\n  event: {reported}\n  sealed for compliance: your comment, {matched}"
        );
    }
    format!(
        "{at} to {}: {} ({outcome}){rules}{id}\n  event: {reported}\n  clearance with the story: {clearance}",
        entry.audience, entry.action
    )
}
