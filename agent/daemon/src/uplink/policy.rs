//! The policy: pulled by ETag, verified, tried in a child, swapped whole, the one before kept (B1-B7, B9, B10).
//!
//! ```text
//! bytes ─► UnverifiedBundle ─(two signatures, floor, log, time)─► VerifiedBundle ─(child: compile, its own tests)─► in force
//!                any failure: the last good one stays in force, an alarm says why, the gateway is told
//! ```
//! No policy, no sealing.

pub(crate) mod freshness;
pub(crate) mod stored;
pub(crate) mod trial;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use agent_inspect::Engine;
use arc_swap::ArcSwapOption;
use gateway_api::v1::bundle::{Ack, AckState, Rejection};
use policies::bundle::UnverifiedBundle;
use policies::document::OfflineMode;
use policies::plan::Plan;
use policies::terms::Digest;

use crate::agent::Agent;
use crate::exit::Exit;
use crate::local::wire::LocalProblem;
use crate::vault::setting::{self, Setting};

/// A policy that decides.
pub(crate) struct ActivePolicy {
    pub plan: Plan,
    pub engine: Arc<Engine>,
    pub digest: Digest,
    pub version: u64,
    /// When the bundle itself ends.
    pub expires_s: u64,
    /// The same with rules that only record, for a policy that says so of being stale for too long (B4).
    audited: Option<Arc<Self>>,
}

/// The policy in force, if any.
#[derive(Default)]
pub(crate) struct PolicySlot {
    active: ArcSwapOption<ActivePolicy>,
    /// The newest version that was refused here: not news again, so that it does not end every
    /// wait at once.
    refused: AtomicU64,
    /// Until when the policy is known to be the latest, Unix seconds; 0: nothing is known.
    fresh_until_s: AtomicU64,
    /// When the next proof of that is asked for, Unix seconds.
    refresh_at_s: AtomicU64,
    /// Stale for longer than the grace period: the policy's `offline_mode` acts.
    overdue: AtomicBool,
}

impl PolicySlot {
    /// The policy in force.
    ///
    /// # Errors
    /// None is: nothing is sealed, and the message says what to do.
    pub(crate) fn in_force(&self) -> Result<Arc<ActivePolicy>, LocalProblem> {
        let policy = self.loaded().ok_or_else(|| {
            LocalProblem::new(
                Exit::NoPolicy,
                "no policy is in force on this device, so nothing can be sealed",
                "connect to the gateway, and ask the administrator whether a policy is published: sealgate policy publish",
            )
        })?;
        if !self.overdue.load(Ordering::Relaxed) {
            return Ok(policy);
        }
        match policy.plan.offline_mode() {
            OfflineMode::Keep => Ok(policy),
            OfflineMode::Audit => Ok(policy.audited.clone().unwrap_or(policy)),
            OfflineMode::Strict => Err(LocalProblem::new(
                Exit::NoPolicy,
                "the policy could not be confirmed as the latest for too long, and says that nothing is sealed then",
                "connect to the gateway",
            )),
        }
    }

    /// The policy that was put in force, however old.
    pub(crate) fn loaded(&self) -> Option<Arc<ActivePolicy>> {
        self.active.load_full()
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

    fn swap(&self, policy: ActivePolicy) {
        self.active.store(Some(Arc::new(policy)));
    }
}

const ALARM: &str = "policy";
const STALE: &str = "policy-stale";

/// Why a bundle does not decide here, for its owner and for the gateway.
pub(super) struct Refused {
    reason: Rejection,
    why: String,
}

/// Puts the last good bundle of the disk in force: at start, without any network.
///
/// # Errors
/// The store's. A bundle that does not verify any more is an alarm, and no policy is in force.
pub(crate) async fn load_last_good(agent: &Agent) -> anyhow::Result<()> {
    if let Some(rejected) = stored::rejected(agent).await? {
        agent.policy.passed_over(rejected.version);
    }
    freshness::load(agent).await?;
    let Some((version, bytes)) = stored::active(agent).await? else {
        return Ok(());
    };
    match load(agent, version, &bytes).await {
        Ok(policy) => {
            tracing::info!(version = policy.version, "last good policy in force");
            agent.policy.swap(policy);
            freshness::look(agent);
        }
        Err(error) => agent.alarm(ALARM, format!("the stored policy is not accepted: {error:#}")),
    }
    Ok(())
}

/// A stored bundle counts as what the database says that it is: an earlier one is a return after crashes (B7), or
/// somebody put it there.
async fn load(agent: &Agent, version: u64, bytes: &[u8]) -> anyhow::Result<ActivePolicy> {
    let unverified = UnverifiedBundle::parse(bytes)?;
    anyhow::ensure!(
        unverified.version() == version,
        "it is version {}, and not {version}",
        unverified.version()
    );
    let verified = verify(agent, unverified, version).await?;
    compile(verified).await
}

/// Asks for the bundle in force, and puts it in force here.
///
/// # Errors
/// The gateway's, or the store's. A bundle that is refused is an alarm; the last good one stays.
pub(crate) async fn pull(agent: &Agent) -> anyhow::Result<()> {
    let rejected = stored::rejected(agent).await?.map(|rejected| rejected.digest);
    let active = agent.policy.loaded().map(|policy| policy.digest);
    let fetched = match agent.gateway.bundle(rejected.or(active)).await {
        Ok(fetched) => fetched,
        Err(error) if error.code() == Some(gateway_api::error::ErrorCode::NotFound) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let received_s = agent.now_s();
    let is_news = |bytes: &[u8]| {
        let digest = UnverifiedBundle::parse(bytes).map(|bundle| bundle.digest());
        digest.is_err() || digest.ok() != active
    };
    if let Some(bytes) = fetched.bundle.filter(|bytes| is_news(bytes))
        && let Some(refused) = take(agent, &bytes).await?
    {
        agent.alarm(
            ALARM,
            format!(
                "policy_rejected: the gateway's policy is refused, the last good one stays in force: {}",
                refused.why
            ),
        );
        return Ok(());
    }
    freshness::judge(agent, fetched.timestamp.as_deref(), received_s).await
}

/// Verifies, tries, and puts a bundle in force, and tells the gateway each step (B10).
async fn take(agent: &Agent, bytes: &[u8]) -> anyhow::Result<Option<Refused>> {
    let not_verified = |error: &anyhow::Error| Refused {
        reason: Rejection::NotVerified,
        why: format!("{error:#}"),
    };
    let unverified = match UnverifiedBundle::parse(bytes) {
        Ok(unverified) => unverified,
        Err(error) => return Ok(Some(not_verified(&error.into()))),
    };
    let (version, digest) = (unverified.version(), unverified.digest());
    tell(agent, version, AckState::Downloaded, None).await?;
    let verified = match verify(agent, unverified, u64::MAX).await {
        Ok(verified) => verified,
        Err(error) => {
            // Not for good: the directory log may be behind, or the clock.
            let refused = not_verified(&error);
            tell(agent, version, AckState::Rejected, Some(refused.reason)).await?;
            return Ok(Some(refused));
        }
    };
    tell(agent, version, AckState::Verified, None).await?;
    let tried = match trial::run(bytes).await? {
        Err(refused) => Err(refused),
        Ok(()) => compile(verified).await.map_err(|error| Refused {
            reason: Rejection::Invalid,
            why: format!("{error:#}"),
        }),
    };
    match tried {
        Ok(policy) => {
            activate(agent, policy, bytes).await?;
            tell(agent, version, AckState::Active, None).await?;
            Ok(None)
        }
        Err(refused) => {
            stored::reject(agent, version, digest).await?;
            tell(agent, version, AckState::Rejected, Some(refused.reason)).await?;
            Ok(Some(refused))
        }
    }
}

/// All checks of a bundle, in the pure crate. The floor is the highest version seen (B3), but not above `floor_max`.
async fn verify(
    agent: &Agent,
    unverified: UnverifiedBundle,
    floor_max: u64,
) -> anyhow::Result<policies::bundle::VerifiedBundle> {
    let logged = agent
        .directory
        .read()
        .await
        .directory()
        .bundle(&unverified.digest())
        .map(|(index, _)| index);
    let floor = {
        let mut connection = agent.vault.connection().await?;
        setting::read_number(&mut connection, &agent.vault.cipher, Setting::PolicyFloor).await?
    };
    Ok(unverified.verify(&agent.pins.trust, floor.min(floor_max), agent.now_s(), logged)?)
}

/// The plan and the engine, off the async threads.
async fn compile(verified: policies::bundle::VerifiedBundle) -> anyhow::Result<ActivePolicy> {
    tokio::task::spawn_blocking(move || {
        let plan = Plan::from_bundle(&verified)?;
        let engine = Arc::new(Engine::compile(&plan)?);
        let policy = |plan, audited| ActivePolicy {
            plan,
            engine: Arc::clone(&engine),
            digest: verified.digest(),
            version: verified.version(),
            expires_s: verified.expires_s(),
            audited,
        };
        let audited = (plan.offline_mode() == OfflineMode::Audit)
            .then(|| Arc::new(policy(plan.clone().audited(), None)));
        Ok(policy(plan, audited))
    })
    .await?
}

/// Durable first, then in force.
async fn activate(agent: &Agent, policy: ActivePolicy, bytes: &[u8]) -> anyhow::Result<()> {
    stored::activate(agent, policy.version, bytes).await?;
    tracing::info!(version = policy.version, digest = %policy.digest, "policy in force");
    agent.policy.swap(policy);
    agent.all_clear(ALARM);
    agent.changed();
    Ok(())
}

/// Remembers how far this device came with a bundle, and tells the gateway; one that does not listen hears it at the
/// next connection.
async fn tell(agent: &Agent, version: u64, state: AckState, reason: Option<Rejection>) -> anyhow::Result<()> {
    let ack = Ack {
        version,
        state,
        reason,
        active: agent.policy.version(),
    };
    let is_on_its_way = matches!(state, AckState::Downloaded | AckState::Verified);
    let told = stored::ack(agent).await?;
    if is_on_its_way && told.is_some_and(|told| told.version == version && told.state == AckState::Rejected) {
        // Tried again, and not news until it ends otherwise.
        return Ok(());
    }
    stored::remember_ack(agent, &ack).await?;
    send(agent, &ack).await;
    Ok(())
}

/// Tells the gateway again how far this device came with the newest bundle.
///
/// # Errors
/// The store's.
pub(crate) async fn tell_again(agent: &Agent) -> anyhow::Result<()> {
    if let Some(ack) = stored::ack(agent).await? {
        let active = agent.policy.version();
        send(agent, &Ack { active, ..ack }).await;
    }
    Ok(())
}

async fn send(agent: &Agent, ack: &Ack) {
    if let Err(error) = agent.gateway.acknowledge_bundle(ack).await {
        tracing::warn!(%error, "the gateway was not told about the policy; it is at the next connection");
    }
}

/// A bundle ends with its own expiry, while the agent runs as at its start: then no policy is in force, and
/// nothing is sealed (K6). Whether it ended.
pub(crate) fn end_if_expired(agent: &Agent) -> bool {
    let expired = agent
        .policy
        .loaded()
        .is_some_and(|policy| policy.expires_s <= agent.now_s());
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
