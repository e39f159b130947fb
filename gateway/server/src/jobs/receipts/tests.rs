//! Deletion on a clock that is moved by hand, and what a search of every file finds after it (D1-D3, D5, D6).

use std::path::{Path, PathBuf};

use policies::terms::Cti;
use serde_json::Value;

use super::*;
use crate::admin::{self, Command};
use crate::clock::Clock;
use crate::config::layout::Layout;
use crate::jobs;
use crate::relay::Takeback;
use crate::relay::tests::{World, copy_folder, device, group, person};
use crate::store::ledger::verify::verify_folder;

const DAY_S: u64 = 86_400;

/// What must not be found anywhere once a story is gone: its ciphertext, its wrapped key, its bucket's key.
struct Traces(Vec<Vec<u8>>);

/// A story that lives for `ttl_s`, accepted.
async fn accept(world: &World, number: u8, ttl_s: u64) -> Traces {
    let mut submission = world.submission(number, 0);
    let expires_s = world.gateway.clock.now_s() + ttl_s;
    let bucket = world.gateway.bucket_keys.key(expires_s).unwrap();
    let key = crate::store::objects::ObjectKey::generate().unwrap();
    let cti = submission.story.cti;
    submission.stored.wrapped_key = key.wrap(&bucket, cti.as_bytes()).unwrap();
    submission.story.expires_s = expires_s;
    submission.story.forget_s = expires_s + DAY_S;
    let stored = &submission.stored;
    let traces = [
        stored.envelope.clone(),
        stored.clearance.clone(),
        stored.wrapped_key.clone(),
        bucket.as_bytes().to_vec(),
    ];
    world.gateway.relay.submit(submission).await.unwrap();
    Traces(traces.into())
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

impl Traces {
    /// How many of them some file of the data folder holds.
    fn found(&self, layout: &Layout) -> usize {
        let files: Vec<Vec<u8>> = files_below(layout.root())
            .iter()
            .map(|path| std::fs::read(path).unwrap())
            .collect();
        let holds = |trace: &Vec<u8>| {
            files
                .iter()
                .any(|file| file.windows(trace.len()).any(|window| window == trace))
        };
        self.0.iter().filter(|trace| holds(trace)).count()
    }
}

async fn pass(world: &World, seconds: u64) {
    world.gateway.clock.advance(seconds);
    jobs::round(&world.gateway).await;
}

/// Payloads of the ledger's entries of a kind.
async fn entries(world: &World, kind: Kind) -> Vec<Value> {
    let size = world.gateway.ledger.size();
    let all = world.gateway.ledger.entries(0, size).await.unwrap();
    all.into_iter()
        .filter(|entry| entry.kind == kind.as_str())
        .map(|entry| entry.payload.unwrap())
        .collect()
}

/// D1, D2: no file of the gateway holds ciphertext or a key of a story that has ended.
#[tokio::test]
async fn nothing_of_an_ended_story_is_found_in_any_file() {
    let world = World::new().await;
    let (short, long) = (accept(&world, 1, 60).await, accept(&world, 2, DAY_S).await);
    assert_eq!((short.found(&world.layout), long.found(&world.layout)), (4, 4));
    pass(&world, 61).await;
    assert_eq!((short.found(&world.layout), long.found(&world.layout)), (0, 4));
    pass(&world, DAY_S).await;
    assert_eq!(long.found(&world.layout), 0);
}

/// D5: after a takeback neither, save the bucket's key, which other stories of the bucket still need.
#[tokio::test]
async fn nothing_of_a_story_that_was_taken_back_is_found_in_any_file() {
    let world = World::new().await;
    let (taken, stays) = (accept(&world, 1, DAY_S).await, accept(&world, 2, DAY_S).await);
    let record = world
        .gateway
        .entry(Kind::StoryRevoke, Some(person()), json!({}))
        .unwrap();
    let takeback = Takeback {
        cti: Cti::from_bytes([1; 16]),
        device: device(),
        record,
    };
    world.gateway.relay.take_back(takeback).await.unwrap();
    pass(&world, 1).await;
    assert_eq!((taken.found(&world.layout), stays.found(&world.layout)), (1, 4));
}

/// D6: a restart, a clock that is set, and a copy of database and objects that is put back bring nothing back.
#[tokio::test]
async fn nothing_comes_back() {
    let world = World::new().await;
    let traces = accept(&world, 1, 60).await;
    let started_s = world.gateway.clock.now_s();
    let before = tempfile::tempdir().unwrap();
    let before = before.path().join("gateway");
    copy_folder(world.layout.root(), &before);
    pass(&world, 61).await;
    let world = world.restart().await;
    assert_eq!(traces.found(&world.layout), 0);

    // The wall clock goes back to when the story lived.
    world.gateway.clock.jump_to(started_s);
    jobs::round(&world.gateway).await;
    let cti = Cti::from_bytes([1; 16]);
    assert!(world.gateway.store.story_ciphertext(cti).await.unwrap().is_none());

    // Database and objects of before, under today's bucket keys: the ciphertext is there and no key opens it.
    let restored = tempfile::tempdir().unwrap();
    copy_folder(&before, &restored.path().join("gateway"));
    let layout = Layout::new(restored.path().join("gateway"));
    std::fs::remove_dir_all(layout.bucket_keys()).unwrap();
    copy_folder(&world.layout.bucket_keys(), &layout.bucket_keys());
    let (gateway, _writer) =
        crate::domain::gateway::Gateway::open_at(layout.clone(), Clock::manual(started_s + 60))
            .await
            .unwrap();
    let (story, _) = gateway.store.story_ciphertext(cti).await.unwrap().unwrap();
    assert!(gateway.bucket_keys.existing(story.expires_s).unwrap().is_none());
    jobs::round(&gateway).await;
    assert_eq!(traces.found(&layout), 0);
    assert!(gateway.store.story_ciphertext(cti).await.unwrap().is_none());
}

/// D3: each hour has its receipt, each half day its reconciliation, once, over a crash too, and the record verifies.
#[tokio::test]
async fn hours_have_receipts_and_half_days_are_reconciled() {
    let world = World::new().await;
    jobs::round(&world.gateway).await;
    accept(&world, 1, 60).await;
    accept(&world, 2, 2 * HOUR_S).await;
    for _ in 0..3 {
        pass(&world, HOUR_S).await;
    }
    let world = world.crash().await;
    for _ in 0..24 {
        pass(&world, HOUR_S).await;
    }
    let hours = entries(&world, Kind::DeletionReceipt).await;
    let sum = |name: &str| hours.iter().map(|hour| hour[name].as_u64().unwrap()).sum::<u64>();
    assert!(hours.len() >= 25, "{}", hours.len());
    assert_eq!(
        (sum("accepted"), sum("ended"), sum("shredded"), sum("blobs_left")),
        (2, 2, 2, 0)
    );
    let ends: BTreeSet<u64> = hours.iter().map(|hour| hour["end_s"].as_u64().unwrap()).collect();
    assert_eq!(ends.len(), hours.len());
    let halves = entries(&world, Kind::DeletionReconciliation).await;
    assert_eq!(halves.len(), 2);
    for half in &halves {
        assert_eq!(
            (&half["unrecorded"], &half["unaccounted"]),
            (&json!(0), &json!(0))
        );
    }
    assert_eq!(
        halves
            .iter()
            .map(|half| half["recorded"].as_u64().unwrap())
            .sum::<u64>(),
        2
    );
    let since_s = world.gateway.clock.now_s() - 30 * HOUR_S;
    assert!(!world.gateway.store.is_deletion_wrong(since_s).await.unwrap());
    world.gateway.ledger.publish().await.unwrap();
    verify_folder(&world.layout.ledger(), None, None).unwrap();
}

/// D3, K19: after a clock that was ahead, and confirmed there and back, each hour has its receipt again.
#[tokio::test]
async fn hours_after_a_clock_that_was_ahead_have_receipts() {
    let world = World::new().await;
    jobs::round(&world.gateway).await;
    let started_s = world.gateway.clock.now_s();
    for wall_s in [started_s + 10 * DAY_S, started_s] {
        world.gateway.clock.jump_to(wall_s);
        admin::run(&world.gateway, Command::ClockConfirm).await.unwrap();
        jobs::round(&world.gateway).await;
    }
    let ahead = entries(&world, Kind::DeletionReceipt).await.len();
    assert!(ahead > 200, "{ahead}");
    for _ in 0..3 {
        pass(&world, HOUR_S).await;
    }
    let all = entries(&world, Kind::DeletionReceipt).await;
    let ends: Vec<u64> = all[ahead..]
        .iter()
        .map(|hour| hour["end_s"].as_u64().unwrap())
        .collect();
    assert_eq!(ends, [started_s + HOUR_S, started_s + 2 * HOUR_S]);
}

/// A story that the record has and the store lost, half a day ago.
async fn lose_story(world: &World) {
    jobs::round(&world.gateway).await;
    accept(world, 1, DAY_S).await;
    let mut write = world.gateway.store.write().await.unwrap();
    sqlx::query("DELETE FROM audience_log WHERE audience = $1")
        .bind(group().as_bytes().as_slice())
        .execute(&mut *write)
        .await
        .unwrap();
    sqlx::query("DELETE FROM story")
        .execute(&mut *write)
        .await
        .unwrap();
    write.commit().await.unwrap();
    for _ in 0..15 {
        pass(world, HOUR_S).await;
    }
}

/// Whether the last reconciliation missed the story, and whether that counts as wrong.
async fn reconciled(world: &World) -> (Value, Value, bool) {
    let half = entries(world, Kind::DeletionReconciliation).await.remove(0);
    let since_s = world.gateway.clock.now_s() - 30 * HOUR_S;
    let is_wrong = world.gateway.store.is_deletion_wrong(since_s).await.unwrap();
    (half["unaccounted"].clone(), half["restored"].clone(), is_wrong)
}

/// D3: it is found, and said on the status page.
#[tokio::test]
async fn story_that_vanished_is_found() {
    let world = World::new().await;
    lose_story(&world).await;
    assert_eq!(reconciled(&world).await, (json!(1), json!(false), true));
}

/// D3, K7: the database of a backup is older than its ledger: what is missing is recorded, and is no alarm.
#[tokio::test]
async fn story_that_a_restore_left_out_is_no_alarm() {
    let world = World::new().await;
    let restore = world.gateway.entry(Kind::Restore, None, json!({})).unwrap();
    world.gateway.ledger.append(vec![restore]).await.unwrap();
    lose_story(&world).await;
    assert_eq!(reconciled(&world).await, (json!(1), json!(true), false));
}
