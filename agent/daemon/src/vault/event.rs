//! Events of the spool. The sequence number is the row's key: SQLite gives it inside the
//! transaction, so that it has no gap and is never used twice (S3).

use gateway_api::error::ErrorCode;
use sqlx::Row as _;

use super::cipher::StateCipher;
use super::{Connection, from_row, to_row};

/// A stored event.
pub(crate) struct EventRow {
    pub sequence: u64,
    /// The caller's JSON; none: it is damaged.
    pub body: Option<Vec<u8>>,
}

/// Why an event is put aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The gateway does not take it.
    Refused(ErrorCode),
    /// It cannot be read.
    Damaged,
}

impl Cause {
    const DAMAGED: &str = "damaged";

    const fn as_str(self) -> &'static str {
        match self {
            Self::Refused(code) => code.as_str(),
            Self::Damaged => Self::DAMAGED,
        }
    }
}

/// Adds an event and tells its sequence number.
pub(crate) async fn append(
    connection: &mut Connection,
    cipher: &StateCipher,
    id: &[u8; 16],
    at_s: u64,
    body: &[u8],
) -> anyhow::Result<u64> {
    let body = cipher.seal("event", id, body)?;
    let row = sqlx::query("INSERT INTO event (id, at_s, body) VALUES ($1, $2, $3) RETURNING seq")
        .bind(id.as_slice())
        .bind(to_row(at_s))
        .bind(body)
        .fetch_one(connection)
        .await?;
    Ok(from_row(row.get(0)))
}

/// The number of the event that was added last, forgotten ones included; 0 if there was none.
pub(crate) async fn last_sequence(connection: &mut Connection) -> anyhow::Result<u64> {
    let last: Option<i64> = sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = 'event'")
        .fetch_optional(connection)
        .await?;
    Ok(last.map_or(0, from_row))
}

/// The oldest events, in order.
pub(crate) async fn oldest(
    connection: &mut Connection,
    cipher: &StateCipher,
    count: i64,
) -> anyhow::Result<Vec<EventRow>> {
    let rows = sqlx::query("SELECT seq, id, body FROM event ORDER BY seq LIMIT $1")
        .bind(count)
        .fetch_all(connection)
        .await?;
    let mut events = Vec::with_capacity(rows.len());
    for row in rows {
        let id: &[u8] = row.get(1);
        events.push(EventRow {
            sequence: from_row(row.get(0)),
            body: cipher
                .open("event", id, row.get(2))
                .ok()
                .map(|body| body.to_vec()),
        });
    }
    Ok(events)
}

/// Forgets an event that the gateway holds (S2).
pub(crate) async fn remove(connection: &mut Connection, id: &[u8; 16]) -> anyhow::Result<()> {
    sqlx::query("DELETE FROM event WHERE id = $1")
        .bind(id.as_slice())
        .execute(connection)
        .await?;
    Ok(())
}

/// How many wait.
pub(crate) async fn count(connection: &mut Connection) -> anyhow::Result<i64> {
    let row = sqlx::query("SELECT COUNT(*) FROM event")
        .fetch_one(connection)
        .await?;
    Ok(row.get(0))
}

/// Puts an event aside; its bytes stay as they are.
pub(crate) async fn put_aside(
    connection: &mut Connection,
    sequence: u64,
    cause: Cause,
) -> anyhow::Result<()> {
    sqlx::query(
        "INSERT INTO dead_event (seq, id, at_s, cause, body) SELECT seq, id, at_s, $2, body FROM event WHERE seq = $1",
    )
    .bind(to_row(sequence))
    .bind(cause.as_str())
    .execute(&mut *connection)
    .await?;
    sqlx::query("DELETE FROM event WHERE seq = $1")
        .bind(to_row(sequence))
        .execute(connection)
        .await?;
    Ok(())
}

/// Takes back, under their old numbers, the events that were put aside since the gateway did not take them.
pub(crate) async fn take_back(connection: &mut Connection) -> anyhow::Result<()> {
    sqlx::query(
        "INSERT INTO event (seq, id, at_s, body) SELECT seq, id, at_s, body FROM dead_event WHERE cause <> $1",
    )
    .bind(Cause::Damaged.as_str())
    .execute(&mut *connection)
    .await?;
    sqlx::query("DELETE FROM dead_event WHERE cause <> $1")
        .bind(Cause::Damaged.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

/// How many are put aside.
pub(crate) async fn count_aside(connection: &mut Connection) -> anyhow::Result<i64> {
    Ok(sqlx::query_scalar("SELECT COUNT(*) FROM dead_event")
        .fetch_one(connection)
        .await?)
}
