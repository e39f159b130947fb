//! `sealgate policy`: check, test, sign, publish.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::Subcommand;
use gateway_api::bytes::Bytes;
use policies::bundle::{ManifestFields, Role, UnsignedBundle, assemble};
use policies::cases::{Case, Expectation, Given};
use policies::document::{Folder, Problems, check};
use policies::plan::Plan;
use policies::terms::PersonId;
use serde_json::json;

use super::{Common, ask, output};
use crate::admin::Command;
use crate::clock::Clock;
use crate::config::{files, keys};
use crate::limits;
use crate::sharing::{SharingEngine, SharingRequest};

/// Life of a bundle: agents treat an older one as stale (B4).
const BUNDLE_LIFETIME_S: u64 = 365 * 86_400;
/// Depth of a policy folder.
const FOLDER_DEPTH_MAX: usize = 4;

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Check a policy folder: every problem at once
    Check {
        folder: PathBuf,
        #[arg(long)]
        json: bool,
    },
    /// Run the folder's tests
    Test {
        folder: PathBuf,
        #[arg(long)]
        json: bool,
    },
    /// Sign a folder as a new bundle, or add the second signature to one
    Sign {
        folder: Option<PathBuf>,
        /// An author's or approver's key
        #[arg(long)]
        key: PathBuf,
        /// Version of the new bundle: higher than any before
        #[arg(long, requires = "folder")]
        version: Option<u64>,
        /// Where the new bundle goes
        #[arg(long, requires = "folder")]
        out: Option<PathBuf>,
        /// The bundle to sign second
        #[arg(long, conflicts_with = "folder")]
        bundle: Option<PathBuf>,
        #[arg(long)]
        json: bool,
    },
    /// Publish a bundle with both signatures
    Publish {
        bundle: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// Which version decides on which device, and what became of the newest one
    Status {
        #[command(flatten)]
        common: Common,
    },
}

pub(super) async fn run(command: PolicyCommand) -> anyhow::Result<ExitCode> {
    match command {
        PolicyCommand::Check { folder, json } => check_folder(&folder, json),
        PolicyCommand::Test { folder, json } => test_folder(&folder, json).await,
        PolicyCommand::Sign {
            folder: Some(folder),
            key,
            version: Some(version),
            out: Some(out),
            bundle: None,
            json,
        } => sign_folder(&folder, &key, version, &out, json),
        PolicyCommand::Sign {
            folder: None,
            key,
            bundle: Some(bundle),
            json,
            ..
        } => sign_bundle(&bundle, &key, json),
        PolicyCommand::Sign { .. } => {
            bail!(
                "say `policy sign FOLDER --key KEY --version N --out FILE`, or `policy sign --bundle FILE --key KEY`"
            )
        }
        PolicyCommand::Publish { bundle, common } => {
            let bytes = files::read(&bundle)?;
            let reply = ask(&common, Command::PolicyPublish { bundle: Bytes(bytes) }).await?;
            output::reply(&common, &reply)?;
            Ok(ExitCode::SUCCESS)
        }
        PolicyCommand::Status { common } => {
            output::reply(&common, &ask(&common, Command::PolicyStatus).await?)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn check_folder(folder: &Path, json: bool) -> anyhow::Result<ExitCode> {
    match check(&read_folder(folder)?) {
        Ok(_) => say(
            json,
            &json!({ "ok": true, "problems": [] }),
            "the policy folder holds together",
            ExitCode::SUCCESS,
        ),
        Err(problems) => report_problems(&problems, json),
    }
}

/// Metadata and sharing tests run here; tests with a draft need the inspection engine, which lives in the agent (K3).
async fn test_folder(folder: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let checked = match check(&read_folder(folder)?) {
        Ok(checked) => checked,
        Err(problems) => return report_problems(&problems, json),
    };
    let plan = Plan::draft(&checked);
    let mut failures = Vec::new();
    let (mut run, mut drafts) = (0_usize, 0_usize);
    for case in plan.tests() {
        let fault = match &case.given {
            Given::Draft { .. } => {
                drafts = drafts.saturating_add(1);
                continue;
            }
            Given::Metadata(_) => case.run_metadata(&plan).and_then(Result::err),
            Given::Sharing { minute } => sharing_fault(&plan, case, *minute).await?,
        };
        run = run.saturating_add(1);
        let place = format!("{}:{}", case.file, case.line);
        failures.extend(fault.map(|fault| json!({ "test": case.name, "place": place, "fault": fault })));
    }
    let agent = if drafts > 0 {
        Some(test_drafts(folder, json)?)
    } else {
        None
    };
    let drafts_ok = agent.as_ref().is_none_or(|agent| agent.status.success());
    let agent = agent.map(|agent| String::from_utf8_lossy(&agent.stdout).trim().to_owned());
    let ok = failures.is_empty() && drafts_ok;
    let mut text: Vec<String> = failures.iter().map(ToString::to_string).collect();
    text.push(format!(
        "{run} tests of metadata and sharing, {} failed; {drafts} tests with a draft:",
        failures.len()
    ));
    text.extend(agent.clone());
    let value = json!({ "ok": ok, "run": run, "failures": failures, "drafts": drafts, "agent": agent });
    say(
        json,
        &value,
        &text.join("\n"),
        if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE },
    )
}

/// Why a sharing test fails, if it does.
async fn sharing_fault(plan: &Plan, case: &Case, minute: u16) -> anyhow::Result<Option<String>> {
    let Expectation::Sharing { allowed, line } = &case.expect else {
        return Ok(Some("a sharing test expects a decision about sharing".to_owned()));
    };
    let person = PersonId::from_bytes([1; 16]);
    let groups = BTreeMap::from([(person, case.context.groups.clone())]);
    let engine = SharingEngine::build(plan.sharing(), plan.tenant(), &groups, 0).await?;
    let decision = engine.decide(&SharingRequest {
        person,
        labels: case.context.labels.clone(),
        audience_class: case.context.audience_class,
        app: case.context.app.clone(),
        tier: case.context.tier,
        binding: case.context.binding,
        minute,
    });
    let by = decision.rule.as_deref().unwrap_or("no rule");
    if decision.allowed != *allowed {
        let word = |allowed: bool| if allowed { "allow" } else { "deny" };
        return Ok(Some(format!(
            "expected `{}`, got `{}` by {by}",
            word(*allowed),
            word(decision.allowed)
        )));
    }
    let named = line.is_none_or(|line| by.ends_with(&format!(":{line}")));
    Ok((!named).then(|| format!("another line decided: {by}")))
}

fn test_drafts(folder: &Path, json: bool) -> anyhow::Result<std::process::Output> {
    let agent = std::env::current_exe()?.with_file_name("sealgate-agent");
    ensure!(
        agent.exists(),
        "`sealgate-agent` is not beside `sealgate`; tests with a draft need it"
    );
    let mut command = std::process::Command::new(agent);
    command.arg("check").arg("--tests").arg(folder);
    if json {
        command.arg("--json");
    }
    command
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot run `sealgate-agent`")
}

fn sign_folder(folder: &Path, key: &Path, version: u64, out: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let checked = match check(&read_folder(folder)?) {
        Ok(checked) => checked,
        Err(problems) => return report_problems(&problems, json),
    };
    let issued_s = Clock::default().now_s();
    let fields = ManifestFields {
        channel: "main".to_owned(),
        version,
        min_agent: env!("CARGO_PKG_VERSION").to_owned(),
        issued_s,
        expires_s: issued_s.saturating_add(BUNDLE_LIFETIME_S),
        previous: None,
    };
    let unsigned = assemble(&checked, fields).sign(Role::Author, &keys::read_signing_key(key)?)?;
    files::replace(out, &unsigned.to_bytes())?;
    let text = format!(
        "wrote {}, signed as author; it needs an approver's signature too",
        out.display()
    );
    say(
        json,
        &json!({ "out": out, "version": version, "roles": ["author"] }),
        &text,
        ExitCode::SUCCESS,
    )
}

fn sign_bundle(path: &Path, key: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let bytes = files::read(path)?;
    let unsigned =
        UnsignedBundle::parse(&bytes).with_context(|| format!("`{}` is not a bundle", path.display()))?;
    let unsigned = unsigned.sign(Role::Approver, &keys::read_signing_key(key)?)?;
    files::replace(path, &unsigned.to_bytes())?;
    let text = format!(
        "signed {} as approver; publish it with: sealgate policy publish {} --dir DIR",
        path.display(),
        path.display()
    );
    say(
        json,
        &json!({ "out": path, "roles": ["author", "approver"] }),
        &text,
        ExitCode::SUCCESS,
    )
}

fn report_problems(problems: &Problems, json: bool) -> anyhow::Result<ExitCode> {
    let list: Vec<_> = problems
        .0
        .iter()
        .map(|p| json!({ "file": p.file, "line": p.line, "column": p.column, "message": p.message, "help": p.help }))
        .collect();
    say(
        json,
        &json!({ "ok": false, "problems": list }),
        &problems.to_string(),
        ExitCode::FAILURE,
    )
}

fn say(json: bool, value: &serde_json::Value, text: &str, code: ExitCode) -> anyhow::Result<ExitCode> {
    if json {
        output::json(value)?
    } else {
        output::text(text)?
    }
    Ok(code)
}

/// Every regular file below the folder, dotfiles left out, by its path with `/`.
fn read_folder(folder: &Path) -> anyhow::Result<Folder> {
    let mut files_by_path = BTreeMap::new();
    let mut size_bytes = 0_usize;
    let mut waiting = vec![(folder.to_owned(), String::new(), 0)];
    while let Some((path, prefix, depth)) = waiting.pop() {
        let entries = std::fs::read_dir(&path)
            .with_context(|| format!("cannot read the folder `{}`", path.display()))?;
        for entry in entries {
            let entry = entry?;
            let name = entry
                .file_name()
                .into_string()
                .map_err(|_| anyhow::anyhow!("a file's name is not UTF-8"))?;
            let kind = entry.file_type()?;
            let inner = format!("{prefix}{name}");
            if name.starts_with('.') {
                continue;
            }
            if kind.is_dir() {
                ensure!(
                    depth < FOLDER_DEPTH_MAX,
                    "`{inner}` lies too deep for a policy folder"
                );
                waiting.push((entry.path(), format!("{inner}/"), depth + 1));
            } else if kind.is_file() {
                let bytes = files::read(&entry.path())?;
                size_bytes = size_bytes.saturating_add(bytes.len());
                ensure!(
                    size_bytes <= limits::BUNDLE_BYTES_MAX,
                    "the policy folder is larger than a bundle may be"
                );
                files_by_path.insert(inner, bytes);
            }
        }
    }
    Ok(Folder { files: files_by_path })
}
