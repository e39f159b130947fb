//! Which bundle decides, durable: a file per version in `policy/`, and in the database which of them counts (B3, B6,
//! B7). The database's transaction is the swap; a file that it does not name is nothing.

use std::path::PathBuf;

use gateway_api::v1::bundle::{Ack, AckState, Rejection};
use policies::terms::Digest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::agent::Agent;
use crate::config::paths::Paths;
use crate::limits;
use crate::vault::files;
use crate::vault::setting::{self, Setting};

/// A bundle that does not come into force here again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rejected {
    pub version: u64,
    pub digest: Digest,
}

/// How a bundle does after its activation (B7).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Probation {
    version: u64,
    /// When it was activated, Unix seconds.
    since_s: u64,
    /// When the agent was found to have crashed since.
    crashes_s: Vec<u64>,
}

impl Probation {
    /// After another crash: none when the time of probation is over.
    fn crashed(mut self, now_s: u64) -> Option<Self> {
        let is_recent = |at_s: &u64| now_s.saturating_sub(*at_s) < limits::CRASH_WINDOW_S;
        self.crashes_s.retain(is_recent);
        if self.crashes_s.is_empty() && !is_recent(&self.since_s) {
            return None;
        }
        self.crashes_s.push(now_s);
        Some(self)
    }

    fn has_failed(&self) -> bool {
        self.crashes_s.len() >= limits::CRASHES_MAX
    }
}

fn file(paths: &Paths, version: u64) -> PathBuf {
    paths.policy().join(format!("{version}.bundle"))
}

/// The bundle that decides: its version and bytes.
pub(super) async fn active(agent: &Agent) -> anyhow::Result<Option<(u64, Zeroizing<Vec<u8>>)>> {
    let version = number(agent, Setting::PolicyActive).await?;
    Ok(read(&agent.paths, version))
}

/// The bundle of a version. Where the database names none (0), being new after damage or of an agent that kept one
/// file: the highest version that lies there.
pub(crate) fn read(paths: &Paths, version: u64) -> Option<(u64, Zeroizing<Vec<u8>>)> {
    if version > 0 {
        let bytes = files::read_secret(&file(paths, version)).ok()?;
        return Some((version, bytes));
    }
    let entries = std::fs::read_dir(paths.policy()).ok()?;
    let bundles = entries.filter_map(|entry| {
        let bytes = files::read_secret(&entry.ok()?.path()).ok()?;
        let version = policies::bundle::UnverifiedBundle::parse(&bytes).ok()?.version();
        Some((version, bytes))
    });
    bundles.max_by_key(|(version, _)| *version)
}

/// Lets a bundle decide from now on; the one before is kept for a return.
pub(super) async fn activate(agent: &Agent, version: u64, bytes: &[u8]) -> anyhow::Result<()> {
    let before = active(agent).await?;
    files::write_secret(&file(&agent.paths, version), bytes)?;
    if let Some((before, bytes)) = before
        .as_ref()
        .filter(|(before, _)| !file(&agent.paths, *before).exists())
    {
        files::write_secret(&file(&agent.paths, *before), bytes)?;
    }
    let before = before.map_or(0, |(before, _)| before);
    let floor = number(agent, Setting::PolicyFloor).await?.max(version);
    let probation = Probation {
        version,
        since_s: agent.now_s(),
        crashes_s: Vec::new(),
    };
    let mut transaction = agent.vault.begin().await?;
    let cipher = &agent.vault.cipher;
    for (name, value) in [
        (Setting::PolicyFloor, floor),
        (Setting::PolicyActive, version),
        (Setting::PolicyPrevious, before),
    ] {
        setting::write_number(&mut transaction, cipher, name, value).await?;
    }
    let probation = serde_json::to_vec(&probation)?;
    setting::write(&mut transaction, cipher, Setting::PolicyProbation, &probation).await?;
    setting::write(&mut transaction, cipher, Setting::PolicyRejected, b"").await?;
    transaction.commit().await?;
    forget_others(agent, [version, before])
}

/// Removes what does not count any more.
fn forget_others(agent: &Agent, kept: [u64; 2]) -> anyhow::Result<()> {
    let kept = kept.map(|version| file(&agent.paths, version));
    for entry in std::fs::read_dir(agent.paths.policy())? {
        let path = entry?.path();
        if !kept.contains(&path) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// At the agent's start, before the policy is loaded: counts the crash that the last run ended with, and returns to the
/// bundle before after too many (B7).
///
/// # Errors
/// The store's.
pub(crate) async fn begin_run(agent: &Agent) -> anyhow::Result<()> {
    let crashed = number(agent, Setting::Running).await? == 1;
    write_number(agent, Setting::Running, 1).await?;
    if !crashed {
        return Ok(());
    }
    let active = number(agent, Setting::PolicyActive).await?;
    let probation: Option<Probation> = json(agent, Setting::PolicyProbation).await?;
    let Some(probation) = probation.filter(|probation| probation.version == active) else {
        return Ok(());
    };
    let probation = probation.crashed(agent.now_s());
    let previous = number(agent, Setting::PolicyPrevious).await?;
    if previous > 0 && probation.as_ref().is_some_and(Probation::has_failed) {
        return give_up(agent, active, previous).await;
    }
    let probation = probation.map(|probation| serde_json::to_vec(&probation));
    let probation = probation.transpose()?.unwrap_or_default();
    write(agent, Setting::PolicyProbation, &probation).await
}

/// The agent ends as it should.
///
/// # Errors
/// The store's.
pub(crate) async fn end_run(agent: &Agent) -> anyhow::Result<()> {
    write_number(agent, Setting::Running, 0).await
}

async fn give_up(agent: &Agent, active: u64, previous: u64) -> anyhow::Result<()> {
    let bytes = files::read_secret(&file(&agent.paths, active))?;
    let digest = policies::bundle::UnverifiedBundle::parse(&bytes)?.digest();
    let ack = Ack {
        version: active,
        state: AckState::Rejected,
        reason: Some(Rejection::Crashes),
        active: previous,
    };
    let rejected = Rejected {
        version: active,
        digest,
    };
    let mut transaction = agent.vault.begin().await?;
    let cipher = &agent.vault.cipher;
    setting::write_number(&mut transaction, cipher, Setting::PolicyActive, previous).await?;
    setting::write_number(&mut transaction, cipher, Setting::PolicyPrevious, 0).await?;
    setting::write(&mut transaction, cipher, Setting::PolicyProbation, b"").await?;
    for (name, value) in [
        (Setting::PolicyRejected, serde_json::to_vec(&rejected)?),
        (Setting::PolicyAck, serde_json::to_vec(&ack)?),
    ] {
        setting::write(&mut transaction, cipher, name, &value).await?;
    }
    transaction.commit().await?;
    agent.alarm(
        super::ALARM,
        format!(
            "policy_rejected: the agent crashed {} times after version {active} of the policy, and returned to version {previous}",
            limits::CRASHES_MAX
        ),
    );
    forget_others(agent, [previous, 0])
}

/// The bundle that does not come into force here again, until a newer one does.
pub(super) async fn rejected(agent: &Agent) -> anyhow::Result<Option<Rejected>> {
    json(agent, Setting::PolicyRejected).await
}

pub(super) async fn reject(agent: &Agent, version: u64, digest: Digest) -> anyhow::Result<()> {
    let rejected = serde_json::to_vec(&Rejected { version, digest })?;
    write(agent, Setting::PolicyRejected, &rejected).await
}

/// What the gateway was told last, or is still to be.
pub(super) async fn ack(agent: &Agent) -> anyhow::Result<Option<Ack>> {
    json(agent, Setting::PolicyAck).await
}

pub(super) async fn remember_ack(agent: &Agent, ack: &Ack) -> anyhow::Result<()> {
    write(agent, Setting::PolicyAck, &serde_json::to_vec(ack)?).await
}

async fn number(agent: &Agent, name: Setting) -> anyhow::Result<u64> {
    setting::read_number(&mut *agent.vault.connection().await?, &agent.vault.cipher, name).await
}

async fn write_number(agent: &Agent, name: Setting, value: u64) -> anyhow::Result<()> {
    let mut connection = agent.vault.connection().await?;
    setting::write_number(&mut connection, &agent.vault.cipher, name, value).await
}

/// A value; none was written, or an empty one.
async fn json<T: DeserializeOwned>(agent: &Agent, name: Setting) -> anyhow::Result<Option<T>> {
    let value = setting::read(&mut *agent.vault.connection().await?, &agent.vault.cipher, name).await?;
    let value = value.filter(|value| !value.is_empty());
    Ok(value.map(|value| serde_json::from_slice(&value)).transpose()?)
}

async fn write(agent: &Agent, name: Setting, value: &[u8]) -> anyhow::Result<()> {
    setting::write(
        &mut *agent.vault.connection().await?,
        &agent.vault.cipher,
        name,
        value,
    )
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW_S: u64 = 100_000;

    fn new() -> Probation {
        Probation {
            version: 2,
            since_s: NEW_S,
            crashes_s: Vec::new(),
        }
    }

    /// Whether the bundle has failed after crashes at these times.
    fn failed_after(crashes_s: &[u64]) -> bool {
        let mut probation = Some(new());
        for at_s in crashes_s {
            probation = probation.and_then(|probation| probation.crashed(NEW_S + at_s));
        }
        probation.is_some_and(|probation| probation.has_failed())
    }

    /// B7: three within ten minutes, begun within ten minutes of the activation.
    #[test]
    fn three_crashes_in_ten_minutes_fail_a_new_bundle() {
        assert!(!failed_after(&[1, 2]));
        assert!(failed_after(&[1, 2, 3]));
        assert!(failed_after(&[500, 800, 1_000]));
        assert!(!failed_after(&[1, 700, 1_400]));
        assert!(!failed_after(&[601, 602, 603]));
    }
}
