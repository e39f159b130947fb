//! The stage: folders, processes, and the commands that people would type.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// Marks a folder as a demo's, which the next demo may remove.
const MARKER: &str = ".sealgate-demo";
/// A process that has not said that it is ready by then will not be.
const READY: Duration = Duration::from_secs(60);
/// A process that has not ended by then is killed.
const END: Duration = Duration::from_secs(10);

const POLICY: &[(&str, &str)] = &[
    (
        "policy.toml",
        include_str!("../../../../policies/example/policy.toml"),
    ),
    ("dlp.toml", include_str!("../../../../policies/example/dlp.toml")),
    (
        "detectors/own.toml",
        include_str!("../../../../policies/example/detectors/own.toml"),
    ),
    (
        "sharing/model.conf",
        include_str!("../../../../policies/example/sharing/model.conf"),
    ),
    (
        "sharing/policy.csv",
        include_str!("../../../../policies/example/sharing/policy.csv"),
    ),
];

/// What a command answered.
pub(crate) struct Answer {
    /// Its exit code; -1 if a signal ended it.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) text: String,
    /// Standard error.
    pub(crate) errors: String,
}

impl Answer {
    /// The last JSON object on standard output.
    pub(crate) fn json(&self) -> anyhow::Result<Value> {
        let line = self.text.lines().rev().find(|line| line.starts_with('{'));
        let line = line.with_context(|| {
            format!(
                "no JSON in the answer (exit {}): {}",
                self.code,
                self.errors.trim()
            )
        })?;
        serde_json::from_str(line).context("the answer is not JSON")
    }

    fn done(self) -> anyhow::Result<Self> {
        if self.code == 0 {
            Ok(self)
        } else {
            bail!("exit {}: {}", self.code, self.errors.trim())
        }
    }
}

/// Gateway and agents, running.
pub(crate) struct Stage {
    root: PathBuf,
    sealgate: PathBuf,
    agent: PathBuf,
    status_url: String,
    processes: Vec<Child>,
}

impl Stage {
    /// Makes the folders, starts the gateway, publishes the policy, enrols and starts the agents.
    pub(crate) async fn set(dir: &Path, status_port: u16) -> anyhow::Result<Self> {
        let sealgate = std::env::current_exe().context("cannot find this program's own file")?;
        let agent = sealgate.with_file_name("sealgate-agent");
        if !agent.exists() {
            bail!("`sealgate-agent` is not beside `sealgate`; build both: cargo build --release");
        }
        let root = empty_folder(dir)?;
        let mut stage = Self {
            root,
            sealgate,
            agent,
            status_url: String::new(),
            processes: Vec::new(),
        };
        match stage.raise(status_port).await {
            Ok(()) => Ok(stage),
            Err(error) => {
                stage.strike().await;
                Err(error)
            }
        }
    }

    async fn raise(&mut self, status_port: u16) -> anyhow::Result<()> {
        let root = self.root.display().to_string();
        self.run(
            &self.sealgate,
            [
                "init",
                "--dir",
                &root,
                "--tenant",
                "acme",
                "--bucket-seconds",
                "1",
            ],
        )
        .await?
        .done()?;
        let status = format!("127.0.0.1:{status_port}");
        let gateway = self.gateway_folder();
        let ready = self
            .start(
                &self.sealgate.clone(),
                [
                    "serve",
                    "--dir",
                    &gateway,
                    "--listen",
                    "127.0.0.1:0",
                    "--status",
                    &status,
                ],
            )
            .await
            .context("the gateway did not start")?;
        ready
            .get("status_url")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .clone_into(&mut self.status_url);
        self.publish_policy().await?;
        self.person("Alice", "employees", None).await?;
        self.person("Bob", "employees", None).await?;
        self.person("Carol", "guests", Some("guest")).await?;
        Ok(())
    }

    async fn publish_policy(&self) -> anyhow::Result<()> {
        let folder = self.root.join("policy");
        for (path, text) in POLICY {
            let file = folder.join(path);
            if let Some(parent) = file.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(file, text)?;
        }
        let (folder, authors) = (folder.display().to_string(), self.root.join("authors"));
        let author = authors.join("author.key").display().to_string();
        let approver = authors.join("approver.key").display().to_string();
        let draft = self.root.join("policy-1.bundle").display().to_string();
        self.run(&self.sealgate, ["policy", "check", &folder])
            .await?
            .done()
            .context("the sample policy")?;
        self.run(
            &self.sealgate,
            [
                "policy",
                "sign",
                &folder,
                "--key",
                &author,
                "--version",
                "1",
                "--out",
                &draft,
            ],
        )
        .await?
        .done()?;
        self.run(
            &self.sealgate,
            ["policy", "sign", "--bundle", &draft, "--key", &approver],
        )
        .await?
        .done()?;
        self.gateway(["policy", "publish", &draft]).await?.done()?;
        Ok(())
    }

    async fn person(&mut self, name: &str, group: &str, class: Option<&str>) -> anyhow::Result<()> {
        self.gateway(["person", "add", name, "--group", group])
            .await?
            .done()?;
        let token = self
            .root
            .join(format!("{}.enrollment", name.to_lowercase()))
            .display()
            .to_string();
        let mut arguments = vec!["token", "add", "--person", name, "--out", &token];
        arguments.extend(class.iter().flat_map(|class| ["--class", class]));
        self.gateway(arguments).await?.done()?;
        self.agent(name, ["enroll", "--token-file", &token])
            .await?
            .done()?;
        let folder = self.agent_folder(name).display().to_string();
        self.start(&self.agent.clone(), ["run", "--dir", &folder])
            .await
            .with_context(|| format!("{name}'s agent did not start"))?;
        Ok(())
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn status_url(&self) -> &str {
        &self.status_url
    }

    fn gateway_folder(&self) -> String {
        self.root.join("gateway").display().to_string()
    }

    pub(crate) fn agent_folder(&self, name: &str) -> PathBuf {
        self.root.join(format!("agent-{}", name.to_lowercase()))
    }

    /// An administrator's command.
    pub(crate) async fn gateway<'a>(
        &self,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> anyhow::Result<Answer> {
        let folder = self.gateway_folder();
        self.run(&self.sealgate, with(arguments, &["--dir", &folder, "--json"]))
            .await
    }

    /// `sealgate verify PATH`, as an auditor runs it.
    pub(crate) async fn verify(&self, path: &Path) -> anyhow::Result<Answer> {
        self.run(
            &self.sealgate,
            [OsStr::new("verify"), path.as_os_str(), OsStr::new("--json")],
        )
        .await
    }

    /// An employee's command, answered in JSON.
    pub(crate) async fn agent<'a>(
        &self,
        name: &str,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> anyhow::Result<Answer> {
        let folder = self.agent_folder(name).display().to_string();
        self.run(&self.agent, with(arguments, &["--dir", &folder, "--json"]))
            .await
    }

    /// An employee's command, answered as they see it.
    pub(crate) async fn agent_text<'a>(
        &self,
        name: &str,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> anyhow::Result<Answer> {
        let folder = self.agent_folder(name).display().to_string();
        self.run(&self.agent, with(arguments, &["--dir", &folder])).await
    }

    async fn run(
        &self,
        program: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> anyhow::Result<Answer> {
        let output = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("cannot run {}", program.display()))?;
        Ok(Answer {
            code: output.status.code().unwrap_or(-1),
            text: String::from_utf8_lossy(&output.stdout).into_owned(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Starts a process that stays, and awaits the JSON line by which it says that it is ready. Its log goes
    /// to a file of the demo's folder.
    async fn start(
        &mut self,
        program: &Path,
        arguments: impl IntoIterator<Item = &str>,
    ) -> anyhow::Result<Value> {
        let log_path = self.root.join(format!("process-{}.log", self.processes.len()));
        let log = fs::File::create(&log_path)?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let output = child.stdout.take().context("no standard output")?;
        let mut line = String::new();
        let read = tokio::time::timeout(READY, BufReader::new(output).read_line(&mut line)).await;
        self.processes.push(child);
        match read {
            Ok(Ok(length)) if length > 0 => serde_json::from_str(&line).context("the first line is not JSON"),
            Ok(_) => bail!("it ended; its log: {}", log_path.display()),
            Err(_) => bail!(
                "it was not ready within {} s; its log: {}",
                READY.as_secs(),
                log_path.display()
            ),
        }
    }

    /// Ends all processes, agents first, gently and then not.
    pub(crate) async fn strike(&mut self) {
        while let Some(mut process) = self.processes.pop() {
            if let Some(id) = process.id() {
                let _ = Command::new("kill")
                    .args(["-TERM", &id.to_string()])
                    .status()
                    .await;
            }
            if tokio::time::timeout(END, process.wait()).await.is_err() {
                let _ = process.kill().await;
            }
        }
    }
}

/// Arguments of a command, with more behind them.
fn with<'a>(arguments: impl IntoIterator<Item = &'a str>, more: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
    all.extend(more.iter().map(|&argument| argument.to_owned()));
    all
}

fn empty_folder(dir: &Path) -> anyhow::Result<PathBuf> {
    if dir.exists() {
        let empty = fs::read_dir(dir)
            .with_context(|| format!("cannot read {}", dir.display()))?
            .next()
            .is_none();
        if !empty && !dir.join(MARKER).exists() {
            bail!(
                "{} holds something that is not a demo's; choose another folder with --dir",
                dir.display()
            );
        }
        fs::remove_dir_all(dir)
            .with_context(|| format!("cannot remove the earlier demo in {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    fs::write(
        dir.join(MARKER),
        "made by `sealgate demo`, which removes this folder when it starts again\n",
    )?;
    dir.canonicalize().context("cannot resolve the demo's folder")
}
