//! A gateway and some agents, running; their commands; and a device's own connection, for attacks.

pub(crate) mod database;
pub(crate) mod device;
pub(crate) mod front;
mod process;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use policies::keys::Ed25519PublicKey;
use serde_json::Value;
use tempfile::TempDir;

use device::Device;
use front::Front;
pub(crate) use process::{Answer, Process, Running, program, run};

/// Exit codes of `sealgate-agent`.
pub(crate) const BLOCKED: i32 = 10;
pub(crate) const REFUSED: i32 = 13;
pub(crate) const KEPT: i32 = 14;
pub(crate) const NO_POLICY: i32 = 15;
pub(crate) const WAITING: i32 = 16;
/// How long anything that is awaited may take. A limit against hanging, not a measure.
pub(crate) const PATIENCE: &str = "60s";
/// The same, where the test looks by itself.
const HANGS: Duration = Duration::from_secs(120);

/// One tenant with its gateway, and agents by the names of their people. Everything ends with it.
pub(crate) struct World {
    folder: TempDir,
    gateway: Option<Process>,
    agents: BTreeMap<String, Process>,
    listen: String,
    pub(crate) status_url: String,
}

impl World {
    /// A gateway with the example policy as version 1, and nobody in it.
    pub(crate) fn new() -> Self {
        let world = Self::unpublished();
        let bundle = world.sign_policy(1);
        world.gateway(["policy", "publish", &bundle]).succeeded();
        world
    }

    /// A gateway that no policy was published at yet.
    pub(crate) fn unpublished() -> Self {
        let folder = tempfile::Builder::new().prefix("sg").tempdir().unwrap();
        let root = folder.path().to_str().unwrap();
        run(
            "sealgate",
            ["init", "--dir", root, "--tenant", "acme", "--bucket-seconds", "1"],
        )
        .succeeded();
        let mut world = Self {
            folder,
            gateway: None,
            agents: BTreeMap::new(),
            listen: "127.0.0.1:0".to_owned(),
            status_url: String::new(),
        };
        world.start_gateway();
        copy_folder(&repository().join("policies/example"), &world.path("policy"));
        world
    }

    /// A world with Alice and Bob, employees, in the audience `team`.
    pub(crate) fn with_team() -> Self {
        let mut world = Self::new();
        world.employ("Alice", "employees");
        world.employ("Bob", "employees");
        world
            .agent("Alice", ["audience", "create", "team", "--with", "Bob"])
            .succeeded();
        world
    }

    /// Signs the folder `policy` as both roles; the path of the bundle.
    pub(crate) fn sign_policy(&self, version: u64) -> String {
        let bundle = self
            .path(&format!("policy-{version}.bundle"))
            .display()
            .to_string();
        let folder = self.path("policy").display().to_string();
        let key = |role: &str| {
            self.path("authors")
                .join(format!("{role}.key"))
                .display()
                .to_string()
        };
        let version = version.to_string();
        run(
            "sealgate",
            [
                "policy",
                "sign",
                &folder,
                "--key",
                &key("author"),
                "--version",
                &version,
                "--out",
                &bundle,
            ],
        )
        .succeeded();
        run(
            "sealgate",
            ["policy", "sign", "--bundle", &bundle, "--key", &key("approver")],
        )
        .succeeded();
        bundle
    }

    /// Adds a person of a group, enrols a device of theirs, starts its agent.
    pub(crate) fn employ(&mut self, name: &str, group: &str) {
        self.enrol(name, group, "internal");
    }

    /// The same for an outsider.
    pub(crate) fn invite(&mut self, name: &str) {
        self.enrol(name, "guests", "guest");
    }

    fn enrol(&mut self, name: &str, group: &str, class: &str) {
        self.gateway(["person", "add", name, "--group", group])
            .succeeded();
        let token = self
            .path(&format!("{}.enrollment", name.to_lowercase()))
            .display()
            .to_string();
        self.gateway([
            "token", "add", "--person", name, "--class", class, "--out", &token,
        ])
        .succeeded();
        self.agent(name, ["enroll", "--token-file", &token]).succeeded();
        self.start_agent(name);
    }

    pub(crate) fn start_agent(&mut self, name: &str) {
        let folder = self.agent_folder(name).display().to_string();
        let (process, _ready) =
            Process::start("sealgate-agent", &["run", "--dir", &folder], &self.log_path(name));
        self.agents.insert(name.to_owned(), process);
    }

    /// Starts somebody's agent, whose log says why it does not.
    pub(crate) fn try_start_agent(&mut self, name: &str) -> Result<(), String> {
        let folder = self.agent_folder(name).display().to_string();
        let arguments = ["run", "--dir", &folder];
        let (process, _ready) = Process::try_start("sealgate-agent", &arguments, &self.log_path(name))?;
        self.agents.insert(name.to_owned(), process);
        Ok(())
    }

    /// Starts somebody's agent, and does not wait until it is ready.
    pub(crate) fn spawn_agent(&mut self, name: &str) {
        let folder = self.agent_folder(name).display().to_string();
        let (process, _lines) =
            Process::spawn("sealgate-agent", &["run", "--dir", &folder], &self.log_path(name));
        self.agents.insert(name.to_owned(), process);
    }

    /// SIGKILL to somebody's agent, if it runs.
    pub(crate) fn kill_agent_if_any(&mut self, name: &str) {
        drop(self.agents.remove(name));
    }

    /// The process of somebody's agent.
    pub(crate) fn agent_id(&self, name: &str) -> u32 {
        self.agents[name].id()
    }

    /// How long a file may become that somebody's agent writes to.
    #[cfg(target_os = "linux")]
    pub(crate) fn limit_agent(&self, name: &str, bytes: Option<u64>) {
        self.agents[name].limit_files(bytes);
    }

    /// The same for the gateway.
    #[cfg(target_os = "linux")]
    pub(crate) fn limit_gateway(&self, bytes: Option<u64>) {
        self.gateway.as_ref().unwrap().limit_files(bytes);
    }

    /// The process of the gateway.
    pub(crate) fn gateway_id(&self) -> u32 {
        self.gateway.as_ref().unwrap().id()
    }

    pub(crate) fn stop_agent(&mut self, name: &str) {
        self.agents.remove(name).unwrap().stop();
    }

    /// SIGKILL, as a crash is.
    pub(crate) fn kill_agent(&mut self, name: &str) {
        drop(self.agents.remove(name).unwrap());
    }

    /// Starts the gateway; again on the port that it had.
    pub(crate) fn start_gateway(&mut self) {
        self.start_gateway_below(None);
    }

    /// The same, with so many descriptors (`RLIMIT_NOFILE`).
    #[cfg(target_os = "linux")]
    pub(crate) fn start_gateway_with_descriptors(&mut self, descriptors: u64) {
        self.start_gateway_below(Some(descriptors));
    }

    fn start_gateway_below(&mut self, descriptors: Option<u64>) {
        let folder = self.path("gateway").display().to_string();
        let arguments = [
            "serve",
            "--dir",
            &folder,
            "--listen",
            &self.listen,
            "--status",
            "127.0.0.1:0",
        ];
        let log = self.log_path("gateway");
        let (process, ready) = Process::try_start_limited("sealgate", &arguments, &log, descriptors)
            .unwrap_or_else(|log| panic!("the gateway is not ready: {log}"));
        let url = ready["device_url"].as_str().unwrap();
        self.listen = format!(
            "127.0.0.1:{}",
            url.rsplit(':').next().unwrap().trim_end_matches('/')
        );
        self.status_url = ready["status_url"].as_str().unwrap().to_owned();
        self.gateway = Some(process);
    }

    /// Moves the gateway to another port; a front takes the one where the agents look for it.
    pub(crate) fn put_front(&mut self) -> Front {
        self.stop_gateway();
        let listener = TcpListener::bind(&self.listen).unwrap();
        "127.0.0.1:0".clone_into(&mut self.listen);
        self.start_gateway();
        let front = Front::start(listener, self.folder.path(), self.device_url());
        for name in self.agents.keys() {
            until(|| self.agent(name, ["status"]).succeeded().json()["online"] == true);
        }
        front
    }

    pub(crate) fn stop_gateway(&mut self) {
        self.gateway.take().unwrap().stop();
    }

    /// Sends the gateway's process a signal by name, such as `STOP`.
    pub(crate) fn signal_gateway(&self, signal: &str) {
        self.gateway.as_ref().unwrap().signal(signal);
    }

    /// SIGKILL, as a crash is.
    pub(crate) fn kill_gateway(&mut self) {
        drop(self.gateway.take().unwrap());
    }

    pub(crate) fn device_url(&self) -> String {
        format!("https://{}", self.listen)
    }

    /// An administrator's command.
    pub(crate) fn gateway<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Answer {
        let folder = self.path("gateway").display().to_string();
        run("sealgate", with(arguments, &["--dir", &folder, "--json"]))
    }

    /// An employee's command.
    pub(crate) fn agent<'a>(&self, name: &str, arguments: impl IntoIterator<Item = &'a str>) -> Answer {
        let folder = self.agent_folder(name).display().to_string();
        run("sealgate-agent", with(arguments, &["--dir", &folder, "--json"]))
    }

    /// An employee's command that is not waited for.
    pub(crate) fn start_command<'a>(
        &self,
        name: &str,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Running {
        let folder = self.agent_folder(name).display().to_string();
        Running::start("sealgate-agent", with(arguments, &["--dir", &folder, "--json"]))
    }

    /// Shares a text; the story's id.
    pub(crate) fn share(&self, name: &str, audience: &str, text: &str) -> String {
        let answer = self
            .agent(name, ["share", "--audience", audience, "--text", text])
            .succeeded();
        answer.json()["story"].as_str().unwrap().to_owned()
    }

    /// As [`Self::share`], where the agent may still be on its way back to the gateway: a draft that is kept meanwhile is
    /// waited for.
    pub(crate) fn share_at_last(&self, name: &str, audience: &str, text: &str) -> String {
        let answer = self.agent(name, ["share", "--audience", audience, "--text", text]);
        if answer.code != KEPT {
            return answer.succeeded().json()["story"].as_str().unwrap().to_owned();
        }
        let kept = answer.json()["kept"].as_str().unwrap().to_owned();
        let wait = ["pending", "--wait", &kept, "--timeout", PATIENCE];
        let waited = self.agent(name, wait).succeeded().json();
        waited["drafts"][0]["story"].as_str().unwrap().to_owned()
    }

    /// The story in somebody's feed, once it is there.
    pub(crate) fn received(&self, name: &str, story: &str) -> Value {
        let feed = self
            .agent(name, ["feed", "--wait", story, "--timeout", PATIENCE])
            .succeeded()
            .json();
        let stories = feed["stories"].as_array().unwrap();
        stories
            .iter()
            .find(|entry| entry["story"] == story)
            .unwrap()
            .clone()
    }

    /// Whether somebody's agent shows a story's text.
    pub(crate) fn reads(&self, name: &str, story: &str) -> bool {
        let feed = self.agent(name, ["feed"]).json();
        feed["stories"]
            .as_array()
            .unwrap()
            .iter()
            .any(|entry| entry["story"] == story && entry["state"] == "open")
    }

    /// Registers an app of somebody's that runs from a program; its credential file.
    pub(crate) fn register_app(&self, name: &str, app: &str, program: &Path) -> PathBuf {
        let file = self.path(&format!("{}-{app}.credential", name.to_lowercase()));
        let (out, program) = (file.display().to_string(), program.display().to_string());
        let answer = self
            .agent(
                name,
                ["app", "register", app, "--program", &program, "--out", &out],
            )
            .succeeded();
        let credential: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let secret = credential["credential"].as_str().unwrap();
        assert!(!answer.text.contains(secret), "the credential was printed");
        file
    }

    /// A device's own connection, with the keys of its agent.
    pub(crate) fn device(&self, name: &str) -> Device {
        Device::new(&self.agent_folder(name), self.device_url())
    }

    pub(crate) fn agent_folder(&self, name: &str) -> PathBuf {
        self.path(&format!("agent-{}", name.to_lowercase()))
    }

    pub(crate) fn log_path(&self, name: &str) -> PathBuf {
        self.path(&format!("{}.log", name.to_lowercase()))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        }
        for (_, agent) in std::mem::take(&mut self.agents) {
            agent.stop();
        }
        if let Some(gateway) = self.gateway.take() {
            gateway.stop();
        }
    }
}

/// Lines of each log that a failed test shows.
const SHOWN_LINES: usize = 40;

impl World {
    /// The ends of all logs, for whoever looks for the cause of a failure.
    fn show_logs(&self) {
        let files = std::fs::read_dir(self.folder.path())
            .into_iter()
            .flatten()
            .flatten();
        let logs = files
            .map(|file| file.path())
            .filter(|path| path.extension().is_some_and(|end| end == "log"));
        for log in logs {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let end = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
            println!("--- {}\n{}", log.display(), end.join("\n"));
        }
    }
}

/// Looks again and again until it is so: of what nothing can be waited for.
pub(crate) fn until(is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < HANGS, "it is never so");
        std::thread::yield_now();
    }
}

/// The key by which the gateway signs acceptances and refusals.
pub(crate) fn acceptance_key(world: &World) -> Ed25519PublicKey {
    let keys = world.gateway(["keys", "list"]).succeeded().json();
    let keys = keys["keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["name"] == "acceptance").unwrap();
    let bytes: [u8; 32] = hex::decode(key["public"].as_str().unwrap())
        .unwrap()
        .try_into()
        .unwrap();
    Ed25519PublicKey::from_bytes(&bytes).unwrap()
}

/// Arguments of a command, with more behind them.
fn with<'a>(arguments: impl IntoIterator<Item = &'a str>, more: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
    all.extend(more.iter().map(|&argument| argument.to_owned()));
    all
}

/// The repository's root.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Copies a folder with all below it; sockets are left out.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy_folder(&entry.path(), &to.join(entry.file_name()));
        } else if kind.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Every regular file below a folder, with its bytes.
pub(crate) fn files_below(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files_below(&entry.path()));
        } else if kind.is_file() {
            found.push((entry.path(), fs::read(entry.path()).unwrap()));
        }
    }
    found
}

/// Whether `needle` stands anywhere in `bytes`.
pub(crate) fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}
