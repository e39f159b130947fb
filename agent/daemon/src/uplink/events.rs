//! Upload of the spool: one batch in flight, forgotten after the acknowledgement (S2, S6).

use gateway_api::v1::events::Upload;

use crate::agent::Agent;
use crate::spool;

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
        let acknowledged = agent.gateway.upload_events(&Upload { events }).await?;
        if acknowledged.ids.is_empty() {
            anyhow::bail!("the gateway acknowledged no event");
        }
        spool::acknowledge(&agent.vault, &acknowledged.ids).await?;
        tracing::debug!(count = acknowledged.ids.len(), "events acknowledged");
        agent.changed();
    }
}
