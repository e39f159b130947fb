//! What the gateway still holds of a story: metadata, for administrators and auditors.

use std::time::Duration;

use gateway_api::error::ErrorCode;
use policies::terms::Cti;
use serde_json::json;
use tokio::time::Instant;

use super::Reply;
use crate::domain::fault::Fault;
use crate::domain::gateway::Gateway;
use crate::store::stories::StoryState;

pub(super) async fn show(gateway: &Gateway, cti: Cti) -> Result<Reply, Fault> {
    let Some(story) = gateway.store.story(cti).await? else {
        let json =
            json!({ "cti": cti, "state": "unknown", "envelope_bytes": 0, "blobs": 0, "bucket_key": false });
        return Ok(Reply::new(json, format!("{cti}  unknown")));
    };
    let blobs = gateway.store.blobs_of(cti).await?.len();
    let bucket_key = gateway.bucket_keys.existing(story.expires_s)?.is_some();
    let state = story.state.as_str();
    let json = json!({
        "cti": cti, "state": state, "envelope_bytes": story.envelope_bytes, "blobs": blobs, "bucket_key": bucket_key,
        "at_s": story.at_s, "expires_s": story.expires_s,
    });
    let text = format!(
        "{cti}  {state}  envelope {} B  blobs {blobs}  bucket key {bucket_key}",
        story.envelope_bytes
    );
    Ok(Reply::new(json, text))
}

/// Answers when nothing of the story is left; woken by the purge.
pub(super) async fn wait_purged(gateway: &Gateway, cti: Cti, timeout_s: u64) -> Result<Reply, Fault> {
    let deadline = Instant::now() + Duration::from_secs(timeout_s);
    loop {
        let purged = gateway.wake.purged().notified();
        tokio::pin!(purged);
        purged.as_mut().enable();
        let story = gateway.store.story(cti).await?;
        let gone = story.as_ref().is_none_or(|story| match story.state {
            StoryState::Held | StoryState::Deliverable => false,
            StoryState::Expired | StoryState::Revoked => story.envelope_bytes == 0,
        });
        let bucket_key = match &story {
            Some(story) => gateway.bucket_keys.existing(story.expires_s)?.is_some(),
            None => false,
        };
        if gone && !bucket_key && gateway.store.blobs_of(cti).await?.is_empty() {
            return show(gateway, cti).await;
        }
        if tokio::time::timeout_at(deadline, purged).await.is_err() {
            return Err(Fault::new(ErrorCode::Busy, "the story is still here"));
        }
    }
}
