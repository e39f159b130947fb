//! Audiences that this device is listed in and cannot read: their logs no longer reach back to it, or their Welcome does
//! not open (M4, M5). They are joined again without asking anybody; what did not help is not tried again, so that it
//! does not fill the directory log with entries.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use policies::terms::AudienceId;
use serde::{Deserialize, Serialize};

use super::rejoin;
use crate::agent::Agent;
use crate::vault::rejoining::Loss;
use crate::vault::setting::{self, Setting};
use crate::vault::{Connection, Vault};

/// What is known of them.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    /// As the gateway said last.
    told: Mutex<BTreeSet<AudienceId>>,
}

/// What outlives the process.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Stored {
    /// Their Welcome did not open.
    deaf: BTreeSet<AudienceId>,
    /// It was tried, and did not help.
    tried: BTreeSet<AudienceId>,
}

impl Behind {
    /// The gateway's word on a poll.
    pub(crate) fn told(&self, behind: BTreeSet<AudienceId>) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = behind;
    }

    fn take(&self) -> BTreeSet<AudienceId> {
        std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A Welcome did not open: in the caller's transaction.
pub(crate) async fn deaf(
    connection: &mut Connection,
    vault: &Vault,
    audience: AudienceId,
) -> anyhow::Result<()> {
    change(connection, vault, |stored| {
        stored.deaf.insert(audience);
    })
    .await
}

/// This device is in it again: in the caller's transaction.
pub(crate) async fn joined(
    connection: &mut Connection,
    vault: &Vault,
    audience: AudienceId,
) -> anyhow::Result<()> {
    change(connection, vault, |stored| {
        stored.deaf.remove(&audience);
        stored.tried.remove(&audience);
    })
    .await
}

/// Joins them again. A refusal is an alarm, and keeps nothing else from going on.
///
/// # Errors
/// The gateway cannot be reached; the store's.
pub(crate) async fn catch_up(agent: &Agent) -> anyhow::Result<()> {
    let told = agent.behind.take();
    let behind: BTreeSet<AudienceId> = {
        let stored = read(&mut *agent.vault.connection().await?, &agent.vault).await?;
        let known = told.union(&stored.deaf);
        known
            .filter(|audience| !stored.tried.contains(audience))
            .copied()
            .collect()
    };
    if behind.is_empty() {
        return Ok(());
    }
    tracing::warn!(audiences = behind.len(), "too far behind: joining again");
    match rejoin::rejoin(agent, Loss::Behind(behind.clone())).await {
        Ok(outcome) => {
            let mut connection = agent.vault.connection().await?;
            change(&mut connection, &agent.vault, |stored| {
                let in_vain = |audience: &&AudienceId| !outcome.joined.contains(*audience);
                stored.tried.extend(behind.iter().filter(in_vain));
            })
            .await
        }
        Err(error) if rejoin::is_refused(&error) => {
            rejoin::alarm_refused(agent, &error);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

async fn read(connection: &mut Connection, vault: &Vault) -> anyhow::Result<Stored> {
    let value = setting::read(connection, &vault.cipher, Setting::Behind).await?;
    let stored = value.map(|value| serde_json::from_slice(&value)).transpose()?;
    Ok(stored.unwrap_or_default())
}

async fn change(
    connection: &mut Connection,
    vault: &Vault,
    change: impl FnOnce(&mut Stored),
) -> anyhow::Result<()> {
    let mut stored = read(connection, vault).await?;
    change(&mut stored);
    let value = serde_json::to_vec(&stored)?;
    setting::write(connection, &vault.cipher, Setting::Behind, &value).await
}
