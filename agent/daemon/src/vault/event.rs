//! Events of the spool. The sequence number is the row's key: SQLite gives it inside the
//! transaction, so that it has no gap and is never used twice (S3).

use sqlx::Row as _;

use super::cipher::StateCipher;
use super::{Connection, from_row, to_row};

/// A stored event; the body is the caller's JSON.
pub(crate) struct EventRow {
    pub sequence: u64,
    pub body: Vec<u8>,
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
            body: cipher.open("event", id, row.get(2))?.to_vec(),
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
