//! Rejoins and marks on a real data folder, by a clock that the test moves.

use std::sync::Arc;

use gateway_api::bytes::Bytes;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use policies::terms::{AudienceClass, AudienceId, DeviceId, PersonId, TenantId};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::cli::init;
use crate::clock::Clock;
use crate::config::layout::Layout;
use crate::relay::GroupChange;
use crate::store::audiences::{AudienceState, LogBody};

const NOW_S: u64 = 1_800_000_000;
const DEVICE: Device = Device {
    id: DeviceId::from_bytes([1; 16]),
    person: PersonId::from_bytes([2; 16]),
};
const GROUP: AudienceId = AudienceId::from_bytes([5; 16]);

struct World {
    _folder: TempDir,
    layout: Layout,
    gateway: Arc<Gateway>,
    writer: JoinHandle<()>,
}

fn key() -> SigningKey {
    SigningKey::from_slice(&[1; 32]).unwrap()
}

impl World {
    /// A gateway with one logged device.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let layout = init::make(folder.path(), &TenantId::parse("acme").unwrap(), 1).unwrap();
        let (gateway, writer) = Gateway::open_at(layout.clone(), Clock::manual(NOW_S))
            .await
            .unwrap();
        let point = key().verifying_key().to_sec1_point(true);
        let entry = DirectoryEntry::DeviceAdd {
            device: DEVICE.id,
            person: DEVICE.person,
            key: point.as_bytes().try_into().unwrap(),
            class: AudienceClass::Internal,
            at_s: NOW_S,
        };
        gateway.directory.append(entry).await.unwrap();
        Self {
            _folder: folder,
            layout,
            gateway,
            writer,
        }
    }

    /// Ends the process and starts it again on the same folder.
    async fn restart(self) -> Self {
        self.gateway.close(self.writer).await.unwrap();
        let now_s = self.gateway.clock.now_s();
        drop(self.gateway);
        let (gateway, writer) = Gateway::open_at(self.layout.clone(), Clock::manual(now_s))
            .await
            .unwrap();
        Self {
            _folder: self._folder,
            layout: self.layout,
            gateway,
            writer,
        }
    }

    fn request(&self, directory_size: u64) -> RejoinRequest {
        let message = request_message(&self.gateway.config.tenant, DEVICE.id, directory_size, true);
        let proof: Signature = key().sign(&message);
        RejoinRequest {
            directory_size,
            state_lost: true,
            proof: Bytes(proof.to_bytes().to_vec()),
        }
    }

    /// A rejoin of a device that has followed the whole log.
    async fn rejoin(&self) -> Result<u64, Fault> {
        let request = self.request(self.gateway.directory.size());
        log(&self.gateway, &DEVICE, &request)
            .await
            .map(|response| response.log_index)
    }

    async fn seen(&self, rejoin: u64, count: u64) -> Result<(), Fault> {
        check_state(&self.gateway, &DEVICE, StateMark { rejoin, count }).await
    }

    /// The audience in its epoch, with the device in it; `None` begins it.
    async fn change(&self, from_epoch: Option<u64>, rejoined: bool) -> u64 {
        let epoch = from_epoch.map_or(0, |epoch| epoch + 1);
        let state = AudienceState {
            epoch,
            tree_hash: vec![1],
            class: AudienceClass::Internal,
            removal_pending: false,
            state: vec![1],
            members: vec![(0, DEVICE.id)],
        };
        let change = GroupChange {
            audience: GROUP,
            from_epoch,
            state,
            item: from_epoch.map(|_| LogBody::Commit(vec![7])),
            welcome: None,
            group_info: Some(epoch.to_be_bytes().to_vec()),
            rejoined: rejoined.then_some(DEVICE.id),
            record: self.gateway.entry(Kind::Audience, None, json!({})).unwrap(),
        };
        self.gateway.relay.change(change).await.unwrap()
    }
}

fn code<T>(result: Result<T, Fault>) -> ErrorCode {
    result.map(drop).unwrap_err().code
}

/// K4: the entry is in the log that everybody follows, and on the record.
#[tokio::test]
async fn rejoin_is_logged_once_however_often_it_is_asked_for() {
    let world = World::new().await;
    let request = world.request(1);
    let first = log(&world.gateway, &DEVICE, &request).await.unwrap();
    assert_eq!(first.log_index, 1);
    let again = log(&world.gateway, &DEVICE, &request).await.unwrap();
    assert_eq!(again.log_index, 1);
    assert_eq!(world.gateway.directory.size(), 2);
    let logged = world.gateway.directory.device(DEVICE.id).unwrap();
    assert_eq!((logged.rejoins[0].index, logged.rejoins[0].at_s), (1, NOW_S));
    let world = world.restart().await;
    let after_restart = log(&world.gateway, &DEVICE, &request).await.unwrap();
    assert_eq!(after_restart.log_index, 1);
    world.gateway.close(world.writer).await.unwrap();
}

/// K4: the TLS key alone does not make a rejoin.
#[tokio::test]
async fn rejoin_that_the_device_key_did_not_sign_is_refused() {
    let world = World::new().await;
    let signed = world.request(1);
    let moved = RejoinRequest {
        directory_size: 2,
        ..signed.clone()
    };
    let kept = RejoinRequest {
        state_lost: false,
        ..signed.clone()
    };
    let cut = RejoinRequest {
        proof: Bytes(vec![0; 63]),
        ..signed
    };
    for request in [moved, kept, cut] {
        let refused = log(&world.gateway, &DEVICE, &request).await;
        assert_eq!(code(refused), ErrorCode::ProofInvalid);
    }
    assert_eq!(world.gateway.directory.size(), 1);
    world.gateway.close(world.writer).await.unwrap();
}

/// K4: two copies of one folder that throw each other out come to an end; the next day it is possible again.
#[tokio::test]
async fn rejoins_are_bounded_per_day() {
    let world = World::new().await;
    for _ in 0..limits::REJOINS_PER_WINDOW {
        world.rejoin().await.unwrap();
    }
    assert_eq!(code(world.rejoin().await), ErrorCode::RejoinTooOften);
    world.gateway.clock.advance(limits::REJOIN_WINDOW_S);
    world.rejoin().await.unwrap();
    world.gateway.close(world.writer).await.unwrap();
}

/// M7, K16: a state that is older than the one last seen is refused, after a restart of the gateway too.
#[tokio::test]
async fn older_state_of_a_device_is_refused() {
    let world = World::new().await;
    world.seen(0, 5).await.unwrap();
    world.seen(0, 5).await.unwrap();
    world.seen(0, 9).await.unwrap();
    assert_eq!(code(world.seen(0, 8).await), ErrorCode::StateBehind);
    let world = world.restart().await;
    assert_eq!(code(world.seen(0, 8).await), ErrorCode::StateBehind);
    world.seen(0, 9).await.unwrap();
    world.gateway.close(world.writer).await.unwrap();
}

/// M7: a logged rejoin ends every state of before, and begins a count of its own.
#[tokio::test]
async fn rejoin_ends_every_earlier_state() {
    let world = World::new().await;
    world.seen(0, 900).await.unwrap();
    let entry = world.rejoin().await.unwrap();
    assert_eq!(code(world.seen(0, 901).await), ErrorCode::StateBehind);
    world.seen(entry, 1).await.unwrap();
    assert_eq!(code(world.seen(entry + 1, 1).await), ErrorCode::StateBehind);
    world.gateway.close(world.writer).await.unwrap();
}

/// M5, K16: thirty days after a commit nobody can catch up from before it, and the device is told so.
#[tokio::test]
async fn device_from_before_the_forgotten_commits_is_behind_until_its_stay_begins_anew() {
    let world = World::new().await;
    world.change(None, false).await;
    let forgotten = world.change(Some(0), false).await;
    world.gateway.clock.advance(limits::COMMITS_KEPT_S + 1);
    let kept = world.change(Some(1), false).await;
    assert_eq!(world.gateway.store.horizons(DEVICE.id).await.unwrap(), []);
    let before_s = world.gateway.clock.now_s() - limits::COMMITS_KEPT_S;
    world.gateway.store.drop_old_handshakes(before_s).await.unwrap();
    let horizons = world.gateway.store.horizons(DEVICE.id).await.unwrap();
    assert_eq!(horizons, [(GROUP, forgotten)]);
    let left = world.gateway.store.log_behind(GROUP, DEVICE.id, 0).await.unwrap();
    assert_eq!(left.iter().map(|item| item.sequence).collect::<Vec<_>>(), [kept]);
    let anew = world.change(Some(2), true).await;
    assert_eq!(
        world.gateway.store.stays(DEVICE.id).await.unwrap(),
        [(GROUP, anew)]
    );
    world.gateway.close(world.writer).await.unwrap();
}

/// M5, K10: nothing of before the rejoin is handed out to the stay that begins with it.
#[tokio::test]
async fn rejoined_device_is_handed_what_follows_and_nothing_else() {
    let world = World::new().await;
    world.change(None, false).await;
    world.change(Some(0), false).await;
    let rejoined = world.change(Some(1), true).await;
    let entering = world
        .gateway
        .store
        .entering_commit(GROUP, DEVICE.id)
        .await
        .unwrap();
    assert_eq!(entering, Some((rejoined, vec![7])));
    let behind = world
        .gateway
        .store
        .log_behind(GROUP, DEVICE.id, rejoined)
        .await
        .unwrap();
    assert!(behind.is_empty());
    let later = world.change(Some(2), false).await;
    let behind = world
        .gateway
        .store
        .log_behind(GROUP, DEVICE.id, rejoined)
        .await
        .unwrap();
    assert_eq!(
        behind.iter().map(|item| item.sequence).collect::<Vec<_>>(),
        [later]
    );
    world.gateway.close(world.writer).await.unwrap();
}

/// K9: the GroupInfo of the present epoch is kept, and no other.
#[tokio::test]
async fn public_state_is_that_of_the_present_epoch() {
    let world = World::new().await;
    world.change(None, false).await;
    let info = |epoch: u64| epoch.to_be_bytes().to_vec();
    assert_eq!(
        world.gateway.store.group_info(GROUP, 0).await.unwrap(),
        Some(info(0))
    );
    world.change(Some(0), false).await;
    assert_eq!(
        world.gateway.store.group_info(GROUP, 1).await.unwrap(),
        Some(info(1))
    );
    assert_eq!(world.gateway.store.group_info(GROUP, 0).await.unwrap(), None);
    world.gateway.close(world.writer).await.unwrap();
}
