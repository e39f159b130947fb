//! Processes: those that stay, and commands that answer.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

/// A process that has not said that it is ready by then hangs.
const READY: Duration = Duration::from_secs(120);

/// A binary of the workspace, built beside this test.
pub(crate) fn program(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().unwrap().parent().unwrap().join(name);
    assert!(
        path.exists(),
        "{name} is not built: cargo build --workspace --bins"
    );
    path
}

/// What a command answered.
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) text: String,
    pub(crate) errors: String,
}

impl Answer {
    /// The last JSON object on standard output.
    pub(crate) fn json(&self) -> Value {
        let line = self.text.lines().rev().find(|line| line.starts_with('{'));
        let line =
            line.unwrap_or_else(|| panic!("no JSON; exit {}: {}{}", self.code, self.text, self.errors));
        serde_json::from_str(line).unwrap()
    }

    /// The answer of a command that must not fail.
    pub(crate) fn succeeded(self) -> Self {
        self.ended_with(0)
    }

    /// The answer of a command that must end so.
    pub(crate) fn ended_with(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "standard output: {}\nstandard error: {}",
            self.text, self.errors
        );
        self
    }
}

/// Runs a command to its end.
pub(crate) fn run(name: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Answer {
    Running::start(name, arguments).ended()
}

/// A command that has not ended yet.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(name: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let mut command = Command::new(program(name));
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// SIGKILL, as an impatient person's.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// What it answered, once it has ended.
    pub(crate) fn ended(self) -> Answer {
        let output = self.0.wait_with_output().unwrap();
        Answer {
            code: output.status.code().unwrap_or(-1),
            text: String::from_utf8(output.stdout).unwrap(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A process that stays until it is stopped.
pub(crate) struct Process(Child);

impl Process {
    /// Starts it, its log appended to a file, and awaits the JSON line by which it says that it is ready.
    pub(crate) fn start(name: &str, arguments: &[&str], log: &Path) -> (Self, Value) {
        Self::try_start(name, arguments, log).unwrap_or_else(|log| panic!("{name} is not ready: {log}"))
    }

    /// The same; its log when it ends without that line.
    pub(crate) fn try_start(name: &str, arguments: &[&str], log: &Path) -> Result<(Self, Value), String> {
        Self::try_start_limited(name, arguments, log, None)
    }

    /// The same, with so many descriptors (`RLIMIT_NOFILE`).
    pub(crate) fn try_start_limited(
        name: &str,
        arguments: &[&str],
        log: &Path,
        descriptors: Option<u64>,
    ) -> Result<(Self, Value), String> {
        let (process, lines) = Self::spawn_limited(name, arguments, log, descriptors);
        match lines.recv_timeout(READY) {
            Ok(line) => Ok((process, serde_json::from_str(&line).unwrap())),
            Err(_) => Err(fs::read_to_string(log).unwrap_or_default()),
        }
    }

    /// Starts it, and awaits nothing; the lines that it will print.
    pub(crate) fn spawn(name: &str, arguments: &[&str], log: &Path) -> (Self, mpsc::Receiver<String>) {
        Self::spawn_limited(name, arguments, log, None)
    }

    fn spawn_limited(
        name: &str,
        arguments: &[&str],
        log: &Path,
        descriptors: Option<u64>,
    ) -> (Self, mpsc::Receiver<String>) {
        let log_file = fs::File::options().create(true).append(true).open(log).unwrap();
        let mut command = Command::new("env");
        if cfg!(target_os = "linux") {
            // A file that may not grow is an error then, as a full disk is, and no signal.
            command.arg("--ignore-signal=XFSZ");
        }
        if let Some(descriptors) = descriptors {
            command.args(["prlimit", &format!("--nofile={descriptors}:{descriptors}")]);
        }
        command
            .arg(program(name))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log_file);
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        (Self(child), receiver)
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        let _ = Command::new("kill").args(["-s", name, &id]).status();
    }

    /// How long a file may become that it writes to (`RLIMIT_FSIZE`): a disk that is full, and then is not.
    #[cfg(target_os = "linux")]
    pub(crate) fn limit_files(&self, bytes: Option<u64>) {
        let limit = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        let mut command = Command::new("prlimit");
        command.args(["--pid", &self.0.id().to_string(), &format!("--fsize={limit}:")]);
        assert!(command.status().unwrap().success());
    }

    /// Asks it to end, and waits for it.
    pub(crate) fn stop(mut self) {
        self.signal("TERM");
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
