//! Reading what commands answered.

use anyhow::Context as _;
use serde_json::Value;

use super::stage::{Answer, Stage};

/// How long a recipient's agent may take to show what was delivered.
pub(super) const ARRIVAL: &str = "30s";

/// The story in a recipient's feed, once it has arrived.
pub(super) async fn received(stage: &Stage, name: &str, story: &str, more: &[&str]) -> anyhow::Result<Value> {
    let arguments = ["feed", "--wait", story, "--timeout", ARRIVAL];
    let answer = stage
        .agent(name, arguments.into_iter().chain(more.iter().copied()))
        .await?;
    let json = answer.json()?;
    let stories = json
        .get("stories")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let mut stories = stories.filter(|entry| entry.get("story").and_then(Value::as_str) == Some(story));
    stories
        .next()
        .cloned()
        .with_context(|| format!("{name} has not received it"))
}

pub(super) fn story_of(answer: &Answer) -> anyhow::Result<String> {
    let json = answer.json()?;
    let shared = json.get("outcome").and_then(Value::as_str) == Some("shared");
    let story = json.get("story").and_then(Value::as_str).filter(|_| shared);
    Ok(story.context("not shared")?.to_owned())
}

/// In a few words, what a command answered.
pub(super) fn said(answer: &Answer) -> String {
    let Ok(json) = answer.json() else {
        return format!("exit {}: {}", answer.code, answer.errors.trim());
    };
    let field = |name: &str| json.get(name).and_then(Value::as_str).unwrap_or_default();
    let rules = json.get("rules").and_then(Value::as_array).into_iter().flatten();
    let rules: Vec<&str> = rules.filter_map(|rule| rule.get("rule")?.as_str()).collect();
    let outcome = field("outcome").replace('_', " ");
    match (outcome.is_empty(), rules.is_empty()) {
        (false, false) => format!("{outcome} by {}", rules.join(", ")),
        (false, true) => outcome,
        (true, _) => format!("exit {}: {}", answer.code, answer.errors.trim()),
    }
}
