//! Renewing this device's keys in an audience: daily before the first story (M12), and when the gateway asks after
//! a bulk add (M9). Every commit of this device renews them, whatever else it does.

use std::sync::PoisonError;

use agent_seal::Member;
use policies::terms::AudienceId;

use super::membership;
use crate::agent::Agent;
use crate::limits::ASKED_RENEWAL_PAUSE_S;
use crate::vault::audience::{self, AudienceState};
use crate::vault::renewal;

const DAY_S: u64 = 86_400;

/// Whether keys must be renewed before a story: not on this day (UTC) yet. One whose clock went back renews too.
pub(crate) fn is_due(last_s: Option<u64>, now_s: u64) -> bool {
    last_s.is_none_or(|last_s| last_s / DAY_S != now_s / DAY_S)
}

/// Whether the gateway's wish may be followed: it gets one commit in [`ASKED_RENEWAL_PAUSE_S`].
fn may_follow(last_s: Option<u64>, now_s: u64) -> bool {
    last_s.is_none_or(|last_s| now_s.abs_diff(last_s) >= ASKED_RENEWAL_PAUSE_S)
}

/// When this device last committed in the audience.
///
/// # Errors
/// The store's.
pub(crate) async fn last_s(agent: &Agent, audience: AudienceId) -> anyhow::Result<Option<u64>> {
    renewal::last_s(&mut *agent.vault.connection().await?, audience).await
}

/// Records a commit of this device.
///
/// # Errors
/// The store's.
pub(crate) async fn done(agent: &Agent, audience: AudienceId) -> anyhow::Result<()> {
    renewal::put(&mut *agent.vault.connection().await?, audience, agent.now_s()).await
}

/// Remembers that the gateway asked. In memory only: it asks another device when this one ends before.
pub(crate) fn asked(agent: &Agent, audience: AudienceId) {
    let mut asked = agent
        .asked_renewals
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    asked.insert(audience);
}

/// Does what the gateway asked for. A hint: what fails is logged and not tried again.
pub(crate) async fn carry_out(agent: &Agent) {
    let asked = std::mem::take(
        &mut *agent
            .asked_renewals
            .lock()
            .unwrap_or_else(PoisonError::into_inner),
    );
    for group in asked {
        if let Err(error) = follow(agent, group).await {
            tracing::warn!(%group, error = %format!("{error:#}"), "keys were not renewed as the gateway asked");
        }
    }
}

async fn follow(agent: &Agent, group: AudienceId) -> anyhow::Result<()> {
    let mut member = agent.sealing.change(&agent.vault).await?;
    let followed = follow_with(agent, &mut member, group).await;
    member.settled(followed)
}

async fn follow_with(agent: &Agent, member: &mut Member, group: AudienceId) -> anyhow::Result<()> {
    let known = {
        let mut connection = agent.vault.connection().await?;
        audience::by_id(&mut connection, &agent.vault.cipher, group).await?
    };
    let is_member = known.is_some_and(|known| known.state == AudienceState::Member);
    if is_member && may_follow(last_s(agent, group).await?, agent.now_s()) {
        membership::renew(agent, member, group).await?;
        tracing::info!(%group, "keys renewed as the gateway asked");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON_S: u64 = 20_000 * DAY_S + DAY_S / 2;

    /// M12
    #[test]
    fn keys_are_renewed_before_the_first_story_of_each_day() {
        let check = |last_s, now_s, expected| assert_eq!(is_due(last_s, now_s), expected);
        check(None, NOON_S, true);
        check(Some(NOON_S), NOON_S, false);
        check(Some(NOON_S), NOON_S + DAY_S / 2 - 1, false);
        check(Some(NOON_S), NOON_S + DAY_S / 2, true);
        check(Some(NOON_S), NOON_S + 40 * DAY_S, true);
        check(Some(NOON_S), NOON_S - DAY_S, true);
    }

    /// M9: a gateway that asks without end gets one commit a minute.
    #[test]
    fn gateway_that_asks_again_at_once_is_not_followed() {
        let check = |last_s, expected| assert_eq!(may_follow(last_s, NOON_S), expected);
        check(None, true);
        check(Some(NOON_S), false);
        check(Some(NOON_S - ASKED_RENEWAL_PAUSE_S + 1), false);
        check(Some(NOON_S - ASKED_RENEWAL_PAUSE_S), true);
    }
}
