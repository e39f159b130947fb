//! `check --tests FOLDER`: the tests with a draft of an author's policy folder (K3). The folder is
//! checked as the gateway checks it; nothing of an enrolled agent is used.

use std::collections::BTreeMap;
use std::path::Path;

use agent_inspect::{Draft, DraftFile, Engine, Limits};
use anyhow::{Context as _, bail};
use policies::cases::{Case, Given};
use policies::decide::decide;
use policies::document::{Folder, check};
use policies::plan::Plan;
use serde::Serialize;

use crate::exit::Exit;
use crate::limits;
use crate::print;

/// What was run, and what did not hold.
#[derive(Debug, Serialize)]
struct Outcome {
    ok: bool,
    run: usize,
    failures: Vec<Failure>,
}

#[derive(Debug, Serialize)]
struct Failure {
    test: String,
    place: String,
    fault: String,
}

/// Runs them and prints what failed.
pub(crate) async fn execute(folder: &Path, json: bool) -> anyhow::Result<Exit> {
    let folder = folder.to_owned();
    let outcome = tokio::task::spawn_blocking(move || run(&folder)).await??;
    if json {
        print::json(&outcome)?;
    } else {
        print::line(&text(&outcome));
    }
    Ok(if outcome.ok { Exit::Done } else { Exit::Failed })
}

fn run(folder: &Path) -> anyhow::Result<Outcome> {
    let checked = check(&read_folder(folder)?)?;
    let plan = Plan::draft(&checked);
    let engine = Engine::compile(&plan)?;
    let mut outcome = Outcome {
        ok: true,
        run: 0,
        failures: Vec::new(),
    };
    for case in plan.tests() {
        let Given::Draft { text, files } = &case.given else {
            continue;
        };
        outcome.run += 1;
        if let Some(fault) = fault(&plan, &engine, case, text, files) {
            let place = format!("{}:{}", case.file, case.line);
            outcome.failures.push(Failure {
                test: case.name.clone(),
                place,
                fault,
            });
        }
    }
    outcome.ok = outcome.failures.is_empty();
    Ok(outcome)
}

/// Why a test does not hold, if it does not.
pub(crate) fn fault(
    plan: &Plan,
    engine: &Engine,
    case: &Case,
    text: &str,
    files: &[String],
) -> Option<String> {
    let mut attached = Vec::with_capacity(files.len());
    for path in files {
        let Some(bytes) = plan.file(path) else {
            return Some(format!("`{path}` is not in the folder"));
        };
        let name = path.rsplit('/').next().unwrap_or(path).to_owned();
        attached.push(DraftFile {
            name,
            bytes: bytes.to_vec(),
        });
    }
    let report = engine.inspect(&Draft::new(text.to_owned(), attached), &Limits::default());
    case.judge(&decide(plan, &case.facts(), &report.evidence()))
}

fn text(outcome: &Outcome) -> String {
    let mut lines: Vec<String> = outcome
        .failures
        .iter()
        .map(|failure| format!("{}: {}: {}", failure.place, failure.test, failure.fault))
        .collect();
    lines.push(format!(
        "{} tests with a draft, {} failed",
        outcome.run,
        outcome.failures.len()
    ));
    lines.join("\n")
}

/// All files of a folder, by relative path with `/`; hidden ones are passed over.
fn read_folder(root: &Path) -> anyhow::Result<Folder> {
    let mut files = BTreeMap::new();
    let mut bytes = 0;
    let mut waiting = vec![(root.to_owned(), String::new())];
    while let Some((folder, prefix)) = waiting.pop() {
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("cannot read `{}`", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                bail!("`{}` holds a name that is not UTF-8", folder.display());
            };
            let (path, kind) = (format!("{prefix}{name}"), entry.file_type()?);
            if name.starts_with('.') {
                continue;
            }
            if kind.is_dir() {
                waiting.push((entry.path(), format!("{path}/")));
            } else if kind.is_file() {
                let content = std::fs::read(entry.path())?;
                bytes += content.len();
                files.insert(path, content);
            }
            if bytes > limits::POLICY_FOLDER_BYTES_MAX || waiting.len() > limits::POLICY_FOLDERS_MAX {
                bail!("`{}` is larger than a policy folder may be", root.display());
            }
        }
    }
    Ok(Folder { files })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P2, P13: the example's own drafts have the outcome that its tests promise.
    #[test]
    fn the_examples_tests_with_a_draft_hold() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/example");
        let outcome = run(&example).unwrap();
        assert!(outcome.run > 0);
        assert!(outcome.ok, "{}", text(&outcome));
    }

    #[test]
    fn a_folder_that_is_no_policy_says_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        assert!(
            run(folder.path())
                .unwrap_err()
                .to_string()
                .contains("policy.toml")
        );
    }
}
