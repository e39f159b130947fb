//! `rejoin` on a folder whose agent does not start (M4): what can be read stays, the MLS state goes, and a database
//! that cannot be read is put aside, never thrown away.

use std::path::PathBuf;

use super::rejoining::{Begun, Loss};
use super::setting::{self, Setting};
use super::{Vault, claim, committing, event, journal, mls_record, outgoing, pending, rejoining};
use crate::config::paths::Paths;

/// Makes the folder ready for a rejoin at the next start. Where the database was put, if it cannot be read.
///
/// # Errors
/// Files cannot be moved or written.
pub(crate) async fn prepare(paths: &Paths, now_s: u64) -> anyhow::Result<Option<PathBuf>> {
    if let Some(vault) = readable(paths).await {
        drop_state(&vault).await?;
        vault.close().await;
        return Ok(None);
    }
    let aside = put_aside(paths, now_s)?;
    let vault = Vault::open(paths).await?;
    drop_state(&vault).await?;
    vault.close().await;
    Ok(aside)
}

/// Whether everything in the store that is not MLS state can be read.
///
/// # Errors
/// It cannot; the message says what.
pub(crate) async fn check(paths: &Paths) -> anyhow::Result<()> {
    let vault = Vault::open(paths).await?;
    let checked = read_all(&vault).await;
    vault.close().await;
    checked
}

/// The store, if everything in it that is not MLS state can be read.
async fn readable(paths: &Paths) -> Option<Vault> {
    let vault = Vault::open(paths).await.ok()?;
    match read_all(&vault).await {
        Ok(()) => Some(vault),
        Err(error) => {
            tracing::warn!(error = %format!("{error:#}"), "the state database cannot be read");
            vault.close().await;
            None
        }
    }
}

async fn read_all(vault: &Vault) -> anyhow::Result<()> {
    let mut connection = vault.connection().await?;
    let cipher = &vault.cipher;
    vault.check_integrity().await?;
    for setting in [Setting::Checkpoint, Setting::People, Setting::PolicyFloor] {
        setting::read(&mut connection, cipher, setting).await?;
    }
    super::audience::all(&mut connection, cipher).await?;
    super::directory_entry::all(&mut connection).await?;
    outgoing::all(&mut connection, cipher).await?;
    pending::waiting(&mut connection, cipher).await?;
    claim::all(&mut connection, cipher).await?;
    let events = event::oldest(&mut connection, cipher, i64::MAX).await?;
    anyhow::ensure!(
        events.iter().all(|event| event.body.is_some()),
        "an event that waits is damaged; the agent puts it aside at its next upload"
    );
    journal::latest(&mut connection, cipher, i64::MAX).await?;
    Ok(())
}

async fn drop_state(vault: &Vault) -> anyhow::Result<()> {
    let mut transaction = vault.begin().await?;
    mls_record::clear(&mut transaction).await?;
    rejoining::clear(&mut transaction).await?;
    committing::clear(&mut transaction).await?;
    super::audience::leave_all(&mut transaction).await?;
    rejoining::begin(&mut transaction, &vault.cipher, &Begun::of(Loss::State)).await?;
    transaction.commit().await?;
    Ok(())
}

/// Database and side files under other names.
fn put_aside(paths: &Paths, now_s: u64) -> anyhow::Result<Option<PathBuf>> {
    let state = paths.state();
    let aside = paths.root().join(format!("state.db.damaged-{now_s}"));
    for end in ["", "-wal", "-shm"] {
        let name = |path: &PathBuf| PathBuf::from(format!("{}{end}", path.display()));
        if name(&state).exists() {
            std::fs::rename(name(&state), name(&aside))?;
        }
    }
    Ok(aside.exists().then_some(aside))
}
