//! The bundle in force and the one before it (K20): verified, compiled, swapped whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use gateway_api::v1::bundle::{Ack, AckState};
use policies::bundle::{Trust, UnverifiedBundle};
use policies::plan::Plan;
use policies::terms::{Digest, GroupName, PersonId};
use serde_json::json;

use super::fault::Fault;
use super::gateway::{Device, Gateway};
use super::record::Kind;
use crate::config::Config;
use crate::limits;
use crate::sharing::SharingEngine;
use crate::store::Store;
use crate::store::bundles::{StoredBundle, policy_state_of, set_policy_state};

/// One verified bundle, ready to decide.
pub(crate) struct ActiveBundle {
    pub(crate) version: u64,
    pub(crate) digest: Digest,
    pub(crate) log_index: u64,
    pub(crate) activated_s: u64,
    pub(crate) expires_s: u64,
    pub(crate) bytes: Bytes,
    pub(crate) plan: Plan,
    pub(crate) sharing: SharingEngine,
}

/// What the gateway decides by.
#[derive(Default)]
pub(crate) struct PolicyInForce {
    pub(crate) current: Option<Arc<ActiveBundle>>,
    pub(crate) previous: Option<Arc<ActiveBundle>>,
}

impl PolicyInForce {
    /// Version of the current bundle; 0 for none.
    pub(crate) fn version(&self) -> u64 {
        self.current.as_ref().map_or(0, |bundle| bundle.version)
    }

    /// Loads the two newest bundles, verifying each again, over the directory's groups. `highest_logged` is the highest
    /// version in the directory log: an older one does not come into force again after a restore (B3).
    pub(crate) async fn load(
        store: &Store,
        config: &Config,
        highest_logged: u64,
        now_s: u64,
    ) -> anyhow::Result<Self> {
        let trust = trust(config)?;
        let groups = groups_by_person(store).await?;
        let bundles = store.newest_bundles().await?;
        let newest = bundles.first().map_or(0, |bundle| bundle.version);
        anyhow::ensure!(
            newest >= highest_logged,
            "version {highest_logged} was published, and only version {newest} is here: publish that very bundle again"
        );
        let mut bundles = bundles.into_iter();
        let current = match bundles.next() {
            Some(stored) => Some(Arc::new(activate(stored, &trust, &groups, now_s).await?)),
            None => None,
        };
        let previous = match bundles.next() {
            Some(stored) => activate(stored, &trust, &groups, now_s).await.ok().map(Arc::new),
            None => None,
        };
        Ok(Self { current, previous })
    }

    /// The bundle that a story may have been cleared under: the current one, or the previous one while its rollout
    /// runs (K20). `acknowledged_s` is when the device was known to hold the current one.
    pub(crate) fn accepted(
        &self,
        version: u64,
        acknowledged_s: Option<u64>,
        now_s: u64,
    ) -> Option<&Arc<ActiveBundle>> {
        let current = self.current.as_ref()?;
        if current.version == version {
            return Some(current).filter(|current| now_s < current.expires_s);
        }
        let previous = self
            .previous
            .as_ref()
            .filter(|previous| previous.version == version && now_s < previous.expires_s)?;
        let by_activation = current
            .activated_s
            .saturating_add(limits::PREVIOUS_AFTER_ACTIVATION_S);
        let by_ack =
            acknowledged_s.map_or(u64::MAX, |at_s| at_s.saturating_add(limits::PREVIOUS_AFTER_ACK_S));
        (now_s < by_activation.min(by_ack)).then_some(previous)
    }
}

/// Notes how far a device came with a bundle (B10). A rejection is recorded, once per version and reason, however often
/// the device says it.
pub(crate) async fn acknowledge(gateway: &Gateway, device: &Device, ack: &Ack) -> Result<(), Fault> {
    let mut write = gateway.store.write().await?;
    let known = policy_state_of(&mut write, device.id)
        .await?
        .map(|known| known.ack);
    if known == Some(*ack) {
        return Ok(());
    }
    set_policy_state(&mut write, device.id, ack, gateway.clock.now_s()).await?;
    let is_known = known.is_some_and(|known| {
        (known.version, known.state, known.reason) == (ack.version, ack.state, ack.reason)
    });
    match ack
        .reason
        .filter(|_| ack.state == AckState::Rejected && !is_known)
    {
        Some(reason) => {
            let payload = json!({
                "device": device.id, "person": device.person, "version": ack.version, "reason": reason.as_str(),
                "active": ack.active,
            });
            let record = gateway.entry(Kind::PolicyRejected, Some(device.person), payload)?;
            gateway.record_with(write, vec![record]).await
        }
        None => Ok(write.commit().await?),
    }
}

/// The roots that the configuration pins.
pub(crate) fn trust(config: &Config) -> anyhow::Result<Trust> {
    Ok(Trust {
        tenant: config.tenant.clone(),
        authors: config.trust.authors()?,
        approvers: config.trust.approvers()?,
    })
}

/// Living people with their directory groups; somebody without any is in it too.
pub(crate) async fn groups_by_person(store: &Store) -> sqlx::Result<BTreeMap<PersonId, BTreeSet<GroupName>>> {
    let people = store.people().await?;
    let mut groups: BTreeMap<PersonId, BTreeSet<GroupName>> = people
        .iter()
        .filter(|person| person.revoked_s.is_none())
        .map(|person| (person.id, BTreeSet::new()))
        .collect();
    for (name, members) in store.groups().await? {
        for person in members {
            groups.entry(person).or_default().insert(name.clone());
        }
    }
    Ok(groups)
}

/// Verifies and compiles a stored bundle.
pub(crate) async fn activate(
    stored: StoredBundle,
    trust: &Trust,
    groups: &BTreeMap<PersonId, BTreeSet<GroupName>>,
    now_s: u64,
) -> anyhow::Result<ActiveBundle> {
    let bundle = UnverifiedBundle::parse(&stored.bytes).context("the bundle cannot be read")?;
    let verified = bundle
        .verify(trust, 0, now_s, Some(stored.log_index))
        .context("the bundle does not verify")?;
    let plan = Plan::from_bundle(&verified).context("the bundle does not compile")?;
    anyhow::ensure!(
        plan.sharing().lines.len() <= limits::SHARING_LINES_MAX,
        "the sharing rules have more than {} lines",
        limits::SHARING_LINES_MAX
    );
    let sharing = SharingEngine::build(plan.sharing(), plan.tenant(), groups, stored.version).await?;
    Ok(ActiveBundle {
        version: stored.version,
        digest: stored.digest,
        log_index: stored.log_index,
        activated_s: stored.activated_s,
        expires_s: verified.expires_s(),
        bytes: Bytes::from(stored.bytes),
        plan,
        sharing,
    })
}
