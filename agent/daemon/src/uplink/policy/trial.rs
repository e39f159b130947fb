//! A bundle is tried in a child before it decides (B6): what hangs, grows or crashes there does not do so here.

use std::io::Read as _;
use std::process::Stdio;

use agent_inspect::Engine;
use anyhow::Context as _;
use gateway_api::v1::bundle::Rejection;
use nix::sys::resource::{Resource, setrlimit};
use policies::bundle::UnsignedBundle;
use policies::cases::Given;
use policies::plan::Plan;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::Refused;
use crate::command::policy_tests;
use crate::limits;
use crate::print;

/// The child's command.
pub(crate) const COMMAND: &str = "policy-trial";

/// What the child says.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Outcome {
    reason: Option<Rejection>,
    why: String,
    /// Tests that were run.
    tests: usize,
}

/// Tries a bundle in a child of this very program, which has no environment, no files and bounded resources.
///
/// # Errors
/// No child could be started: nothing is known about the bundle then.
pub(super) async fn run(bytes: &[u8]) -> anyhow::Result<Result<(), Refused>> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut child = Command::new(program)
        .arg(COMMAND)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("the trial of the policy cannot be started")?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (mut stdin, stdout) = stdin
        .zip(stdout)
        .context("the trial of the policy has no pipes")?;
    let talk = async {
        // A child that died does not read; its answer says so.
        let _ = stdin.write_all(bytes).await;
        drop(stdin);
        let mut answer = Vec::new();
        stdout
            .take(limits::TRIAL_ANSWER_BYTES_MAX)
            .read_to_end(&mut answer)
            .await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(limits::TRIAL_TIMEOUT, talk).await;
    let answer = answer.ok().and_then(Result::ok);
    Ok(judge(answer.as_deref()))
}

fn judge(answer: Option<&[u8]>) -> Result<(), Refused> {
    let outcome = answer.and_then(|answer| serde_json::from_slice::<Outcome>(answer).ok());
    match outcome {
        None => Err(Refused {
            reason: Rejection::Budget,
            why: "its trial took too long, needed too much memory, or died".to_owned(),
        }),
        Some(Outcome {
            reason: Some(reason),
            why,
            ..
        }) => Err(Refused { reason, why }),
        Some(Outcome { tests, .. }) => {
            tracing::debug!(tests, "policy tried");
            Ok(())
        }
    }
}

/// The child: reads a bundle, says what becomes of it, and may do nothing else.
///
/// # Errors
/// The limits cannot be set, or the pipes are not there.
pub(crate) fn execute() -> anyhow::Result<()> {
    restrict()?;
    let mut bytes = Vec::new();
    std::io::stdin()
        .take(limits::TRIAL_BUNDLE_BYTES_MAX)
        .read_to_end(&mut bytes)?;
    print::json(&try_bundle(&bytes))
}

fn restrict() -> anyhow::Result<()> {
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_no_new_privs()?;
    for (resource, limit) in [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_NOFILE, limits::TRIAL_DESCRIPTORS),
        (Resource::RLIMIT_CPU, limits::TRIAL_CPU_S),
        (Resource::RLIMIT_AS, limits::TRIAL_MEMORY_BYTES),
    ] {
        setrlimit(resource, limit, limit)?;
    }
    Ok(())
}

fn try_bundle(bytes: &[u8]) -> Outcome {
    let refused = |reason, why: String| Outcome {
        reason: Some(reason),
        why,
        tests: 0,
    };
    let checked = match UnsignedBundle::parse(bytes) {
        Ok(bundle) => bundle.check(),
        Err(error) => return refused(Rejection::Invalid, error.to_string()),
    };
    let plan = match checked {
        Ok(checked) => Plan::draft(&checked),
        Err(problems) => return refused(Rejection::Invalid, problems.to_string()),
    };
    let engine = match Engine::compile(&plan) {
        Ok(engine) => engine,
        Err(error) => return refused(Rejection::Invalid, error.to_string()),
    };
    let mut tests = 0;
    for case in plan.tests() {
        let fault = match &case.given {
            Given::Draft { text, files } => policy_tests::fault(&plan, &engine, case, text, files),
            Given::Metadata(_) => case.run_metadata(&plan).and_then(Result::err),
            // The gateway's: casbin decides there alone.
            Given::Sharing { .. } => continue,
        };
        tests += 1;
        if let Some(fault) = fault {
            let why = format!("{}:{}: {}: {fault}", case.file, case.line, case.name);
            return refused(Rejection::TestFailed, why);
        }
    }
    Outcome {
        tests,
        ..Outcome::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B6: no answer, half an answer and a refusal are refusals.
    #[test]
    fn only_a_whole_answer_without_a_reason_lets_a_bundle_decide() {
        let reason = |answer: Option<&[u8]>| judge(answer).err().map(|refused| refused.reason);
        assert_eq!(reason(None), Some(Rejection::Budget));
        assert_eq!(reason(Some(b"{\"reason\":null")), Some(Rejection::Budget));
        let failed = br#"{"reason":"test-failed","why":"x","tests":3}"#;
        assert_eq!(reason(Some(failed)), Some(Rejection::TestFailed));
        assert_eq!(reason(Some(br#"{"reason":null,"why":"","tests":3}"#)), None);
    }

    #[test]
    fn bytes_that_are_no_bundle_are_refused() {
        assert_eq!(try_bundle(b"nothing").reason, Some(Rejection::Invalid));
    }
}
