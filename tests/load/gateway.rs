//! The gateway under load: a process of its own, set up by an administrator's commands.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

/// Ticks per second in `/proc/PID/stat`: USER_HZ, 100 on every architecture that Rust's std supports on Linux.
const TICKS_PER_S: u64 = 100;

/// A gateway that serves. It ends, and its folder goes, with this value.
pub(crate) struct Gateway {
    program: PathBuf,
    build: &'static str,
    folder: TempDir,
    process: Child,
    /// Open as long as the process: it may print.
    _output: BufReader<ChildStdout>,
}

impl Gateway {
    /// Makes a data folder beside the build, on its disk: what is durable there was written to it.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let (program, build) = program()?;
        let folder = tempfile::Builder::new()
            .prefix("load")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        run(
            &program,
            [OsStr::new("init"), OsStr::new("--dir"), folder.path().as_os_str()],
        )?;
        let log = folder.path().join("gateway.log");
        let mut process = Command::new(&program)
            .arg("serve")
            .args(["--listen", "127.0.0.1:0", "--status", "127.0.0.1:0", "--dir"])
            .arg(folder.path().join("gateway"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log)?)
            .spawn()?;
        let mut output = BufReader::new(process.stdout.take().context("no standard output")?);
        let mut ready = String::new();
        output.read_line(&mut ready)?;
        let gateway = Self {
            program,
            build,
            folder,
            process,
            _output: output,
        };
        if serde_json::from_str::<Value>(&ready).is_err() {
            bail!("the gateway does not serve: {}", fs::read_to_string(log)?);
        }
        Ok(gateway)
    }

    /// `release` or `debug`.
    pub(crate) fn build(&self) -> &'static str {
        self.build
    }

    /// Signs the example policy as both roles, and publishes it.
    pub(crate) fn publish_example_policy(&self) -> anyhow::Result<()> {
        let policy = Path::new(env!("CARGO_MANIFEST_DIR"))
            .with_file_name("policies")
            .join("example");
        let bundle = self.folder.path().join("policy.bundle");
        let key = |role: &str| self.folder.path().join("authors").join(format!("{role}.key"));
        let mut sign = vec![OsStr::new("policy"), OsStr::new("sign"), policy.as_os_str()];
        let author = key("author");
        sign.extend([
            OsStr::new("--key"),
            author.as_os_str(),
            OsStr::new("--version"),
            OsStr::new("1"),
        ]);
        sign.extend([OsStr::new("--out"), bundle.as_os_str()]);
        run(&self.program, sign)?;
        let approver = key("approver");
        let approve = [
            OsStr::new("--bundle"),
            bundle.as_os_str(),
            OsStr::new("--key"),
            approver.as_os_str(),
        ];
        run(
            &self.program,
            [OsStr::new("policy"), OsStr::new("sign")]
                .into_iter()
                .chain(approve),
        )?;
        self.command([OsStr::new("policy"), OsStr::new("publish"), bundle.as_os_str()])
    }

    /// Adds an employee: the enrollment file of a device of theirs.
    pub(crate) fn invite(&self, name: &str) -> anyhow::Result<PathBuf> {
        let file = self.folder.path().join(format!("{name}.enrollment"));
        self.command(["person", "add", name, "--group", "employees"].map(OsStr::new))?;
        let token = ["token", "add", "--person", name, "--out"].map(OsStr::new);
        self.command(token.into_iter().chain([file.as_os_str()]))?;
        Ok(file)
    }

    /// CPU time that the process has used, in user and kernel mode; none where there is no `/proc`.
    pub(crate) fn cpu(&self) -> Option<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).ok()?;
        // The fields after the name in brackets start with the third of proc_pid_stat(5); utime and stime are 14 and 15.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut times = fields
            .split_ascii_whitespace()
            .skip(11)
            .map_while(|field| field.parse::<u64>().ok());
        let ticks = times.next()?.checked_add(times.next()?)?;
        Some(Duration::from_millis(ticks * (1_000 / TICKS_PER_S)))
    }

    /// Memory of the process in RAM; none where there is no `/proc`.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        kibibytes.checked_mul(1_024)
    }

    fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a OsStr>) -> anyhow::Result<()> {
        let folder = self.folder.path().join("gateway");
        let mut all: Vec<&OsStr> = arguments.into_iter().collect();
        all.extend([OsStr::new("--json"), OsStr::new("--dir"), folder.as_os_str()]);
        run(&self.program, all)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The gateway's binary beside this bench, `target/PROFILE/deps/relay-...`: the release build if there is one.
fn program() -> anyhow::Result<(PathBuf, &'static str)> {
    let bench = std::env::current_exe()?;
    let target = bench
        .ancestors()
        .nth(3)
        .context("this bench does not lie in a target folder")?;
    for build in ["release", "debug"] {
        let path = target.join(build).join("sealgate");
        if path.exists() {
            return Ok((path, build));
        }
    }
    bail!("`sealgate` is not built\n  help: cargo build --release --bin sealgate")
}

fn run<'a>(program: &Path, arguments: impl IntoIterator<Item = &'a OsStr>) -> anyhow::Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
