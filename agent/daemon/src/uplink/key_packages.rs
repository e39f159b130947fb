//! Key packages at the gateway, so that others can add this device while it is offline.

use agent_seal::Member;
use gateway_api::v1::key_packages::Upload;

use crate::agent::Agent;
use crate::limits::{KEY_PACKAGES_LOW, KEY_PACKAGES_RENEWED_S, KEY_PACKAGES_TARGET};
use crate::uplink::membership;
use crate::vault::setting::{self, Setting};

/// Uploads fresh ones when few are left, and all anew when they grow old; they are persisted before they leave (M6).
///
/// # Errors
/// The gateway's, or the store's.
pub(crate) async fn replenish(agent: &Agent) -> anyhow::Result<()> {
    let cipher = &agent.vault.cipher;
    let now_s = agent.now_s();
    let renewed_s = {
        let mut connection = agent.vault.connection().await?;
        setting::read_number(&mut connection, cipher, Setting::KeyPackagesAt).await?
    };
    let renew = now_s.saturating_sub(renewed_s) >= KEY_PACKAGES_RENEWED_S;
    let stock = agent.gateway.key_package_stock().await?;
    let left = if renew {
        0
    } else {
        usize::try_from(stock.one_time).unwrap_or(usize::MAX)
    };
    if left >= KEY_PACKAGES_LOW {
        return Ok(());
    }
    let mut upload = {
        let mut member = agent.sealing.change(&agent.vault).await?;
        let made = make(agent, &mut member, KEY_PACKAGES_TARGET.saturating_sub(left)).await;
        member.settled(made)?
    };
    upload.renew = renew;
    let stock = agent.gateway.upload_key_packages(&upload).await?;
    if renew {
        let mut connection = agent.vault.connection().await?;
        setting::write_number(&mut connection, cipher, Setting::KeyPackagesAt, now_s).await?;
    }
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
        renew: false,
    })
}
