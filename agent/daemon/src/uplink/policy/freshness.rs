//! Whether the policy is the latest (B4, B5). A timestamp that the gateway signs proves it for a day; without the next
//! one the policy is stale: it is enforced as before, and its owner is told. After the policy's own grace period its
//! `offline_mode` acts.

use std::sync::atomic::Ordering;

use policies::bundle::Timestamp;
use policies::document::OfflineMode;
use serde::{Deserialize, Serialize};

use super::{STALE, end_if_expired};
use crate::agent::Agent;
use crate::vault::setting::{self, Setting};

/// A proof that does not hold, told apart from one that is missing.
const PROOF: &str = "policy-proof";

/// How well the policy is known to be the latest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Freshness {
    /// Nothing is known yet.
    #[default]
    Unknown,
    Fresh,
    /// Not confirmed in time; enforced as before.
    Stale,
    /// For longer than the grace period: `offline_mode` acts.
    Overdue,
}

impl Freshness {
    const fn of(fresh_until_s: u64, grace_s: u64, now_s: u64) -> Self {
        if fresh_until_s == 0 {
            Self::Unknown
        } else if now_s < fresh_until_s {
            Self::Fresh
        } else if now_s < fresh_until_s.saturating_add(grace_s) {
            Self::Stale
        } else {
            Self::Overdue
        }
    }
}

/// Reads until when the policy was known to be the latest.
pub(super) async fn load(agent: &Agent) -> anyhow::Result<()> {
    let mut connection = agent.vault.connection().await?;
    let until_s =
        setting::read_number(&mut connection, &agent.vault.cipher, Setting::PolicyFreshUntil).await?;
    agent.policy.fresh_until_s.store(until_s, Ordering::Relaxed);
    Ok(())
}

/// How well the policy is known to be the latest.
pub(crate) fn current(agent: &Agent) -> Freshness {
    let grace_s = agent
        .policy
        .loaded()
        .map_or(0, |policy| policy.plan.offline_grace_s());
    let until_s = agent.policy.fresh_until_s.load(Ordering::Relaxed);
    Freshness::of(until_s, grace_s, agent.now_s())
}

/// When that changes by itself, Unix seconds.
pub(crate) fn next_change_s(agent: &Agent) -> Option<u64> {
    let policy = agent.policy.loaded()?;
    let until_s = agent.policy.fresh_until_s.load(Ordering::Relaxed);
    match current(agent) {
        Freshness::Fresh => Some(until_s),
        Freshness::Stale => Some(until_s.saturating_add(policy.plan.offline_grace_s())),
        Freshness::Unknown | Freshness::Overdue => None,
    }
}

/// When the next proof is asked for: at half of the last one's life. None: at the next occasion.
pub(crate) fn refresh_at_s(agent: &Agent) -> Option<u64> {
    let at_s = agent.policy.refresh_at_s.load(Ordering::Relaxed);
    (at_s > 0).then_some(at_s)
}

/// Acts on what has become of it.
pub(crate) fn look(agent: &Agent) {
    let Some(policy) = agent.policy.loaded() else {
        return;
    };
    let freshness = current(agent);
    let was_overdue = agent
        .policy
        .overdue
        .swap(freshness == Freshness::Overdue, Ordering::Relaxed);
    if was_overdue != (freshness == Freshness::Overdue) {
        agent.changed();
    }
    let then = match (freshness, policy.plan.offline_mode()) {
        (Freshness::Unknown, _) => return,
        (Freshness::Fresh, _) => return agent.all_clear(STALE),
        (Freshness::Stale, _) | (Freshness::Overdue, OfflineMode::Keep) => "it is enforced as before",
        (Freshness::Overdue, OfflineMode::Strict) => "as it says for this case, nothing is sealed (`strict`)",
        (Freshness::Overdue, OfflineMode::Audit) => {
            "as it says for this case, its rules record and stop nothing (`audit`)"
        }
    };
    agent.alarm(
        STALE,
        format!(
            "the policy is stale: the gateway has not confirmed in time that version {} is the latest; {then}. Connect to the gateway",
            policy.version
        ),
    );
}

/// Judges the proof that came with an answer at `received_s`. One that holds is durable, with the time that it says
/// (B5). Without any the policy is stale from here on: a gateway that never gives one gains nothing.
pub(super) async fn judge(agent: &Agent, timestamp: Option<&[u8]>, received_s: u64) -> anyhow::Result<()> {
    let Some(policy) = agent.policy.loaded() else {
        return Ok(());
    };
    if end_if_expired(agent) {
        return Ok(());
    }
    match timestamp.map(|bytes| Timestamp::parse_verify(bytes, &agent.pins.timestamp)) {
        // Signed times are kept for good (B5): a wrong clock must not be.
        Some(Ok(timestamp)) if agent.clock.is_far_ahead(timestamp.at_s) => agent.alarm(
            PROOF,
            format!(
                "the gateway's clock is {} s ahead of this device's: its proof that the policy is the latest does not count. Set \
                 this device's clock right; if it is right, tell the administrator",
                timestamp.at_s.saturating_sub(agent.clock.wall_s())
            ),
        ),
        Some(Ok(timestamp)) if timestamp.bundle == policy.digest && timestamp.expires_s > received_s => {
            accept(agent, &timestamp).await?;
            agent.all_clear(PROOF);
        }
        Some(Ok(_)) => agent.alarm(
            PROOF,
            "the gateway's proof that the policy is the latest is old or of another policy",
        ),
        Some(Err(error)) => agent.alarm(
            PROOF,
            format!("the gateway's proof that the policy is the latest does not verify: {error}"),
        ),
        None => agent.alarm(PROOF, "the gateway gives no proof that the policy is the latest"),
    }
    if current(agent) == Freshness::Unknown {
        let mut connection = agent.vault.connection().await?;
        let cipher = &agent.vault.cipher;
        setting::write_number(&mut connection, cipher, Setting::PolicyFreshUntil, received_s).await?;
        agent.policy.fresh_until_s.store(received_s, Ordering::Relaxed);
    }
    look(agent);
    Ok(())
}

async fn accept(agent: &Agent, timestamp: &Timestamp) -> anyhow::Result<()> {
    let life_s = timestamp.expires_s.saturating_sub(timestamp.at_s);
    let slot = &agent.policy;
    slot.fresh_until_s.store(timestamp.expires_s, Ordering::Relaxed);
    slot.refresh_at_s
        .store(timestamp.at_s.saturating_add(life_s / 2), Ordering::Relaxed);
    agent.clock.saw_signed(timestamp.at_s);
    let mut transaction = agent.vault.begin().await?;
    let cipher = &agent.vault.cipher;
    setting::write_number(&mut transaction, cipher, Setting::SignedTime, timestamp.at_s).await?;
    let until_s = timestamp.expires_s;
    setting::write_number(&mut transaction, cipher, Setting::PolicyFreshUntil, until_s).await?;
    transaction.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B4
    #[test]
    fn policy_is_fresh_then_stale_then_overdue() {
        let check = |now_s, expected| assert_eq!(Freshness::of(1_000, 50, now_s), expected);
        check(999, Freshness::Fresh);
        check(1_000, Freshness::Stale);
        check(1_049, Freshness::Stale);
        check(1_050, Freshness::Overdue);
        assert_eq!(Freshness::of(0, 50, 2_000), Freshness::Unknown);
        assert_eq!(Freshness::of(1_000, 0, 1_000), Freshness::Overdue);
    }
}
