//! What the ledger holds about somebody becomes unreadable (W1): recorded, then the keys are destroyed; after a crash the
//! next start destroys them.

use anyhow::Context as _;
use policies::terms::PersonId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::fault::Fault;
use super::gateway::Gateway;
use super::record::Kind;
use crate::seam::Point;
use crate::store::ledger::subject_keys::DekId;

/// Destroys the keys of what the ledger holds about a person until now: how many there were.
pub(crate) async fn erase(gateway: &Gateway, person: PersonId) -> Result<u64, Fault> {
    gateway.health.check_writable()?;
    let keys = gateway.ledger.keys_of(person);
    let names: Vec<String> = keys.iter().map(hex::encode).collect();
    let record = gateway.entry(Kind::Shred, None, json!({ "person": person, "keys": names }))?;
    let entry = record.entry;
    // Owed until the keys are gone: a start in between ends it.
    gateway.owe(&record).await?;
    gateway.seams.reach(Point::Owed).await;
    let recorded = gateway.ledger.append(vec![record]).await;
    recorded.map_err(|error| gateway.storage_fault(&error))?;
    gateway.seams.reach(Point::OwedRecorded).await;
    let shredded = gateway.ledger.shred(keys).await?;
    gateway.store.settle_intent(entry).await?;
    Ok(shredded)
}

/// The keys that a record of an erasure names.
///
/// # Errors
/// It is not such a record.
pub(crate) fn keys(payload: &Value) -> anyhow::Result<Vec<DekId>> {
    #[derive(Deserialize)]
    struct Shred {
        keys: Vec<String>,
    }
    let shred = Shred::deserialize(payload).context("a record of erasure cannot be read")?;
    shred.keys.iter().map(|name| key(name)).collect()
}

/// A key by its name in a record or a backup.
///
/// # Errors
/// It is no such name.
pub(crate) fn key(name: &str) -> anyhow::Result<DekId> {
    let id = hex::decode(name).ok().and_then(|id| id.try_into().ok());
    id.with_context(|| format!("`{name}` names no key"))
}
