//! What is counted, on a real data folder.

use crate::jobs;
use crate::limits;
use crate::metrics::observe;
use crate::relay::tests::{START_S, World};

/// The page as Prometheus gets it.
async fn scrape(world: &World) -> String {
    observe(&world.gateway).await;
    world.gateway.metrics.text()
}

fn assert_shows(page: &str, lines: &[&str]) {
    for line in lines {
        assert!(page.lines().any(|shown| shown == *line), "{line}\n{page}");
    }
}

#[tokio::test]
async fn accepted_story_is_counted_with_its_commit() {
    let world = World::new().await;
    world.gateway.relay.submit(world.submission(1, 0)).await.unwrap();
    let page = scrape(&world).await;
    let entries = format!("sealgate_ledger_entries {}", world.gateway.ledger.size());
    assert_shows(
        &page,
        &[
            "sealgate_stories_accepted_total 1",
            "sealgate_commit_stories_bucket{le=\"1\"} 1",
            "sealgate_commit_duration_seconds_count 1",
            "sealgate_ledger_append_duration_seconds_count 1",
            "sealgate_devices{state=\"enrolled\"} 1",
            "sealgate_queue_depth 0",
            "sealgate_policy_version 0",
            &entries,
        ],
    );
}

#[tokio::test]
async fn each_part_is_ready_or_not() {
    let world = World::new().await;
    let ready = |part: &str, value: u8| format!("sealgate_ready{{part=\"{part}\"}} {value}");
    let all: Vec<String> = ["writer", "disk", "clock", "database"]
        .map(|part| ready(part, 1))
        .to_vec();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    assert_shows(&scrape(&world).await, &all);

    *world.gateway.space.pretended.lock().unwrap() = Some(limits::SPACE_BYTES_MIN - 1);
    world.gateway.clock.jump_to(START_S + 365 * 86_400);
    jobs::round(&world.gateway).await;
    let page = scrape(&world).await;
    let free = format!("sealgate_disk_free_bytes {}", limits::SPACE_BYTES_MIN - 1);
    let clock = ready("clock", 0);
    assert_shows(
        &page,
        &[
            &ready("disk", 0),
            &clock,
            &ready("writer", 1),
            "sealgate_clock_settled 0",
            &free,
        ],
    );
}

/// K18: a story that has ended and is still there shows, until it is shredded.
#[tokio::test]
async fn late_purge_shows_as_lag() {
    let world = World::new().await;
    jobs::round(&world.gateway).await;
    let story = world.submission(1, 0);
    let expires_s = story.story.expires_s;
    world.gateway.relay.submit(story).await.unwrap();
    assert_shows(&scrape(&world).await, &["sealgate_purge_lag_seconds 0"]);
    let past_s = expires_s + 40 - world.gateway.clock.now_s();
    world.gateway.clock.advance(past_s);
    assert_shows(&scrape(&world).await, &["sealgate_purge_lag_seconds 40"]);
    jobs::round(&world.gateway).await;
    assert_shows(&scrape(&world).await, &["sealgate_purge_lag_seconds 0"]);
}

#[tokio::test]
async fn attachment_that_cannot_be_read_is_counted() {
    let world = World::new().await;
    assert!(world.gateway.objects.read(&[9; 16]).await.is_err());
    assert_shows(
        &scrape(&world).await,
        &["sealgate_blobs_errors_total{operation=\"read\"} 1"],
    );
}
