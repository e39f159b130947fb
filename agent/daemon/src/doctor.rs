//! What is wrong with this agent, and how to mend it. Looks only; a running agent is asked, and not disturbed.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use agent_seal::FileDeviceKey;
use anyhow::Context as _;
use gateway_api::error::ErrorCode;
use nix::sys::statvfs::statvfs;
use policies::bundle::UnverifiedBundle;
use serde::Serialize;

use crate::agent;
use crate::config::enrollment::Enrollment;
use crate::config::paths::Paths;
use crate::config::settings::Settings;
use crate::limits;
use crate::local::client::LocalAgent;
use crate::local::wire::{self, StatusAnswer};
use crate::outbox::disk::{self, Disk};
use crate::uplink::client::CallError;
use crate::uplink::identity;
use crate::uplink::policy::stored;
use crate::uplink::tls::TlsIdentity;
use crate::vault::setting::{self, Setting};
use crate::vault::{Vault, damage, files};
use crate::{clock, daemon};

/// One check.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub check: &'static str,
    pub ok: bool,
    /// What was seen.
    pub found: String,
    /// What to do, where something is wrong.
    pub mend: Option<String>,
}

/// What is wrong, and what to do.
#[derive(Debug, PartialEq, Eq)]
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

const ENROL_AGAIN: &str = "ask the administrator for a token (`sealgate token add`), then enrol in another folder: \
                           sealgate-agent --dir FOLDER enroll --token-file FILE";

/// Every check, in the order in which to mend.
pub(crate) async fn examine(paths: &Paths) -> Vec<Finding> {
    let enrollment =
        match Enrollment::load(paths).and_then(|enrollment| enrollment.pins().map(|_| enrollment)) {
            Ok(enrollment) => enrollment,
            Err(error) => return vec![finding("enrollment", trouble(format!("{error:#}"), ENROL_AGAIN))],
        };
    let now_s = clock::wall_s();
    let identity = identity::load(paths);
    let mut findings = vec![
        finding(
            "enrollment",
            Ok(format!("device {} of `{}`", enrollment.device, enrollment.tenant)),
        ),
        finding("permissions", permissions(paths)),
        finding("keys", keys(paths, &enrollment)),
        finding("disk", space(paths.root(), limits::FREE_BYTES_MIN)),
        finding("settings", settings(paths)),
        finding("outbox", outbox(paths)),
    ];
    if let Ok(identity) = &identity {
        findings.push(finding("certificate", certificate(identity, now_s)));
        findings.push(finding("gateway", gateway(paths, &enrollment, identity).await));
    }
    match daemon::lock(paths) {
        // Held while we look: nobody starts on a folder that is being read.
        Ok(_lock) => {
            findings.push(finding(
                "agent",
                trouble(
                    "it is not running",
                    format!("start it: sealgate-agent --dir {} run", paths.root().display()),
                ),
            ));
            examine_state(paths, &enrollment, now_s, &mut findings).await;
        }
        Err(_) => findings.push(finding("agent", running(paths).await)),
    }
    findings
}

async fn examine_state(paths: &Paths, enrollment: &Enrollment, now_s: u64, findings: &mut Vec<Finding>) {
    if !paths.state().exists() {
        findings.push(finding(
            "state",
            Ok("not made yet: the agent has not run".to_owned()),
        ));
        return;
    }
    let checked = match damage::check(paths).await {
        Ok(()) => Ok("sound".to_owned()),
        Err(error) => trouble(
            format!("{error:#}"),
            "sealgate-agent rejoin: it keeps what can be read, and puts the database aside",
        ),
    };
    findings.push(finding("state", checked));
    if let Some((signed_s, active)) = remembered(paths).await {
        findings.push(finding("clock", clock_against(signed_s, now_s)));
        findings.push(finding(
            "policy",
            policy(paths, enrollment, active, signed_s, now_s),
        ));
    }
}

/// The last signed time, and the version of the policy that decides.
async fn remembered(paths: &Paths) -> Option<(u64, u64)> {
    let vault = Vault::open(paths).await.ok()?;
    let mut connection = vault.connection().await.ok()?;
    let signed_s = setting::read_number(&mut connection, &vault.cipher, Setting::SignedTime)
        .await
        .ok();
    let active = setting::read_number(&mut connection, &vault.cipher, Setting::PolicyActive)
        .await
        .ok();
    drop(connection);
    vault.close().await;
    signed_s.zip(active)
}

/// Nobody else may read what is private, and it is all ours.
fn permissions(paths: &Paths) -> Checked {
    let mut private = vec![paths.root().to_owned(), paths.enrollment(), paths.state()];
    for folder in [paths.keys(), paths.expiry_keys()] {
        private.extend(below(&folder));
        private.push(folder);
    }
    let own = nix::unistd::geteuid().as_raw();
    for path in private {
        let Ok(metadata) = std::fs::symlink_metadata(&path) else {
            continue;
        };
        let name = path.display();
        if metadata.uid() != own {
            return trouble(
                format!("`{name}` belongs to another user"),
                format!("chown -R USER '{}'", paths.root().display()),
            );
        }
        if metadata.mode() & 0o077 != 0 {
            return trouble(
                format!("`{name}` is open to others (mode {:o})", metadata.mode() & 0o777),
                format!(
                    "chmod -R go-rwx '{}'; if others have read a key, enrol anew",
                    paths.root().display()
                ),
            );
        }
    }
    Ok("private".to_owned())
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let listing = std::fs::read_dir(folder).into_iter().flatten();
    listing.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// Each key can be read, and certificate and key belong together.
fn keys(paths: &Paths, enrollment: &Enrollment) -> Checked {
    let read = || -> anyhow::Result<()> {
        FileDeviceKey::from_pkcs8_der(enrollment.device, &files::read_secret(&paths.device_key())?)?;
        agent::gateway(paths, enrollment, &identity::load(paths)?)?;
        Ok(())
    };
    match read() {
        Ok(()) => Ok("all there".to_owned()),
        Err(error) => trouble(format!("{error:#}"), ENROL_AGAIN),
    }
}

fn space(root: &Path, free_bytes_min: u64) -> Checked {
    let Ok(disk) = statvfs(root) else {
        return trouble("the disk cannot be asked", "look whether its disk is mounted");
    };
    let free = i128::from(disk.blocks_available()) * i128::from(disk.fragment_size());
    let mib = free >> 20;
    if free >= i128::from(free_bytes_min) {
        return Ok(format!("{mib} MiB free"));
    }
    trouble(
        format!("{mib} MiB free, of at least {} MiB", free_bytes_min >> 20),
        "make room: nothing is sealed that cannot be recorded first",
    )
}

fn settings(paths: &Paths) -> Checked {
    match Settings::load(&paths.settings()) {
        Ok(_) => Ok("valid".to_owned()),
        Err(error) => trouble(
            format!("{error:#}"),
            "mend `agent.toml`, or remove it: every setting has a default",
        ),
    }
}

fn outbox(paths: &Paths) -> Checked {
    let settings = Settings::load(&paths.settings()).unwrap_or_default().outbox;
    if !settings.enabled {
        return Ok("off, as `agent.toml` says".to_owned());
    }
    match disk::of(&paths.outbox()) {
        Ok(kind) => outbox_on(kind, settings.allow_network),
        Err(_) => Ok("not made yet: the agent has not run".to_owned()),
    }
}

/// O10
fn outbox_on(kind: Disk, allow_network: bool) -> Checked {
    match kind {
        Disk::Local => Ok("on a local disk".to_owned()),
        Disk::Remote(name) if allow_network => Ok(format!(
            "on {name}, which `agent.toml` allows: looked at every few seconds"
        )),
        Disk::Remote(name) => trouble(
            format!("it is off, since it lies on {name}"),
            "move the agent's folder to a local disk, or set `allow_network = true` under [outbox] in `agent.toml`",
        ),
    }
}

fn certificate(identity: &TlsIdentity, now_s: u64) -> Checked {
    match identity.validity() {
        Ok(validity) => certificate_until(validity.overdue_s(), validity.ends_s, now_s),
        Err(error) => trouble(format!("{error:#}"), ENROL_AGAIN),
    }
}

fn certificate_until(overdue_s: u64, ends_s: u64, now_s: u64) -> Checked {
    let left_s = ends_s.saturating_sub(now_s);
    if now_s < overdue_s {
        return Ok(format!("holds for {} hours", left_s / 3_600));
    }
    let found = match left_s {
        0 => "it has ended".to_owned(),
        left_s => format!("it ends in {} minutes", left_s / 60),
    };
    trouble(
        found,
        "run the agent where it reaches the gateway: it renews by itself, for some weeks also past the end; after that, ask the administrator for a \
         token, then: sealgate-agent enroll --again --token-file FILE",
    )
}

/// Asks as the agent would.
async fn gateway(paths: &Paths, enrollment: &Enrollment, identity: &TlsIdentity) -> Checked {
    let gateway = match agent::gateway(paths, enrollment, identity) {
        Ok(gateway) => gateway,
        Err(error) => return trouble(format!("{error:#}"), ENROL_AGAIN),
    };
    let url = &enrollment.gateway_url;
    match gateway.checkpoint().await {
        Ok(_) => Ok(format!("{url} answers")),
        Err(error @ (CallError::Unreachable(_) | CallError::Busy(..))) => trouble(
            format!("{url}: {error}"),
            "look at the network, and ask the administrator whether the gateway runs; drafts are kept meanwhile",
        ),
        Err(error) if error.code() == Some(ErrorCode::DeviceRevoked) => {
            trouble("this device has been revoked", ENROL_AGAIN)
        }
        Err(error) => trouble(format!("{url}: {error}"), ENROL_AGAIN),
    }
}

/// What a running agent says itself.
async fn running(paths: &Paths) -> Checked {
    let asked: anyhow::Result<StatusAnswer> = async { LocalAgent::of(paths)?.get(wire::STATUS).await }.await;
    let status = match asked {
        Ok(status) => status,
        Err(error) => {
            return trouble(
                format!("a process holds the folder and does not answer on its socket: {error:#}"),
                "it is starting or hangs: look at its log; end it and start it again",
            );
        }
    };
    if status.policy_version == 0 {
        return trouble(
            "it runs without a policy: nothing can be sealed",
            "connect to the gateway, and ask the administrator whether a policy is published",
        );
    }
    match status.alarms.as_slice() {
        [] => Ok(format!("running, policy version {}", status.policy_version)),
        alarms => trouble(
            alarms.join("; "),
            "each says what to do; `sealgate-agent status` shows them too",
        ),
    }
}

/// B5
fn clock_against(signed_s: u64, now_s: u64) -> Checked {
    let behind_s = signed_s.saturating_sub(now_s);
    if behind_s <= limits::CLOCK_SKEW_S {
        return Ok("not behind the gateway's".to_owned());
    }
    trouble(
        format!("this device's clock is {behind_s} s behind times that the gateway signed"),
        "set it, best by NTP",
    )
}

/// The stored bundle: whole, signed, not ended, and proved to be the latest within a day (B4).
fn policy(paths: &Paths, enrollment: &Enrollment, active: u64, signed_s: u64, now_s: u64) -> Checked {
    let connect = "connect to the gateway; if that does not help, ask the administrator to publish a policy";
    let verified = || -> anyhow::Result<u64> {
        let (_, bytes) = stored::read(paths, active).context("there is no bundle of it")?;
        // Whether it is logged was checked when it came.
        let verified =
            UnverifiedBundle::parse(&bytes)?.verify(&enrollment.pins()?.trust, 0, now_s, Some(0))?;
        Ok(verified.version())
    };
    match verified() {
        Ok(version) => fresh(version, signed_s, now_s),
        Err(error) => trouble(format!("no policy is in force: {error:#}"), connect),
    }
}

fn fresh(version: u64, signed_s: u64, now_s: u64) -> Checked {
    let hours = now_s.saturating_sub(signed_s) / 3_600;
    if hours <= limits::POLICY_FRESH_HOURS {
        return Ok(format!(
            "version {version}, proved to be the latest {hours} hours ago"
        ));
    }
    trouble(
        format!("version {version} was proved to be the latest {hours} hours ago: there may be a newer one"),
        "connect to the gateway; this policy stays in force meanwhile",
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: u64 = 1_800_000_000;

    fn found(checked: Checked) -> String {
        checked.unwrap_err().found
    }

    #[test]
    fn disk_without_room_is_found() {
        let folder = tempfile::tempdir().unwrap();
        assert!(space(folder.path(), 1).is_ok());
        assert!(found(space(folder.path(), u64::MAX)).contains("MiB free, of at least"));
    }

    /// O10
    #[test]
    fn outbox_on_a_network_is_found_unless_it_is_allowed() {
        assert!(outbox_on(Disk::Local, false).is_ok());
        assert!(outbox_on(Disk::Remote("NFS"), true).is_ok());
        assert_eq!(
            found(outbox_on(Disk::Remote("NFS"), false)),
            "it is off, since it lies on NFS"
        );
    }

    /// E4
    #[test]
    fn certificate_near_its_end_is_found() {
        assert!(certificate_until(NOW_S + 1, NOW_S + 600, NOW_S).is_ok());
        assert_eq!(
            found(certificate_until(NOW_S, NOW_S + 600, NOW_S)),
            "it ends in 10 minutes"
        );
        assert!(found(certificate_until(NOW_S - 600, NOW_S - 1, NOW_S)).contains("has ended"));
    }

    /// B5
    #[test]
    fn clock_behind_signed_times_is_found() {
        assert!(clock_against(NOW_S + limits::CLOCK_SKEW_S, NOW_S).is_ok());
        assert!(found(clock_against(NOW_S + 500, NOW_S)).contains("500 s behind"));
    }

    /// B4
    #[test]
    fn policy_without_a_fresh_proof_is_found() {
        assert!(fresh(3, NOW_S - 3_600, NOW_S).is_ok());
        assert!(found(fresh(3, NOW_S - 100 * 3_600, NOW_S)).contains("there may be a newer one"));
    }
}
