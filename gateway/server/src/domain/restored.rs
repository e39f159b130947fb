//! A gateway that was restored is held: it writes to neither log until an operator has confirmed that nobody knows later
//! ones. Otherwise it would continue an old log beside the one that agents have followed, under the same key: a fork.
//!
//! ```text
//! restore ─► held ─► agents connect: each that knows a later directory log shows its signed checkpoint
//!                     ├─ none does ──────────────────────────────► confirmed, recorded
//!                     └─ one does ─► its entries, from an agent ─► confirmed, recorded
//! ```
//! A gateway whose folder was put back by other means is held as soon as an agent shows a later checkpoint.

use std::sync::Arc;

use anyhow::Context as _;
use gateway_api::bytes::Bytes;
use gateway_api::error::ErrorCode;
use gateway_ledger::{CheckpointKey, SignedCheckpoint};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::fault::Fault;
use super::gateway::Gateway;
use super::policy::PolicyInForce;
use super::record::Kind;
use super::recovery;
use crate::config::files;
use crate::config::layout::Layout;

/// Why the gateway is held, durable over restarts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Restored {
    /// When the backup was made, Unix seconds; none if nobody said that there was one.
    pub(crate) made_at_s: Option<u64>,
    /// The latest signed checkpoint of the directory log that an agent has shown, if it is later than ours was.
    pub(crate) later: Option<String>,
}

/// The directory log as an agent followed it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FollowedDirectory {
    /// Signed checkpoint over all of the entries.
    pub(crate) checkpoint: String,
    pub(crate) entries: Vec<Bytes>,
}

impl Restored {
    /// Reads it from a folder that is held.
    pub(crate) fn read(layout: &Layout) -> anyhow::Result<Option<Self>> {
        let path = layout.restored();
        if !path.exists() {
            return Ok(None);
        }
        let restored = serde_json::from_slice(&files::read(&path)?)
            .with_context(|| format!("`{}` cannot be read", path.display()))?;
        Ok(Some(restored))
    }

    pub(crate) fn write(&self, layout: &Layout) -> anyhow::Result<()> {
        files::replace(&layout.restored(), &serde_json::to_vec(self)?)
    }

    /// How many entries agents know of.
    fn later_size(&self, key: &CheckpointKey) -> anyhow::Result<u64> {
        let Some(note) = &self.later else {
            return Ok(0);
        };
        Ok(SignedCheckpoint::open(note, key)?.checkpoint().size)
    }

    /// What the status page says.
    pub(crate) fn sentence(&self, vkey: &str, size: u64) -> anyhow::Result<String> {
        let later = self.later_size(&CheckpointKey::parse(vkey)?)?;
        Ok(if later > size {
            format!(
                "agents have followed {later} entries of the directory log and this gateway has {size}: it was restored \
                 from an older backup. Nothing is accepted. Restore a later backup, or bring the entries back from an \
                 agent: sealgate-agent directory --out FILE, then sealgate restore --directory FILE --dir DIR"
            )
        } else {
            "this gateway was restored from a backup: nothing is accepted until that is confirmed. Let agents connect; one \
             that knows a later directory log says so here. Then: sealgate restore --confirm --dir DIR"
                .to_owned()
        })
    }
}

/// An agent shows the checkpoint that it holds, since ours is smaller. Our own signature on it proves that it is right.
pub(crate) async fn shown(gateway: &Gateway, note: &str) -> Result<(), Fault> {
    let key = directory_key(gateway)?;
    let signed = SignedCheckpoint::open(note, &key)
        .map_err(|error| Fault::bad_request(format!("this is no checkpoint of ours: {error}")))?;
    let size = gateway.directory.size();
    let restored = Restored::read(&gateway.layout)?.unwrap_or_default();
    let known = restored.later_size(&key)?.max(size);
    if signed.checkpoint().size <= known {
        return Ok(());
    }
    let restored = Restored {
        later: Some(note.to_owned()),
        ..restored
    };
    restored.write(&gateway.layout)?;
    gateway
        .health
        .hold(restored.sentence(gateway.directory.vkey(), size)?);
    Ok(())
}

/// Brings back the entries that an agent has and this gateway lacks: how many.
pub(crate) async fn recover(gateway: &Gateway, followed: FollowedDirectory) -> Result<u64, Fault> {
    let Some(restored) = Restored::read(&gateway.layout)? else {
        return Err(nothing_held());
    };
    let key = directory_key(gateway)?;
    let signed = SignedCheckpoint::open(&followed.checkpoint, &key)
        .map_err(|error| Fault::bad_request(format!("this file holds no directory log of ours: {error}")))?;
    let entries = followed.entries.into_iter().map(|entry| entry.0).collect();
    let added = gateway
        .directory
        .recover(entries, signed.checkpoint())
        .await
        .map_err(|error| Fault::bad_request(format!("{error:#}")))?;
    gateway
        .health
        .hold(restored.sentence(gateway.directory.vkey(), gateway.directory.size())?);
    gateway.wake.everyone();
    Ok(added)
}

/// The operator says that nobody knows more than this gateway.
pub(crate) async fn confirm(gateway: &Gateway) -> Result<(), Fault> {
    let Some(restored) = Restored::read(&gateway.layout)? else {
        return Err(nothing_held());
    };
    let key = directory_key(gateway)?;
    let size = gateway.directory.size();
    if restored.later_size(&key)? > size {
        return Err(Fault::new(
            ErrorCode::RestoreUnconfirmed,
            restored.sentence(gateway.directory.vkey(), size)?,
        ));
    }
    let payload = json!({
        "backup_made_at_s": restored.made_at_s,
        "ledger_size": gateway.ledger.size(),
        "directory_size": size,
    });
    // All while nothing else is let in: what is settled here must not move.
    recovery::settle_restored(&gateway.store, &gateway.ledger).await?;
    let record = gateway.entry(Kind::Restore, None, payload)?;
    let recorded = gateway.ledger.append(vec![record]).await;
    recorded.map_err(|error| gateway.storage_fault(&error))?;
    files::remove(&gateway.layout.restored())?;
    gateway.health.release();
    if let Err(error) = gateway.reload_policy().await {
        tracing::error!(
            error = format!("{error:#}"),
            "no bundle is in force: nothing is accepted"
        );
        gateway.policy.store(Arc::new(PolicyInForce::default()));
    }
    gateway.finish_revocations().await?;
    gateway.wake.everyone();
    Ok(())
}

fn directory_key(gateway: &Gateway) -> anyhow::Result<CheckpointKey> {
    Ok(CheckpointKey::parse(gateway.directory.vkey())?)
}

fn nothing_held() -> Fault {
    Fault::bad_request("this gateway was not restored, or that was confirmed before: there is nothing to do")
}
