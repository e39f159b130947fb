//! The spool: events on their way to the gateway, durable before anything is said (S1), numbered
//! without a gap and chained (S3), forgotten only after the gateway acknowledged them (S2).
//!
//! An event is written in the transaction of the journal line that shows it to the employee, so
//! that what is reported and what is shown cannot differ (R5). The event of a story is durable with
//! the MLS state before its bytes leave (`compose::record`), and moves here, numbered, in the
//! transaction that finishes the story; room for it is made sure of before the story is sealed.

use anyhow::Context as _;
use gateway_api::error::ErrorCode;
use gateway_api::v1::events::{BATCH_BYTES_MAX, BATCH_MAX, ChainLink, Event};
use policies::terms::Digest;
use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::limits::{EVENT_BATCH_FRAME_BYTES, SPOOL_EVENTS_MAX, SPOOL_RESERVE};
use crate::vault::event::Cause;
use crate::vault::setting::{self, Setting};
use crate::vault::{Connection, Vault, event, foreign_sent, outgoing};

/// The event that was added last: the next one names it.
#[derive(Debug, Serialize, Deserialize)]
struct Last {
    sequence: u64,
    digest: Digest,
}

/// Makes sure of room for the event of one more story, beside those of stories that are not answered yet, and leaves a
/// reserve for what is blocked (S4).
///
/// # Errors
/// The spool is full: then nothing is sealed either, rather than unreported.
pub(crate) async fn ensure_room_for_story(connection: &mut Connection) -> anyhow::Result<()> {
    ensure_room(connection, SPOOL_EVENTS_MAX.saturating_sub(SPOOL_RESERVE)).await
}

async fn ensure_room(connection: &mut Connection, events_max: i64) -> anyhow::Result<()> {
    let reserved = outgoing::count(connection)
        .await?
        .saturating_add(foreign_sent::count_waiting(connection).await?);
    let kept = event::count(connection)
        .await?
        .saturating_add(event::count_aside(connection).await?);
    if kept.saturating_add(reserved) >= events_max {
        anyhow::bail!(
            "the spool of events is full: the gateway has acknowledged nothing for long; connect the device"
        );
    }
    Ok(())
}

/// Adds an event in the caller's transaction; the event comes back with its sequence number and its link.
///
/// # Errors
/// The spool is full, or the store's.
pub(crate) async fn append(
    connection: &mut Connection,
    vault: &Vault,
    moment: Moment,
    drafted: Event,
) -> anyhow::Result<Event> {
    ensure_room(connection, SPOOL_EVENTS_MAX).await?;
    append_reserved(connection, vault, moment, drafted).await
}

/// Adds the event of a story, for which room was made sure of before it was sealed.
///
/// # Errors
/// The store's.
pub(crate) async fn append_reserved(
    connection: &mut Connection,
    vault: &Vault,
    moment: Moment,
    drafted: Event,
) -> anyhow::Result<Event> {
    let cipher = &vault.cipher;
    let mut event = Event {
        link: Some(ChainLink {
            before: last_digest(connection, vault).await?,
            boot: moment.boot,
            since_boot_ns: moment.since_boot_ns,
            wall_s: moment.wall_s,
        }),
        ..drafted
    };
    let body = serde_json::to_vec(&event)?;
    event.sequence = event::append(connection, cipher, event.id.as_bytes(), event.at_s, &body).await?;
    let last = Last {
        sequence: event.sequence,
        digest: event.digest()?,
    };
    setting::write(
        connection,
        cipher,
        Setting::LastEvent,
        &serde_json::to_vec(&last)?,
    )
    .await?;
    Ok(event)
}

/// The digest of the event before the next; none if that one was added by an agent that keeps no chain: one begins.
async fn last_digest(connection: &mut Connection, vault: &Vault) -> anyhow::Result<Option<Digest>> {
    let Some(last) = setting::read(connection, &vault.cipher, Setting::LastEvent).await? else {
        return Ok(None);
    };
    let last: Last = serde_json::from_slice(&last).context("the end of the chain of events is damaged")?;
    let is_last = last.sequence == event::last_sequence(connection).await?;
    Ok(is_last.then_some(last.digest))
}

/// What is uploaded at once.
pub(crate) struct Batch {
    /// In order, at most [`BATCH_MAX`] and about [`BATCH_BYTES_MAX`].
    pub events: Vec<Event>,
    /// Whether others wait behind it.
    pub more: bool,
}

/// The next batch. An event that cannot be read is put aside, so that it holds up no other (S9).
///
/// # Errors
/// The store's.
pub(crate) async fn next_batch(vault: &Vault) -> anyhow::Result<Batch> {
    let rows = {
        let mut connection = vault.connection().await?;
        event::oldest(&mut connection, &vault.cipher, i64::try_from(BATCH_MAX)? + 1).await?
    };
    let mut batch = Batch {
        events: Vec::with_capacity(rows.len()),
        more: false,
    };
    let mut bytes = EVENT_BATCH_FRAME_BYTES;
    for row in rows {
        let body = row.body.unwrap_or_default();
        let Ok(event) = serde_json::from_slice::<Event>(&body) else {
            let mut transaction = vault.begin().await?;
            event::put_aside(&mut transaction, row.sequence, Cause::Damaged).await?;
            transaction.commit().await?;
            tracing::error!(sequence = row.sequence, "an event of the spool cannot be read");
            continue;
        };
        bytes = bytes.saturating_add(body.len());
        let is_full = batch.events.len() >= BATCH_MAX || bytes > BATCH_BYTES_MAX;
        if is_full && !batch.events.is_empty() {
            batch.more = true;
            break;
        }
        batch.events.push(Event {
            sequence: row.sequence,
            ..event
        });
    }
    Ok(batch)
}

/// Offers the gateway again what it did not take, as the agent starts: it may be a later version.
///
/// # Errors
/// The store's.
pub(crate) async fn begin_run(vault: &Vault) -> anyhow::Result<()> {
    let mut transaction = vault.begin().await?;
    event::take_back(&mut transaction).await?;
    transaction.commit().await?;
    Ok(())
}

/// Puts an event aside that the gateway does not take.
///
/// # Errors
/// The store's.
pub(crate) async fn put_aside(vault: &Vault, sequence: u64, code: ErrorCode) -> anyhow::Result<()> {
    let mut transaction = vault.begin().await?;
    event::put_aside(&mut transaction, sequence, Cause::Refused(code)).await?;
    transaction.commit().await?;
    Ok(())
}

/// Forgets what the gateway holds.
pub(crate) async fn acknowledge(vault: &Vault, ids: &[policies::terms::EventId]) -> anyhow::Result<()> {
    let mut transaction = vault.begin().await?;
    for id in ids {
        event::remove(&mut transaction, id.as_bytes()).await?;
    }
    transaction.commit().await?;
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use gateway_api::v1::events::{EventKind, SizeBucket, Upload};
    use policies::terms::{Action, App, AudienceClass, EventId};

    use super::*;
    use crate::config::paths::Paths;

    pub(crate) fn drafted(id: u8) -> Event {
        Event {
            id: EventId::from_bytes([id; 16]),
            sequence: 0,
            at_s: 7,
            kind: EventKind::Blocked,
            audience_class: AudienceClass::Internal,
            action: Action::Block,
            rules: Vec::new(),
            labels: Vec::new(),
            app: App::parse("sealgate").unwrap(),
            policy_version: 1,
            features: BTreeMap::new(),
            size: SizeBucket::Small,
            sealed: None,
            link: None,
            unrecorded: None,
        }
    }

    fn moment() -> Moment {
        Moment {
            boot: Digest::of(b"boot"),
            since_boot_ns: 5,
            wall_s: 7,
        }
    }

    async fn add(vault: &Vault, id: u8, commit: bool) -> u64 {
        let mut transaction = vault.begin().await.unwrap();
        let event = append(&mut transaction, vault, moment(), drafted(id))
            .await
            .unwrap();
        if commit {
            transaction.commit().await.unwrap();
        }
        event.sequence
    }

    async fn fill(connection: &mut Connection, events: i64) {
        sqlx::query(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
             INSERT INTO event (id, at_s, body) SELECT CAST(i AS BLOB), 0, x'' FROM n",
        )
        .bind(events)
        .execute(connection)
        .await
        .unwrap();
    }

    /// S1: a story that is not answered yet keeps room for its event.
    #[tokio::test]
    async fn a_full_spool_takes_only_events_that_have_room() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(&Paths::new(folder.path())).await.unwrap();
        let mut transaction = vault.begin().await.unwrap();
        fill(&mut transaction, SPOOL_EVENTS_MAX - 1).await;
        let cti = policies::terms::Cti::from_bytes([1; 16]);
        outgoing::insert(&mut transaction, &vault.cipher, cti, 0, b"")
            .await
            .unwrap();
        assert!(
            append(&mut transaction, &vault, moment(), drafted(1))
                .await
                .is_err()
        );
        append_reserved(&mut transaction, &vault, moment(), drafted(1))
            .await
            .unwrap();
    }

    /// S4: a fifth is left for what is blocked and for reports, when stories have filled the rest.
    #[tokio::test]
    async fn stories_leave_a_reserve_for_what_is_blocked() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(&Paths::new(folder.path())).await.unwrap();
        let mut transaction = vault.begin().await.unwrap();
        fill(&mut transaction, SPOOL_EVENTS_MAX - SPOOL_RESERVE - 1).await;
        ensure_room_for_story(&mut transaction).await.unwrap();
        append(&mut transaction, &vault, moment(), drafted(1))
            .await
            .unwrap();
        assert!(ensure_room_for_story(&mut transaction).await.is_err());
        append(&mut transaction, &vault, moment(), drafted(2))
            .await
            .unwrap();
    }

    /// S3: numbers have no gap, also after a transaction that came to nothing, an acknowledgement
    /// and a restart.
    #[tokio::test]
    async fn sequence_has_no_gap() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        let vault = Vault::open(&paths).await.unwrap();
        assert_eq!(add(&vault, 1, true).await, 1);
        assert_eq!(add(&vault, 2, false).await, 2);
        assert_eq!(add(&vault, 3, true).await, 2);
        acknowledge(
            &vault,
            &[EventId::from_bytes([1; 16]), EventId::from_bytes([3; 16])],
        )
        .await
        .unwrap();
        assert!(next_batch(&vault).await.unwrap().events.is_empty());
        vault.close().await;

        let vault = Vault::open(&paths).await.unwrap();
        assert_eq!(add(&vault, 4, true).await, 3);
        let batch = next_batch(&vault).await.unwrap().events;
        assert_eq!(batch.iter().map(|event| event.sequence).collect::<Vec<_>>(), [3]);
    }

    /// S3: each event names the one before it, over a rollback, an acknowledgement and a restart.
    #[tokio::test]
    async fn each_event_names_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        let vault = Vault::open(&paths).await.unwrap();
        add(&vault, 1, true).await;
        let first = next_batch(&vault).await.unwrap().events.remove(0);
        assert_eq!(first.link.as_ref().unwrap().before, None);
        add(&vault, 2, false).await;
        acknowledge(&vault, &[first.id]).await.unwrap();
        vault.close().await;

        let vault = Vault::open(&paths).await.unwrap();
        add(&vault, 3, true).await;
        add(&vault, 4, true).await;
        let mut before = first;
        for event in next_batch(&vault).await.unwrap().events {
            let link = event.link.as_ref().unwrap();
            assert_eq!(link.before, Some(before.digest().unwrap()));
            assert_eq!((link.since_boot_ns, link.wall_s), (5, 7));
            before = event;
        }
        assert_eq!(before.sequence, 3);
    }

    /// S3: an agent that keeps no chain wrote in between: a chain begins, rather than one that does not fit.
    #[tokio::test]
    async fn a_chain_begins_after_an_event_without_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(&Paths::new(folder.path())).await.unwrap();
        add(&vault, 1, true).await;
        let mut connection = vault.connection().await.unwrap();
        event::append(&mut connection, &vault.cipher, &[2; 16], 7, b"{}")
            .await
            .unwrap();
        drop(connection);
        acknowledge(&vault, &[EventId::from_bytes([2; 16])])
            .await
            .unwrap();
        add(&vault, 3, true).await;
        let batch = next_batch(&vault).await.unwrap().events;
        assert_eq!(batch[1].sequence, 3);
        assert_eq!(batch[1].link.as_ref().unwrap().before, None);
    }

    /// S6: at most 500 events and 1 MiB, in order; what waits behind is said.
    #[tokio::test]
    async fn a_batch_is_bounded_in_events_and_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(&Paths::new(folder.path())).await.unwrap();
        for (sealed_bytes, events) in [(0, BATCH_MAX), (2_048, 300)] {
            let mut transaction = vault.begin().await.unwrap();
            for number in 0..=BATCH_MAX {
                let mut id = [0; 16];
                id[..8].copy_from_slice(&number.to_be_bytes());
                let event = Event {
                    id: EventId::from_bytes(id),
                    sealed: Some(vec![7; sealed_bytes].into()),
                    ..drafted(0)
                };
                append(&mut transaction, &vault, moment(), event).await.unwrap();
            }
            transaction.commit().await.unwrap();
            let (mut sizes, mut next) = (Vec::new(), None);
            loop {
                let batch = next_batch(&vault).await.unwrap();
                let Some(first) = batch.events.first() else { break };
                assert_eq!(first.sequence, *next.get_or_insert(first.sequence));
                next = batch.events.last().map(|last| last.sequence + 1);
                let ids: Vec<_> = batch.events.iter().map(|event| event.id).collect();
                let upload = Upload {
                    sent_s: Some(u64::MAX),
                    events: batch.events,
                };
                assert!(serde_json::to_vec(&upload).unwrap().len() <= BATCH_BYTES_MAX);
                acknowledge(&vault, &ids).await.unwrap();
                let left = event::count(&mut vault.connection().await.unwrap())
                    .await
                    .unwrap();
                assert_eq!(batch.more, left > 0);
                sizes.push(ids.len());
            }
            assert_eq!(sizes.iter().sum::<usize>(), BATCH_MAX + 1);
            assert!(sizes[0] <= BATCH_MAX && sizes[0] >= events, "{sizes:?}");
        }
    }

    /// S9: an event that cannot be read is put aside and kept, and those behind it go on.
    #[tokio::test]
    async fn a_damaged_event_holds_up_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(&Paths::new(folder.path())).await.unwrap();
        for id in 1..=3 {
            add(&vault, id, true).await;
        }
        let mut connection = vault.connection().await.unwrap();
        sqlx::query("UPDATE event SET body = x'00' WHERE seq = 2")
            .execute(&mut *connection)
            .await
            .unwrap();
        let sequences = |batch: Batch| {
            batch
                .events
                .iter()
                .map(|event| event.sequence)
                .collect::<Vec<_>>()
        };
        for _ in 0..2 {
            assert_eq!(sequences(next_batch(&vault).await.unwrap()), [1, 3]);
            assert_eq!(event::count_aside(&mut connection).await.unwrap(), 1);
            begin_run(&vault).await.unwrap();
        }
    }

    /// S6: what the gateway does not take is kept over a start, counts as room taken, and is offered again.
    #[tokio::test]
    async fn a_refused_event_is_kept_and_offered_again() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        let vault = Vault::open(&paths).await.unwrap();
        add(&vault, 1, true).await;
        let refused = next_batch(&vault).await.unwrap().events.remove(0);
        put_aside(&vault, 1, ErrorCode::BadRequest).await.unwrap();
        add(&vault, 2, true).await;
        assert_eq!(next_batch(&vault).await.unwrap().events[0].sequence, 2);
        vault.close().await;

        let vault = Vault::open(&paths).await.unwrap();
        assert_eq!(
            event::count_aside(&mut vault.connection().await.unwrap())
                .await
                .unwrap(),
            1
        );
        begin_run(&vault).await.unwrap();
        let batch = next_batch(&vault).await.unwrap().events;
        assert_eq!(batch[0], refused);
        assert_eq!(batch[1].sequence, 2);
    }
}
