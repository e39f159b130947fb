//! `POST /v1/sync`: one long poll for everything that concerns the device (K15).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::{Data, Payload};
use gateway_api::bytes::Bytes;
use gateway_api::v1::sync::{GroupBody, GroupItem, InboxBody, InboxItem, SyncRequest, SyncResponse};
use policies::terms::{AudienceId, Cti};
use tokio::time::Instant;

use crate::domain::fault::Fault;
use crate::domain::gateway::{Device, Gateway};
use crate::domain::{quarantine, rejoin};
use crate::http::problem::ApiResult;
use crate::http::{body, device};
use crate::limits;
use crate::store::audiences::{LogBody, LogItem};
use crate::store::inbox::InboxEntry;
use crate::store::objects::{ObjectKey, Part};
use crate::store::stories::Story;

pub(super) async fn sync(gateway: Data<Arc<Gateway>>, device: Device, mut payload: Payload) -> ApiResult {
    let request: SyncRequest = body::json(&gateway, &mut payload, limits::METADATA_BYTES_MAX).await?;
    if request.groups.len() > limits::SYNC_GROUPS_MAX {
        return Err(Fault::bad_request(format!("name at most {} groups", limits::SYNC_GROUPS_MAX)).into());
    }
    quarantine::check_origin(&gateway, &device, &request.origin).await?;
    if let Some(mark) = request.state {
        // Before anything is acknowledged: an old state speaks for nothing.
        rejoin::check_state(&gateway, &device, mark).await?;
    }
    gateway.store.acknowledge_inbox(device.id, request.inbox).await?;
    gateway
        .store
        .set_policy_ack(device.id, request.policy_version, gateway.clock.now_s())
        .await?;
    let deadline = Instant::now() + Duration::from_secs(u64::from(request.wait_s.min(limits::WAIT_S_MAX)));
    let bell = gateway.wake.bell(device.id, gateway.clock.now_s());
    let mut was_woken = false;
    loop {
        let rung = bell.notified();
        tokio::pin!(rung);
        rung.as_mut().enable();
        let response = collect(&gateway, &device, &request).await?;
        device::check_admitted(&gateway, &device)?;
        if gateway.relay.is_closed() || has_news(&request, &response) {
            if let Some(delay) = bell.since().filter(|_| was_woken) {
                gateway.metrics.wake(delay);
            }
            return Ok(HttpResponse::Ok().json(response));
        }
        if tokio::time::timeout_at(deadline, rung).await.is_err() {
            device::check_admitted(&gateway, &device)?;
            return Ok(HttpResponse::Ok().json(response));
        }
        was_woken = true;
    }
}

fn has_news(request: &SyncRequest, response: &SyncResponse) -> bool {
    !response.inbox.is_empty()
        || !response.groups.is_empty()
        // Not an older one: a device that has seen more would be answered without end (B3).
        || response.policy_version > request.policy_version
        || response.directory_size > request.directory_size
}

async fn collect(gateway: &Gateway, device: &Device, request: &SyncRequest) -> Result<SyncResponse, Fault> {
    let mut budget = limits::SYNC_BYTES_MAX;
    let (inbox, mut more) = collect_inbox(gateway, device, request.inbox, &mut budget).await?;
    let mut groups: BTreeMap<AudienceId, Vec<GroupItem>> = BTreeMap::new();
    let horizons: BTreeMap<AudienceId, u64> = gateway.store.horizons(device.id).await?.into_iter().collect();
    let (mut behind, mut unknown) = (BTreeSet::new(), BTreeSet::new());
    let stays = gateway.store.stays(device.id).await?;
    for group in request.groups.keys() {
        let is_its = stays.iter().any(|(stay, _)| stay == group);
        if !is_its && gateway.store.audience_state(*group).await?.is_none() {
            unknown.insert(*group);
        }
    }
    for (group, joined) in stays {
        let cursor = request.groups.get(&group).copied().unwrap_or(joined).max(joined);
        if horizons.get(&group).is_some_and(|horizon| cursor < *horizon) {
            // What is left of the log is of no use to it.
            behind.insert(group);
            continue;
        }
        let items = gateway.store.log_behind(group, device.id, cursor).await?;
        more |= is_full(&items);
        for LogItem { sequence, body } in items {
            let Some((body, size)) = open(gateway, body).await? else {
                continue;
            };
            let first = inbox.is_empty() && groups.is_empty();
            if !take(&mut budget, size, first) {
                more = true;
                break;
            }
            groups
                .entry(group)
                .or_default()
                .push(GroupItem { sequence, body });
        }
    }
    more &= !(inbox.is_empty() && groups.is_empty());
    Ok(SyncResponse {
        inbox,
        groups,
        behind,
        unknown,
        more,
        policy_version: gateway.policy.load().version(),
        directory_size: gateway.directory.size(),
        now_s: gateway.clock.now_s(),
    })
}

/// Items of the inbox behind a cursor, and whether there are others behind them. What is not shown moves no cursor of the
/// device's: it is read past, list after list, so that it hides nothing that lies behind it. Ends with the inbox.
async fn collect_inbox(
    gateway: &Gateway,
    device: &Device,
    mut cursor: u64,
    budget: &mut usize,
) -> Result<(Vec<InboxItem>, bool), Fault> {
    let mut inbox = Vec::new();
    loop {
        let entries = gateway.store.inbox_behind(device.id, cursor).await?;
        let may_go_on = is_full(&entries);
        for (sequence, entry) in entries {
            cursor = sequence;
            let Some((body, size)) = open_inbox(gateway, entry).await? else {
                continue;
            };
            if !take(budget, size, inbox.is_empty()) {
                return Ok((inbox, true));
            }
            inbox.push(InboxItem { sequence, body });
        }
        if !may_go_on || !inbox.is_empty() {
            return Ok((inbox, may_go_on));
        }
    }
}

/// Whether a list has as many items as one can have: there may be others behind them.
fn is_full<T>(items: &[T]) -> bool {
    i64::try_from(items.len()).unwrap_or(i64::MAX) >= limits::SYNC_ITEMS_MAX
}

/// Whether an item still fits; the first always does.
fn take(budget: &mut usize, size: usize, first: bool) -> bool {
    let fits = first || size <= *budget;
    if fits {
        *budget = budget.saturating_sub(size);
    }
    fits
}

/// An inbox item for the wire, and its size in bytes; of a story as in [`open`].
async fn open_inbox(gateway: &Gateway, entry: InboxEntry) -> Result<Option<(InboxBody, usize)>, Fault> {
    let cti = match entry {
        InboxEntry::Body(body) => {
            let read = serde_json::from_slice(&body).map_err(anyhow::Error::from)?;
            return Ok(Some((read, body.len())));
        }
        InboxEntry::Story(cti) => cti,
    };
    let Some(opened) = open_story(gateway, cti).await? else {
        return Ok(None);
    };
    // A group removes a revoked device and forgets its keys; nothing does that for an app's.
    if gateway
        .directory
        .device(opened.story.device)
        .is_none_or(|author| author.revoked)
    {
        return Ok(None);
    }
    let (list, version) = (opened.story.audience, opened.story.epoch);
    let Some(stored) = gateway.store.device_list_version(list, version).await? else {
        return Ok(None);
    };
    let size = opened.size().saturating_add(stored.signed.len());
    let body = InboxBody::Story {
        list: Bytes(stored.signed),
        envelope: Bytes(opened.envelope),
        clearance: Bytes(opened.clearance),
        acceptance: Bytes(opened.story.acceptance.unwrap_or_default()),
    };
    Ok(Some((body, size)))
}

/// An item of a group's log for the wire, and its size in bytes. A story whose bucket has ended is not shown, purged or
/// not (D6).
async fn open(gateway: &Gateway, body: LogBody) -> Result<Option<(GroupBody, usize)>, Fault> {
    Ok(match body {
        LogBody::Commit(message) => Some((
            message.len(),
            GroupBody::Commit {
                message: Bytes(message),
            },
        )),
        LogBody::Proposal(message) => Some((
            message.len(),
            GroupBody::Proposal {
                message: Bytes(message),
            },
        )),
        LogBody::Revoked(cti) => Some((64, GroupBody::Revoked { cti })),
        LogBody::Story(cti) => open_story(gateway, cti).await?.map(|opened| {
            let size = opened.size();
            let body = GroupBody::Story {
                envelope: Bytes(opened.envelope),
                clearance: Bytes(opened.clearance),
                acceptance: Bytes(opened.story.acceptance.unwrap_or_default()),
            };
            (size, body)
        }),
    }
    .map(|(size, body)| (body, size)))
}

/// A story that can be delivered, out of its encryption at rest.
struct Opened {
    story: Story,
    envelope: Vec<u8>,
    clearance: Vec<u8>,
}

impl Opened {
    fn size(&self) -> usize {
        let acceptance = self.story.acceptance.as_ref().map_or(0, Vec::len);
        self.envelope
            .len()
            .saturating_add(self.clearance.len())
            .saturating_add(acceptance)
    }
}

/// None for a story that was purged, or whose bucket has ended (D6).
async fn open_story(gateway: &Gateway, cti: Cti) -> Result<Option<Opened>, Fault> {
    let Some((story, stored)) = gateway.store.story_ciphertext(cti).await? else {
        return Ok(None);
    };
    let bucket = gateway.bucket_keys.existing(story.expires_s)?;
    let Some(bucket) = bucket else {
        return Ok(None);
    };
    // A clock that jumped ends nothing: the reader's cursor would pass what its own clock still shows (K19).
    if story.expires_s <= gateway.clock.now_s() && gateway.is_clock_settled().await? {
        return Ok(None);
    }
    let key = ObjectKey::unwrap(&bucket, cti.as_bytes(), &stored.wrapped_key).map_err(anyhow::Error::from)?;
    let envelope = key
        .open(Part::Envelope, &stored.envelope)
        .map_err(anyhow::Error::from)?;
    let clearance = key
        .open(Part::Clearance, &stored.clearance)
        .map_err(anyhow::Error::from)?;
    Ok(Some(Opened {
        story,
        envelope,
        clearance,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::gateway;
    use crate::relay::tests::lists::BOB;
    use crate::relay::tests::{START_S, World, device, group, person};
    use crate::store::inbox;

    /// What the device of the world is answered that has seen nothing.
    async fn first_answer(world: &World) -> SyncResponse {
        let asks = gateway::Device {
            id: device(),
            person: person(),
        };
        let request = serde_json::from_value(serde_json::json!({
            "inbox": 0, "groups": {}, "policy_version": 0, "directory_size": 0, "wait_s": 0,
        }));
        collect(&world.gateway, &asks, &request.unwrap()).await.unwrap()
    }

    /// K15, K17: what a revoked device left in an inbox is not shown, and hides nothing that came after it.
    #[tokio::test]
    async fn stories_of_a_revoked_device_do_not_block_an_inbox() {
        let world = World::with_list().await;
        let count = u8::try_from(limits::SYNC_ITEMS_MAX).unwrap();
        for number in 1..=count {
            let mut submission = world.for_list(number, 1);
            submission.story.device = BOB;
            world.gateway.relay.submit(submission).await.unwrap();
        }
        assert_eq!(first_answer(&world).await.inbox.len(), usize::from(count));
        world.gateway.revoke_device(BOB).await.unwrap();
        let told = InboxBody::Revoked {
            cti: Cti::from_bytes([1; 16]),
        };
        let mut write = world.gateway.store.write().await.unwrap();
        inbox::put(&mut write, device(), &serde_json::to_vec(&told).unwrap(), START_S)
            .await
            .unwrap();
        write.commit().await.unwrap();
        let answer = first_answer(&world).await;
        let [item] = answer.inbox.as_slice() else {
            panic!("{:?}", answer.inbox)
        };
        assert!(matches!(item.body, InboxBody::Revoked { .. }), "{item:?}");
        assert_eq!((item.sequence, answer.more), (u64::from(count) + 1, false));
    }

    /// K19: what a reader's cursor passes was delivered, also while the clock is ahead.
    #[tokio::test]
    async fn clock_that_jumped_withholds_no_story() {
        let world = World::new().await;
        world.gateway.relay.submit(world.submission(1, 0)).await.unwrap();
        crate::jobs::round(&world.gateway).await;
        world.gateway.clock.jump_to(START_S + 365 * 86_400);
        let answer = first_answer(&world).await;
        let items = answer.groups.get(&group()).unwrap();
        assert!(
            items
                .iter()
                .any(|item| matches!(item.body, GroupBody::Story { .. })),
            "{items:?}"
        );
    }
}
