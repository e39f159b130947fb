//! Upload of the spool: one batch in flight, forgotten after the acknowledgement (S2, S6).

use std::time::Duration;

use gateway_api::error::ErrorCode;
use gateway_api::v1::events::{Event, Upload};
use policies::terms::EventId;

use super::client::CallError;
use crate::agent::Agent;
use crate::{clock, spool};

/// Uploads until nothing waits.
///
/// # Errors
/// The gateway's, or the store's; what was not acknowledged stays.
pub(crate) async fn upload(agent: &Agent) -> anyhow::Result<()> {
    loop {
        let events = spool::next_batch(&agent.vault).await?;
        if events.is_empty() {
            return Ok(());
        }
        let ids = match agent.gateway.upload_events(&batch(events.clone())).await {
            Ok(acknowledged) => acknowledged.ids,
            Err(error) if is_about_the_events(&error) => one_by_one(agent, events).await?,
            Err(error) => return Err(error.into()),
        };
        if ids.is_empty() {
            anyhow::bail!("the gateway acknowledged no event");
        }
        spool::acknowledge(&agent.vault, &ids).await?;
        tracing::debug!(count = ids.len(), "events acknowledged");
        agent.changed();
    }
}

fn batch(events: Vec<Event>) -> Upload {
    Upload {
        sent_s: Some(clock::wall_s()),
        events,
    }
}

/// How long the gateway asked to be left alone, if that is why an upload failed (S6).
pub(crate) fn retry_after(error: &anyhow::Error) -> Duration {
    let call = error.downcast_ref::<CallError>();
    call.and_then(CallError::retry_after).unwrap_or_default()
}

/// Whether the gateway refuses what was sent, rather than who sends or when.
fn is_about_the_events(error: &CallError) -> bool {
    matches!(
        error.code(),
        Some(ErrorCode::BadRequest | ErrorCode::BodyTooLarge)
    )
}

/// The events of a refused batch, each by itself: one that the gateway never takes must not hold up the others.
/// It stays in the journal, and its owner is told.
async fn one_by_one(agent: &Agent, events: Vec<Event>) -> anyhow::Result<Vec<EventId>> {
    let mut ids = Vec::with_capacity(events.len());
    for event in events {
        let id = event.id;
        match agent.gateway.upload_events(&batch(vec![event])).await {
            Ok(acknowledged) => ids.extend(acknowledged.ids),
            Err(error) if is_about_the_events(&error) => {
                agent.alarm(
                    "event-refused",
                    format!("the gateway does not take event {id}; it stays in the activity only"),
                );
                ids.push(id);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(ids)
}
