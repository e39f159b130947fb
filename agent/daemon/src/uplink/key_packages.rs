//! Key packages at the gateway, so that others can add this device while it is offline.

use agent_seal::Member;
use gateway_api::v1::key_packages::Upload;

use crate::agent::Agent;
use crate::limits::{KEY_PACKAGES_LOW, KEY_PACKAGES_TARGET};
use crate::uplink::membership;

/// Uploads fresh ones when few are left; they are persisted before they leave (M6).
///
/// # Errors
/// The gateway's, or the store's.
pub(crate) async fn replenish(agent: &Agent) -> anyhow::Result<()> {
    let stock = agent.gateway.key_package_stock().await?;
    let left = usize::try_from(stock.one_time).unwrap_or(usize::MAX);
    if left >= KEY_PACKAGES_LOW {
        return Ok(());
    }
    let upload = {
        let mut member = agent.sealing.change(&agent.vault).await?;
        let made = make(agent, &mut member, KEY_PACKAGES_TARGET.saturating_sub(left)).await;
        member.settled(made)?
    };
    let stock = agent.gateway.upload_key_packages(&upload).await?;
    tracing::info!(one_time = stock.one_time, "key packages uploaded");
    Ok(())
}

async fn make(agent: &Agent, member: &mut Member, count: usize) -> anyhow::Result<Upload> {
    let now_s = agent.now_s();
    let one_time = member
        .key_packages(count, now_s)?
        .into_iter()
        .map(Into::into)
        .collect();
    let last_resort = Some(member.last_resort_key_package(now_s)?.into());
    membership::persist(agent, member).await?;
    Ok(Upload {
        one_time,
        last_resort,
    })
}
