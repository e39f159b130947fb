//! Expiry (K18, D1-D3): the bucket's key first, then rows, wrapped keys and objects, then the write-ahead log; a receipt
//! in the ledger says what was shredded.

use serde_json::json;

use crate::domain::fault::Fault;
use crate::domain::gateway::Gateway;
use crate::domain::record::{Kind, listed};
use crate::limits;
use crate::store::blobs;
use crate::store::stories::{self, StoryState};

/// Purges what has ended.
pub(super) async fn run(gateway: &Gateway) -> Result<(), Fault> {
    let now_s = gateway.clock.now_s();
    let stories = gateway.store.ended_stories(now_s).await?;
    let blobs = gateway.store.ended_blobs(now_s).await?;
    let keys = gateway.bucket_keys.destroy_ended(now_s)?;
    if stories.is_empty() && blobs.is_empty() && keys == 0 {
        forget(gateway, now_s).await?;
        return Ok(gateway.store.retry_truncate_wal().await?);
    }
    let mut write = gateway.store.write().await?;
    for story in &stories {
        stories::shred(&mut write, story.cti, StoryState::Expired).await?;
    }
    for blob in &blobs {
        blobs::remove(&mut write, blob.digest).await?;
    }
    write.commit().await?;
    for blob in &blobs {
        gateway.objects.remove(&blob.object).await?;
    }
    forget(gateway, now_s).await?;
    gateway.store.truncate_wal().await?;
    if !stories.is_empty() || !blobs.is_empty() {
        let ctis: Vec<_> = stories.iter().map(|story| story.cti).collect();
        let payload = json!({ "stories": listed(&ctis), "blobs": blobs.len(), "bucket_keys": keys });
        gateway.record(Kind::Purge, None, payload).await?;
        tracing::info!(stories = stories.len(), blobs = blobs.len(), keys, "purged");
    }
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
