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

use crate::process;

/// A frame of the ledger's commit log begins with: length of its payload, kind, check (`gateway_ledger::commit`).
const FRAME_HEAD: usize = 4 + 1 + 8;
/// The kind of a frame that ends a batch.
const COMMIT_FRAME: u8 = 2;
/// The kind of an entry's frame.
const ENTRY_FRAME: u8 = 0;

/// What the ledger's commit log holds from some entry on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Batches {
    /// The log's size.
    pub(crate) end: u64,
    pub(crate) entries: u32,
    pub(crate) commits: u32,
    /// Of the entries.
    pub(crate) bytes: usize,
}

impl Batches {
    /// Bytes of an entry, on average.
    pub(crate) fn entry_bytes(&self) -> usize {
        let entries = usize::try_from(self.entries).unwrap_or(usize::MAX);
        self.bytes.checked_div(entries).unwrap_or_default()
    }

    /// Entries per commit, whole; at least 1.
    pub(crate) fn per_commit(&self) -> usize {
        let entries = self.entries.checked_div(self.commits).unwrap_or(1);
        usize::try_from(entries.max(1)).unwrap_or(1)
    }

    /// The same, exactly.
    pub(crate) fn mean(&self) -> f64 {
        f64::from(self.entries) / f64::from(self.commits.max(1))
    }
}

/// Requests per second that nothing here reaches.
const RATE: i64 = 1_000_000;

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
    /// Makes a data folder beside the build, on its disk: what is durable there was written to it. `batch_max` is the
    /// setting `relay.batch_max`; the gateway's own default where there is none.
    pub(crate) fn start(batch_max: Option<u32>) -> anyhow::Result<Self> {
        let (program, build) = program()?;
        let folder = tempfile::Builder::new()
            .prefix("load")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        run(
            &program,
            [OsStr::new("init"), OsStr::new("--dir"), folder.path().as_os_str()],
        )?;
        configure(&folder.path().join("gateway").join("gateway.toml"), batch_max)?;
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

    /// Adds an employee: the enrollment file of so many devices of theirs.
    pub(crate) fn invite(&self, name: &str, devices: usize) -> anyhow::Result<PathBuf> {
        let file = self.folder.path().join(format!("{name}.enrollment"));
        self.command(["person", "add", name, "--group", "employees"].map(OsStr::new))?;
        let uses = devices.to_string();
        let token = ["token", "add", "--person", name, "--uses", &uses, "--out"].map(OsStr::new);
        self.command(token.into_iter().chain([file.as_os_str()]))?;
        Ok(file)
    }

    /// CPU time that the process has used; none where there is no `/proc`.
    pub(crate) fn cpu(&self) -> Option<Duration> {
        process::cpu(&self.process.id().to_string())
    }

    /// CPU time since an earlier reading.
    pub(crate) fn cpu_since(&self, before: Option<Duration>) -> Option<Duration> {
        process::cpu_since(&self.process.id().to_string(), before)
    }

    /// Memory of the process in RAM; none where there is no `/proc`.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        process::resident_bytes(&self.process.id().to_string())
    }

    /// Bytes of all files of the data folder.
    pub(crate) fn disk_bytes(&self) -> anyhow::Result<u64> {
        disk_bytes(&self.folder.path().join("gateway"))
    }

    /// A folder on the disk that the gateway writes to.
    pub(crate) fn scratch(&self) -> anyhow::Result<TempDir> {
        Ok(tempfile::Builder::new()
            .prefix("scratch")
            .tempdir_in(self.folder.path())?)
    }

    /// What the ledger committed from entry `from` on, and in how many commits.
    pub(crate) fn batches(&self, from: u64) -> anyhow::Result<Batches> {
        let folder = self.folder.path().join("gateway/ledger/commits");
        let mut segments = fs::read_dir(folder)?
            .map(|entry| Ok(entry?.path()))
            .collect::<anyhow::Result<Vec<_>>>()?;
        segments.sort_unstable();
        let mut batches = Batches::default();
        for path in segments {
            let first = path.file_stem().and_then(OsStr::to_str).context("no segment")?;
            batches.end = first.parse().context("no segment")?;
            count_frames(&fs::read(&path)?, from, &mut batches);
        }
        Ok(batches)
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

/// Counts a segment's frames; the last ones may be half written.
fn count_frames(bytes: &[u8], from: u64, batches: &mut Batches) {
    let mut rest = bytes;
    while let Some((head, after)) = rest.split_at_checked(FRAME_HEAD) {
        let [a, b, c, d, kind, ..] = *head else {
            return;
        };
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let Some((_, next)) = after.split_at_checked(length) else {
            return;
        };
        let counts = batches.end >= from;
        if kind == ENTRY_FRAME {
            batches.end += 1;
            batches.entries += u32::from(counts);
            batches.bytes += if counts { length } else { 0 };
        } else if kind == COMMIT_FRAME {
            batches.commits += u32::from(batches.end > from);
        }
        rest = next;
    }
}

fn disk_bytes(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() {
            disk_bytes(&entry.path())?
        } else {
            metadata.len()
        };
    }
    Ok(bytes)
}

/// One device posts here what a company does: its rates are lifted (H6).
fn configure(path: &Path, batch_max: Option<u32>) -> anyhow::Result<()> {
    let mut config: toml::Table = fs::read_to_string(path)?.parse()?;
    let rates = config.get_mut("rates").and_then(toml::Value::as_table_mut);
    for (_, rate) in rates.context("`gateway.toml` has no `[rates]`")?.iter_mut() {
        *rate = toml::Table::from_iter(["per_s", "burst"].map(|name| (name.to_owned(), RATE.into()))).into();
    }
    if let Some(batch_max) = batch_max {
        let relay =
            toml::Table::from_iter([("batch_max".to_owned(), toml::Value::Integer(batch_max.into()))]);
        config.insert("relay".to_owned(), relay.into());
    }
    Ok(fs::write(path, toml::to_string(&config)?)?)
}

/// The gateway's binary beside this bench, `target/PROFILE/deps/load-...`: the release build if there is one.
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
