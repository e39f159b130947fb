//! The journal: what was decided here and exactly what was reported, for 30 days (K26). It never
//! leaves the device.

use sqlx::Row as _;

use super::cipher::StateCipher;
use super::{Connection, id16, to_row};

/// A line; the body is the caller's JSON.
pub(crate) struct Line {
    pub id: [u8; 16],
    pub body: Vec<u8>,
}

/// Adds a line; the body is the caller's JSON.
pub(crate) async fn append(
    connection: &mut Connection,
    cipher: &StateCipher,
    id: [u8; 16],
    at_s: u64,
    body: &[u8],
) -> anyhow::Result<()> {
    let body = cipher.seal("journal", &id, body)?;
    sqlx::query("INSERT INTO journal (id, at_s, body) VALUES ($1, $2, $3)")
        .bind(id.as_slice())
        .bind(to_row(at_s))
        .bind(body)
        .execute(connection)
        .await?;
    Ok(())
}

/// The latest lines, oldest first.
pub(crate) async fn latest(
    connection: &mut Connection,
    cipher: &StateCipher,
    count: i64,
) -> anyhow::Result<Vec<Line>> {
    let rows = sqlx::query("SELECT id, body FROM journal ORDER BY position DESC LIMIT $1")
        .bind(count)
        .fetch_all(connection)
        .await?;
    let mut lines = Vec::with_capacity(rows.len());
    for row in rows.iter().rev() {
        let id = id16(row.get(0))?;
        lines.push(Line {
            id,
            body: cipher.open("journal", &id, row.get(1))?.to_vec(),
        });
    }
    Ok(lines)
}

/// The line of an id.
pub(crate) async fn by_id(
    connection: &mut Connection,
    cipher: &StateCipher,
    id: &[u8; 16],
) -> anyhow::Result<Option<Vec<u8>>> {
    let row = sqlx::query("SELECT body FROM journal WHERE id = $1")
        .bind(id.as_slice())
        .fetch_optional(connection)
        .await?;
    row.map(|row| Ok(cipher.open("journal", id, row.get(0))?.to_vec()))
        .transpose()
}

/// Drops lines older than the time given.
pub(crate) async fn forget_before(connection: &mut Connection, before_s: u64) -> anyhow::Result<()> {
    sqlx::query("DELETE FROM journal WHERE at_s < $1")
        .bind(to_row(before_s))
        .execute(connection)
        .await?;
    Ok(())
}
