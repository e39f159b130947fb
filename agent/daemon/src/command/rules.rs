//! `rules`

use super::Context;
use crate::exit::Exit;
use crate::local::client::LocalAgent;
use crate::local::wire::{self, RuleView, RulesAnswer};
use crate::print;

pub(crate) async fn execute(context: &Context) -> anyhow::Result<Exit> {
    let answer: RulesAnswer = LocalAgent::of(&context.paths)?.get(wire::RULES).await?;
    if context.json {
        print::json(&answer)?;
    } else {
        print::line(&text(&answer));
    }
    Ok(Exit::Done)
}

fn text(answer: &RulesAnswer) -> String {
    let mut lines = vec![
        format!(
            "Policy {} of {} (bundle {})",
            answer.policy_version, answer.tenant, answer.policy_digest
        ),
        String::new(),
        "What is checked before sealing:".to_owned(),
    ];
    lines.extend(answer.rules.iter().map(rule));
    lines.push("\nWhat is looked for:".to_owned());
    lines.extend(
        answer
            .detectors
            .iter()
            .map(|detector| format!("  - {}: {}", detector.name, detector.finds)),
    );
    lines.push(
        "\nWho may share what with whom (decided by the gateway, by labels and audience only):".to_owned(),
    );
    lines.extend(answer.sharing.iter().map(|line| format!("  - {line}")));
    lines.join("\n")
}

fn rule(view: &RuleView) -> String {
    let owner = if view.owner.is_empty() {
        String::new()
    } else {
        format!(" Questions: {} {}", view.owner, view.link)
    };
    let mut text = format!(
        "  - {} [{}, {}; reports: {}]{}",
        view.sentence,
        view.rule,
        view.action,
        view.report,
        owner.trim_end()
    );
    if view.mode != "enforce" {
        text.push_str(&format!(" (mode {}: it does not hold anything)", view.mode));
    }
    text
}
