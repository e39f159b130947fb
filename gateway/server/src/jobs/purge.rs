//! Expiry (K18, D1-D3): the bucket's key first, then rows and wrapped keys, a receipt in the ledger that says what was
//! shredded, then objects and the write-ahead log. A crash loses none of it: the receipt is owed from the moment the rows
//! go, and the next start removes objects without rows and empties the write-ahead log.

use serde_json::json;

use super::receipts;
use crate::domain::fault::Fault;
use crate::domain::gateway::Gateway;
use crate::domain::record::{Kind, listed};
use crate::limits;
use crate::seam::Point;
use crate::store::blobs;
use crate::store::stories::{self, StoryState};

/// Purges what has ended by `now_s`, Unix seconds: a time that was held against the boot clock (K19).
pub(super) async fn run(gateway: &Gateway, now_s: u64) -> Result<(), Fault> {
    let stories = gateway.store.ended_stories(now_s).await?;
    let blobs = gateway.store.ended_blobs(now_s).await?;
    let keys = gateway
        .bucket_keys
        .destroy_ended(now_s)
        .map_err(|error| gateway.health.stop("an expiry key cannot be destroyed", &error))?;
    if stories.is_empty() && blobs.is_empty() && keys == 0 {
        receipts::run(gateway, now_s).await?;
        forget(gateway, now_s).await?;
        return Ok(gateway.store.retry_truncate_wal().await?);
    }
    gateway.seams.reach(Point::KeysDestroyed).await;
    let ctis: Vec<_> = stories.iter().map(|story| story.cti).collect();
    let payload = json!({ "stories": listed(&ctis), "blobs": blobs.len(), "bucket_keys": keys });
    let record = gateway.entry(Kind::Purge, None, payload)?;
    // A bucket that held nothing needs no receipt.
    let is_receipt_due = !stories.is_empty() || !blobs.is_empty();
    let mut write = gateway.store.write().await?;
    for story in &stories {
        stories::shred(&mut write, story.cti, StoryState::Expired).await?;
    }
    for blob in &blobs {
        blobs::remove(&mut write, blob.digest).await?;
    }
    if is_receipt_due {
        gateway.record_with(write, vec![record]).await?;
        tracing::info!(stories = stories.len(), blobs = blobs.len(), keys, "purged");
    } else {
        write.commit().await?;
    }
    for blob in &blobs {
        let removed = gateway.objects.remove(&blob.object).await;
        removed.map_err(|error| gateway.health.stop("an object cannot be removed", &error))?;
    }
    gateway.seams.reach(Point::ObjectsRemoved).await;
    // What they count is what is about to be forgotten.
    receipts::run(gateway, now_s).await?;
    forget(gateway, now_s).await?;
    gateway.store.truncate_wal().await?;
    gateway.wake.purged().notify_waiters();
    Ok(())
}

/// What is kept for a while after its use: spent ids (C1), handshakes (K16), unfetched inbox items.
async fn forget(gateway: &Gateway, now_s: u64) -> Result<(), Fault> {
    gateway.store.forget_stories(now_s).await?;
    gateway
        .store
        .drop_old_handshakes(now_s.saturating_sub(limits::COMMITS_KEPT_S))
        .await?;
    gateway
        .store
        .drop_old_inbox(now_s.saturating_sub(limits::INBOX_KEPT_S))
        .await?;
    Ok(())
}
