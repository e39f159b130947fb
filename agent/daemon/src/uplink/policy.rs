//! The policy: pulled by ETag, verified, swapped whole, the last good one kept (B1-B6).
//!
//! ```text
//! bytes ─► UnverifiedBundle ─(two signatures, floor, log, time)─► VerifiedBundle ─► Plan ─► Engine ─► in force
//!                    any failure: the last good one stays in force, and an alarm says why
//! ```
//! No policy, no sealing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agent_inspect::Engine;
use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use policies::bundle::{Timestamp, UnverifiedBundle};
use policies::plan::Plan;
use policies::terms::Digest;

use crate::agent::Agent;
use crate::exit::Exit;
use crate::local::wire::LocalProblem;
use crate::vault::files;
use crate::vault::setting::{self, Setting};

/// A policy that decides.
pub(crate) struct ActivePolicy {
    pub plan: Plan,
    pub engine: Engine,
    pub digest: Digest,
    pub version: u64,
    /// When the bundle itself ends.
    pub expires_s: u64,
}

/// The policy in force, if any.
#[derive(Default)]
pub(crate) struct PolicySlot {
    active: ArcSwapOption<ActivePolicy>,
    /// The newest version that was refused here: not news again, so that it does not end every
    /// wait at once.
    refused: AtomicU64,
}

impl PolicySlot {
    /// The policy in force.
    ///
    /// # Errors
    /// None is: nothing is sealed, and the message says what to do.
    pub(crate) fn in_force(&self) -> Result<Arc<ActivePolicy>, LocalProblem> {
        self.active.load_full().ok_or_else(|| {
            LocalProblem::new(
                Exit::NoPolicy,
                "no policy is in force on this device, so nothing can be sealed",
                "connect to the gateway, and ask the administrator whether a policy is published: sealgate policy publish",
            )
        })
    }

    /// Version of the policy in force; 0 for none.
    pub(crate) fn version(&self) -> u64 {
        self.active.load().as_ref().map_or(0, |active| active.version)
    }

    /// The version to ask with: the one in force, or a newer one that was refused.
    pub(crate) fn asked_version(&self) -> u64 {
        self.version().max(self.refused.load(Ordering::Relaxed))
    }

    /// Notes that the gateway's version did not come into force here.
    pub(crate) fn passed_over(&self, version: u64) {
        self.refused.fetch_max(version, Ordering::Relaxed);
    }

    fn digest(&self) -> Option<Digest> {
        self.active.load().as_ref().map(|active| active.digest)
    }

    fn swap(&self, policy: ActivePolicy) {
        self.active.store(Some(Arc::new(policy)));
    }
}

const ALARM: &str = "policy";
const STALE: &str = "policy-stale";

/// Puts the last good bundle of the disk in force: at start, without any network.
///
/// # Errors
/// The store's. A bundle that does not verify any more is an alarm, and no policy is in force.
pub(crate) async fn load_last_good(agent: &Agent) -> anyhow::Result<()> {
    let file = agent.paths.policy().join("bundle");
    let Ok(bytes) = files::read_secret(&file) else {
        return Ok(());
    };
    match verify(agent, &bytes).await {
        Ok(policy) => {
            tracing::info!(version = policy.version, "last good policy in force");
            agent.policy.swap(policy);
        }
        Err(error) => agent.alarm(ALARM, format!("the stored policy is not accepted: {error:#}")),
    }
    Ok(())
}

/// Asks for the bundle in force, and puts it in force here.
///
/// # Errors
/// The gateway's, or the store's. A bundle that is refused is an alarm; the last good one stays.
pub(crate) async fn pull(agent: &Agent) -> anyhow::Result<()> {
    let fetched = match agent.gateway.bundle(agent.policy.digest()).await {
        Ok(fetched) => fetched,
        Err(error) if error.code() == Some(gateway_api::error::ErrorCode::NotFound) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if let Some(bytes) = fetched.bundle {
        match verify(agent, &bytes).await {
            Ok(policy) => activate(agent, policy, &bytes).await?,
            Err(error) => {
                agent.alarm(
                    ALARM,
                    format!("the gateway's policy is refused, the last good one stays in force: {error:#}"),
                );
                return Ok(());
            }
        }
    }
    judge_freshness(agent, fetched.timestamp.as_deref()).await
}

/// All checks of a bundle, in the pure crate; then the plan and the engine, off the async threads.
async fn verify(agent: &Agent, bytes: &[u8]) -> anyhow::Result<ActivePolicy> {
    let unverified = UnverifiedBundle::parse(bytes)?;
    let digest = unverified.digest();
    let logged = agent
        .directory
        .read()
        .await
        .directory()
        .bundle(&digest)
        .map(|(index, _)| index);
    let floor = {
        let mut connection = agent.vault.connection().await?;
        setting::read_number(&mut connection, &agent.vault.cipher, Setting::PolicyFloor).await?
    };
    let verified = unverified.verify(&agent.pins.trust, floor, agent.now_s(), logged)?;
    let version = verified.version();
    let expires_s = verified.expires_s();
    tokio::task::spawn_blocking(move || {
        let plan = Plan::from_bundle(&verified)?;
        let engine = Engine::compile(&plan)?;
        Ok(ActivePolicy {
            plan,
            engine,
            digest,
            version,
            expires_s,
        })
    })
    .await?
}

/// Durable first (B3: the floor, outside of the bundle's folder), then in force.
async fn activate(agent: &Agent, policy: ActivePolicy, bytes: &[u8]) -> anyhow::Result<()> {
    files::write_secret(&agent.paths.policy().join("bundle"), bytes)?;
    let mut transaction = agent.vault.begin().await?;
    setting::write_number(
        &mut transaction,
        &agent.vault.cipher,
        Setting::PolicyFloor,
        policy.version,
    )
    .await?;
    transaction.commit().await?;
    tracing::info!(version = policy.version, digest = %policy.digest, "policy in force");
    agent.policy.swap(policy);
    agent.all_clear(ALARM);
    agent.changed();
    Ok(())
}

/// A bundle ends with its own expiry, while the agent runs as at its start: then no policy is in force, and
/// nothing is sealed (K6). Whether it ended.
pub(crate) fn end_if_expired(agent: &Agent) -> bool {
    let expired = agent
        .policy
        .in_force()
        .is_ok_and(|policy| policy.expires_s <= agent.now_s());
    if expired {
        agent.policy.active.store(None);
        agent.alarm(
            STALE,
            "the policy has expired: nothing is sealed until the company publishes another",
        );
        agent.changed();
    }
    expired
}

/// A timestamp proves that the gateway does not hold back a newer bundle (B4). Without a fresh one
/// the policy stays in force, and its owner is told.
async fn judge_freshness(agent: &Agent, timestamp: Option<&[u8]>) -> anyhow::Result<()> {
    let Ok(policy) = agent.policy.in_force() else {
        return Ok(());
    };
    let digest = policy.digest;
    if end_if_expired(agent) {
        return Ok(());
    }
    let timestamp = timestamp.map(|bytes| Timestamp::parse_verify(bytes, &agent.pins.timestamp));
    match timestamp {
        Some(Ok(timestamp)) if timestamp.bundle == digest && timestamp.expires_s > agent.now_s() => {
            agent.clock.saw_signed(timestamp.at_s);
            let mut connection = agent.vault.connection().await?;
            setting::write_number(
                &mut connection,
                &agent.vault.cipher,
                Setting::SignedTime,
                timestamp.at_s,
            )
            .await
            .context("the time seen cannot be stored")?;
            agent.all_clear(STALE);
        }
        Some(Ok(_)) => agent.alarm(
            STALE,
            "the gateway's proof that the policy is the latest is old or of another policy",
        ),
        Some(Err(error)) => agent.alarm(
            STALE,
            format!("the gateway's proof that the policy is the latest does not verify: {error}"),
        ),
        None => agent.alarm(STALE, "the gateway gives no proof that the policy is the latest"),
    }
    Ok(())
}
