//! What is wrong with a data folder, and how to mend it. Looks only: nothing is changed, and a running gateway is not
//! disturbed.

use std::fs::OpenOptions;
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use gateway_ledger::CheckpointSigner;
use nix::sys::statvfs::statvfs;
use serde::Serialize;

use crate::admin::{Command, client};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::keys::Keys;
use crate::config::layout::Layout;
use crate::domain::policy::PolicyInForce;
use crate::domain::restored::Restored;
use crate::limits;
use crate::store::Store;
use crate::store::ledger::verify::verify_folder;

/// One check.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) check: &'static str,
    pub(crate) ok: bool,
    /// What was seen.
    pub(crate) found: String,
    /// What to do, where something is wrong.
    pub(crate) mend: Option<String>,
}

/// What is wrong, and what to do.
struct Trouble {
    found: String,
    mend: String,
}

/// What was seen; all is well.
type Checked = Result<String, Trouble>;

fn trouble<T>(found: impl Into<String>, mend: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble {
        found: found.into(),
        mend: mend.into(),
    })
}

/// Examines a folder.
pub(crate) struct Doctor {
    layout: Layout,
    clock: Clock,
    free_bytes_min: u64,
}

impl Doctor {
    pub(crate) fn new(layout: Layout) -> Self {
        Self {
            layout,
            clock: Clock::default(),
            free_bytes_min: limits::FREE_BYTES_MIN,
        }
    }

    /// Every check, in the order in which to mend.
    pub(crate) async fn examine(&self) -> Vec<Finding> {
        let config = Config::read(&self.layout.config());
        let keys = Keys::load(&self.layout);
        let serving = UnixStream::connect(self.layout.socket()).is_ok();
        let mut findings = vec![
            finding("configuration", configuration(&config)),
            finding("permissions", self.permissions()),
            finding("keys", keys_are_whole(&keys)),
            finding("disk", self.disk()),
        ];
        if let Ok(keys) = &keys {
            findings.push(finding("authority", self.authority(keys)));
        }
        findings.push(finding("process", self.process(serving).await));
        if !serving {
            findings.push(finding("restore", self.restored()));
        }
        if let (Ok(config), false) = (&config, serving) {
            findings.push(finding("address", address(config)));
        }
        self.examine_database(config.as_ref().ok(), &mut findings).await;
        if let (Ok(config), Ok(keys)) = (&config, &keys) {
            for (name, folder, key) in [
                ("ledger", self.layout.ledger(), &keys.ledger),
                ("directory", self.layout.directory(), &keys.directory),
            ] {
                let origin = format!("{}/{name}", config.tenant.as_str());
                let signer = CheckpointSigner::new(&origin, &key.to_bytes());
                let vkey = signer.map(|signer| signer.key().to_string()).unwrap_or_default();
                findings.push(finding(name, log(&folder, &vkey)));
            }
        }
        findings
    }

    async fn examine_database(&self, config: Option<&Config>, findings: &mut Vec<Finding>) {
        let path = self.layout.database();
        if !path.exists() {
            findings.push(finding(
                "database",
                Ok("not made yet: the gateway has not run".to_owned()),
            ));
            return;
        }
        let store = match Store::open_to_look(&path).await {
            Ok(store) => store,
            Err(error) => {
                findings.push(finding("database", damaged(&error)));
                return;
            }
        };
        if let Err(error) = store.check_integrity().await {
            findings.push(finding("database", damaged(&error)));
            return;
        }
        findings.push(finding("database", Ok("sound".to_owned())));
        findings.push(finding("clock", self.clocks(&store).await));
        if let Some(config) = config {
            findings.push(finding("policy", self.policy(&store, config).await));
        }
    }

    /// Nobody else may read what is private, and it is all ours.
    fn permissions(&self) -> Checked {
        let layout = &self.layout;
        let mut paths = vec![layout.root().to_owned(), layout.config(), layout.database()];
        for folder in [layout.keys(), layout.bucket_keys(), layout.subject_keys()] {
            paths.extend(below(&folder));
            paths.push(folder);
        }
        let own = nix::unistd::geteuid().as_raw();
        for path in paths.iter().filter(|path| path.exists()) {
            let name = path.display();
            let Ok(metadata) = std::fs::symlink_metadata(path) else {
                return trouble(
                    format!("`{name}` cannot be looked at"),
                    "run as the gateway's own user",
                );
            };
            if metadata.uid() != own {
                return trouble(
                    format!("`{name}` belongs to another user"),
                    format!(
                        "chown it to the gateway's user: chown -R USER '{}'",
                        layout.root().display()
                    ),
                );
            }
            if metadata.mode() & 0o077 != 0 && !metadata.file_type().is_symlink() {
                return trouble(
                    format!("`{name}` is open to others (mode {:o})", metadata.mode() & 0o777),
                    format!(
                        "chmod -R go-rwx '{}'; a key that others could read should be replaced",
                        layout.root().display()
                    ),
                );
            }
        }
        Ok("private".to_owned())
    }

    fn disk(&self) -> Checked {
        let free = statvfs(self.layout.root()).ok().and_then(|disk| {
            u64::try_from(i128::from(disk.blocks_available()) * i128::from(disk.fragment_size())).ok()
        });
        match free {
            Some(free) if free >= self.free_bytes_min => Ok(format!("{} MiB free", free >> 20)),
            Some(free) => trouble(
                format!(
                    "{} MiB free, of at least {} MiB",
                    free >> 20,
                    self.free_bytes_min >> 20
                ),
                "make room before writes fail: a log that cannot be written stops the gateway",
            ),
            None => trouble(
                "the disk cannot be asked",
                "look whether the folder is there and its disk is mounted",
            ),
        }
    }

    fn authority(&self, keys: &Keys) -> Checked {
        let mend = "agents pin this authority: plan a new gateway folder and new enrollments before it ends";
        let Some(end_s) = keys.authority.ends_s() else {
            return trouble(
                "the authority's certificate cannot be read",
                "restore `keys/ca.pem` from a backup",
            );
        };
        let days = end_s.saturating_sub(self.clock.now_s()) / 86_400;
        if days >= limits::AUTHORITY_DAYS_MIN {
            Ok(format!("its certificate holds for {days} days"))
        } else {
            trouble(format!("its certificate holds for {days} days only"), mend)
        }
    }

    /// Who has the folder, and whether it answers.
    async fn process(&self, serving: bool) -> Checked {
        let socket = self.layout.socket();
        if socket.as_os_str().len() > limits::SOCKET_PATH_BYTES_MAX {
            return trouble(
                format!("the path of `{}` is too long for a socket", socket.display()),
                "move the folder to a shorter path",
            );
        }
        if !serving {
            return self.nobody_has_the_lock();
        }
        let reply = client::ask(&self.layout, Command::Health).await;
        match reply {
            Ok(reply) => {
                let text = |name: &str| {
                    reply
                        .json
                        .get(name)
                        .and_then(serde_json::Value::as_str)
                        .map(str::to_owned)
                };
                match (text("what"), text("mend")) {
                    (Some(what), mend) => trouble(what, mend.unwrap_or_default()),
                    (None, _) => Ok("serving".to_owned()),
                }
            }
            Err(error) => trouble(
                format!("the running gateway does not answer: {error:#}"),
                "look at its log; if it hangs, end it and start it again: recovery settles what was in flight",
            ),
        }
    }

    /// A running gateway says this itself.
    fn restored(&self) -> Checked {
        match Restored::read(&self.layout) {
            Ok(None) => Ok("nothing waits to be confirmed".to_owned()),
            Ok(Some(_)) => trouble(
                "it was put back to an earlier state, and is held until that is confirmed",
                "start it, let agents connect, look at the status page, then: sealgate restore --confirm --dir DIR",
            ),
            Err(error) => trouble(
                format!("{error:#}"),
                "restore the backup again, into another folder",
            ),
        }
    }

    fn nobody_has_the_lock(&self) -> Checked {
        let path = self.layout.lock();
        if !path.exists() {
            return Ok("not running".to_owned());
        }
        let taken = OpenOptions::new()
            .write(true)
            .open(&path)
            .is_ok_and(|file| file.try_lock().is_err());
        let left =
            std::fs::symlink_metadata(self.layout.socket()).is_ok_and(|found| found.file_type().is_socket());
        match (taken, left) {
            (true, _) => trouble(
                "a process holds the folder and does not answer on its admin socket",
                "it is starting, or a command is at work, or it hangs: look with `fuser` at the file `lock`, and at its log",
            ),
            (false, true) => {
                Ok("not running; it ended without removing its socket, which the next start does".to_owned())
            }
            (false, false) => Ok("not running".to_owned()),
        }
    }

    async fn clocks(&self, store: &Store) -> Checked {
        let now = self.clock.reading();
        match (store.last_reading().await, now) {
            (Ok(Some(before)), Ok(now)) if policies::clock::has_jumped(&before, &now) => trouble(
                "the wall clock has jumped against the boot clock: nothing is accepted or shredded",
                "set the clock right; if it is right, say so: sealgate clock confirm --dir DIR",
            ),
            (Ok(_), Ok(_)) => Ok("agrees with the boot clock".to_owned()),
            (Err(_), _) | (_, Err(_)) => trouble(
                "the clocks cannot be compared",
                "look at the database and the system",
            ),
        }
    }

    async fn policy(&self, store: &Store, config: &Config) -> Checked {
        let publish =
            "publish one: sealgate policy sign, by both roles, then sealgate policy publish BUNDLE --dir DIR";
        let now_s = self.clock.now_s();
        let policy = match PolicyInForce::load(store, config, 0, now_s).await {
            Ok(policy) => policy,
            Err(error) => return trouble(format!("the newest bundle is not in force: {error:#}"), publish),
        };
        let Some(current) = policy.current else {
            return trouble("no policy is published: agents seal nothing", publish);
        };
        let days = current.expires_s.saturating_sub(now_s) / 86_400;
        if days < limits::POLICY_DAYS_MIN {
            return trouble(
                format!("version {} ends in {days} days", current.version),
                publish,
            );
        }
        Ok(format!("version {} is in force", current.version))
    }
}

fn finding(check: &'static str, checked: Checked) -> Finding {
    match checked {
        Ok(found) => Finding {
            check,
            ok: true,
            found,
            mend: None,
        },
        Err(Trouble { found, mend }) => Finding {
            check,
            ok: false,
            found,
            mend: Some(mend),
        },
    }
}

fn configuration(config: &anyhow::Result<Config>) -> Checked {
    match config {
        Ok(_) => Ok("valid".to_owned()),
        Err(error) => trouble(
            format!("{error:#}"),
            "mend `gateway.toml`, or restore it from a backup",
        ),
    }
}

fn keys_are_whole(keys: &anyhow::Result<Keys>) -> Checked {
    match keys {
        Ok(_) => Ok("all there".to_owned()),
        Err(error) => trouble(
            format!("{error:#}"),
            "restore the file from a backup (`sealgate restore`); agents pin most keys, so a new one does not help",
        ),
    }
}

fn address(config: &Config) -> Checked {
    let address = config.listen.device;
    match TcpListener::bind(address) {
        Ok(_) => Ok(format!("{address} is free")),
        Err(error) => trouble(
            format!("{address} cannot be listened on: {}", error.kind()),
            "end the program that has it, or set another `listen.device` in `gateway.toml`",
        ),
    }
}

fn damaged(error: &anyhow::Error) -> Checked {
    trouble(
        format!("{error:#}"),
        "keep a copy for evidence, then restore a backup: sealgate restore",
    )
}

fn log(folder: &Path, vkey: &str) -> Checked {
    if !folder.exists() {
        return Ok("not begun yet".to_owned());
    }
    match verify_folder(folder, Some(vkey), None) {
        Ok(report) => Ok(format!("{} entries, all verified", report.size)),
        Err(fault) => trouble(
            fault.sentence,
            "keep a copy for evidence, compare it with pins and exports, then restore a backup: sealgate restore",
        ),
    }
}

/// Files of a folder of keys; none if it is not there.
fn below(folder: &Path) -> Vec<PathBuf> {
    let listing = std::fs::read_dir(folder).into_iter().flatten();
    listing.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

impl Doctor {
    /// Whether the folder is there at all.
    pub(crate) fn check_folder(&self) -> anyhow::Result<()> {
        let root = self.layout.root();
        std::fs::read_dir(root).map(drop).with_context(|| {
            format!(
                "`{}` cannot be read; make a data folder with `sealgate init`",
                root.display()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use policies::terms::TenantId;
    use tempfile::TempDir;

    use super::*;
    use crate::cli::init;
    use crate::domain::gateway::Gateway;

    /// A folder that a gateway has run on; its address is any free one.
    async fn folder() -> (TempDir, Doctor) {
        let folder = tempfile::tempdir().unwrap();
        let layout = init::make(&folder.path().join("d"), &TenantId::parse("acme").unwrap(), 3_600).unwrap();
        let config = fs::read_to_string(layout.config()).unwrap();
        fs::write(layout.config(), config.replace("127.0.0.1:8443", "127.0.0.1:0")).unwrap();
        let (gateway, writer) = Gateway::open(layout.clone()).await.unwrap();
        gateway.close(writer).await.unwrap();
        drop(gateway);
        (folder, Doctor::new(layout))
    }

    async fn troubles(doctor: &Doctor) -> Vec<(&'static str, String)> {
        let findings = doctor.examine().await;
        assert!(
            findings
                .iter()
                .all(|finding| finding.ok == finding.mend.is_none())
        );
        let wrong = findings.into_iter().filter(|finding| !finding.ok);
        wrong.map(|finding| (finding.check, finding.found)).collect()
    }

    /// The one trouble of a folder beside that it has no policy.
    async fn only(doctor: &Doctor, check: &str, found: &str) {
        let mut wrong = troubles(doctor).await;
        wrong.retain(|(check, _)| *check != "policy");
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(wrong[0].0 == check && wrong[0].1.contains(found), "{wrong:?}");
    }

    #[tokio::test]
    async fn folder_of_before_the_first_policy_lacks_that_alone() {
        let (_folder, doctor) = folder().await;
        let wrong = troubles(&doctor).await;
        assert_eq!(
            wrong,
            [("policy", "no policy is published: agents seal nothing".to_owned())]
        );
    }

    #[tokio::test]
    async fn key_that_others_can_read_is_found() {
        let (_folder, doctor) = folder().await;
        fs::set_permissions(doctor.layout.key("ledger.key"), fs::Permissions::from_mode(0o640)).unwrap();
        only(&doctor, "permissions", "ledger.key").await;
    }

    #[tokio::test]
    async fn key_that_is_missing_is_found() {
        let (_folder, doctor) = folder().await;
        fs::remove_file(doctor.layout.key("timestamp.key")).unwrap();
        only(&doctor, "keys", "timestamp.key").await;
    }

    #[tokio::test]
    async fn configuration_that_is_not_valid_is_found() {
        let (_folder, doctor) = folder().await;
        let text = fs::read_to_string(doctor.layout.config()).unwrap();
        fs::write(doctor.layout.config(), format!("colour = \"red\"\n{text}")).unwrap();
        only(&doctor, "configuration", "colour").await;
    }

    #[tokio::test]
    async fn disk_without_room_is_found() {
        let (_folder, doctor) = folder().await;
        let doctor = Doctor {
            free_bytes_min: u64::MAX,
            ..doctor
        };
        only(&doctor, "disk", "MiB free, of at least").await;
    }

    /// K19
    #[tokio::test]
    async fn clock_that_jumped_is_found() {
        let (_folder, doctor) = folder().await;
        let store = Store::open(&doctor.layout.database()).await.unwrap();
        let mut reading = Clock::default().reading().unwrap();
        reading.wall_s -= 2 * policies::clock::JUMP_S;
        store.set_last_reading(&reading).await.unwrap();
        store.close().await.unwrap();
        only(&doctor, "clock", "has jumped").await;
    }

    #[tokio::test]
    async fn authority_near_its_end_is_found() {
        let (_folder, doctor) = folder().await;
        let ends_s = Keys::load(&doctor.layout).unwrap().authority.ends_s().unwrap();
        let store = Store::open(&doctor.layout.database()).await.unwrap();
        let clock = Clock::manual(ends_s - 86_400);
        store.set_last_reading(&clock.reading().unwrap()).await.unwrap();
        store.close().await.unwrap();
        only(&Doctor { clock, ..doctor }, "authority", "holds for 1 days only").await;
    }

    #[tokio::test]
    async fn restored_folder_that_nobody_confirmed_is_found() {
        let (_folder, doctor) = folder().await;
        Restored::default().write(&doctor.layout).unwrap();
        only(&doctor, "restore", "held until that is confirmed").await;
    }

    #[tokio::test]
    async fn damaged_database_is_found() {
        let (_folder, doctor) = folder().await;
        let path = doctor.layout.database();
        let mut bytes = fs::read(&path).unwrap();
        bytes[0..16].fill(0);
        fs::write(&path, bytes).unwrap();
        only(&doctor, "database", "").await;
    }

    #[tokio::test]
    async fn changed_log_is_found() {
        let (_folder, doctor) = folder().await;
        let path = doctor.layout.directory().join("checkpoint");
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 3;
        bytes[last] ^= 1;
        fs::write(&path, bytes).unwrap();
        only(&doctor, "directory", "checkpoint").await;
    }

    #[tokio::test]
    async fn address_that_is_taken_is_found() {
        let (_folder, doctor) = folder().await;
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let text = fs::read_to_string(doctor.layout.config()).unwrap();
        let address = taken.local_addr().unwrap().to_string();
        fs::write(doctor.layout.config(), text.replace("127.0.0.1:0", &address)).unwrap();
        only(&doctor, "address", &address).await;
    }

    #[tokio::test]
    async fn process_that_holds_the_folder_and_does_not_answer_is_found() {
        let (_folder, doctor) = folder().await;
        let lock = fs::File::options()
            .write(true)
            .open(doctor.layout.lock())
            .unwrap();
        lock.try_lock().unwrap();
        only(&doctor, "process", "does not answer").await;
    }

    #[tokio::test]
    async fn path_too_long_for_a_socket_is_found() {
        let (_folder, doctor) = folder().await;
        let long = doctor
            .layout
            .root()
            .with_file_name("x".repeat(limits::SOCKET_PATH_BYTES_MAX));
        fs::rename(doctor.layout.root(), &long).unwrap();
        only(&Doctor::new(Layout::new(long)), "process", "too long").await;
    }
}
