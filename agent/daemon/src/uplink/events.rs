//! Upload of the spool: one batch in flight, compressed, forgotten after the acknowledgement (S2, S6).

use std::time::Duration;

use gateway_api::error::ErrorCode;
use gateway_api::v1::events::{Event, Upload};
use policies::terms::EventId;
use rand::RngExt as _;

use super::client::CallError;
use crate::agent::Agent;
use crate::vault::event;
use crate::{clock, limits, spool};

/// Uploads until nothing waits, with a pause after each batch that others wait behind.
///
/// # Errors
/// The gateway's, or the store's; what was not acknowledged stays.
pub(crate) async fn upload(agent: &Agent) -> anyhow::Result<()> {
    loop {
        let batch = spool::next_batch(&agent.vault).await?;
        if batch.events.is_empty() {
            return tell_of_those_aside(agent).await;
        }
        match agent
            .gateway
            .upload_events(&upload_of(batch.events.clone()))
            .await
        {
            Ok(acknowledged) => acknowledge(agent, &acknowledged.ids).await?,
            Err(error) if code_about_the_events(&error).is_some() => one_by_one(agent, batch.events).await?,
            Err(error) => return Err(error.into()),
        }
        if batch.more {
            let pause = limits::EVENTS_BACKLOG_PAUSE;
            let jittered = rand::rng().random_range(pause..=pause.saturating_mul(2));
            tokio::time::sleep(jittered).await;
        }
    }
}

fn upload_of(events: Vec<Event>) -> Upload {
    Upload {
        sent_s: Some(clock::wall_s()),
        events,
    }
}

async fn acknowledge(agent: &Agent, ids: &[EventId]) -> anyhow::Result<()> {
    anyhow::ensure!(!ids.is_empty(), "the gateway acknowledged no event");
    spool::acknowledge(&agent.vault, ids).await?;
    tracing::debug!(count = ids.len(), "events acknowledged");
    agent.changed();
    Ok(())
}

/// How long the gateway asked to be left alone, if that is why an upload failed (S6).
pub(crate) fn retry_after(error: &anyhow::Error) -> Duration {
    let call = error.downcast_ref::<CallError>();
    call.and_then(CallError::retry_after).unwrap_or_default()
}

/// The gateway's code, if it refuses what was sent, rather than who sends or when: only that cannot be mended by waiting.
fn code_about_the_events(error: &CallError) -> Option<ErrorCode> {
    error
        .code()
        .filter(|code| matches!(code, ErrorCode::BadRequest | ErrorCode::BodyTooLarge))
}

/// The events of a refused batch, each by itself: one that the gateway does not take is put aside, so that it does not
/// hold up the others (S6).
async fn one_by_one(agent: &Agent, events: Vec<Event>) -> anyhow::Result<()> {
    for event in events {
        let sequence = event.sequence;
        match agent.gateway.upload_events(&upload_of(vec![event])).await {
            Ok(acknowledged) => acknowledge(agent, &acknowledged.ids).await?,
            Err(error) => {
                let Some(code) = code_about_the_events(&error) else {
                    return Err(error.into());
                };
                tracing::error!(
                    sequence,
                    code = code.as_str(),
                    "the gateway does not take an event"
                );
                spool::put_aside(&agent.vault, sequence, code).await?;
                agent.changed();
            }
        }
    }
    Ok(())
}

/// Events that are put aside are an alarm for as long as they are.
async fn tell_of_those_aside(agent: &Agent) -> anyhow::Result<()> {
    const ALARM: &str = "events-aside";
    let count = event::count_aside(&mut *agent.vault.connection().await?).await?;
    if count == 0 {
        agent.all_clear(ALARM);
    } else {
        agent.alarm(
            ALARM,
            format!(
                "{count} events are put aside: the gateway does not take them, or they cannot be read; tell your \
                 administrator. They are kept, and offered again when the agent starts"
            ),
        );
    }
    Ok(())
}
