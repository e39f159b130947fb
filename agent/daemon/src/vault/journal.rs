//! The journal: what was decided here and exactly what was reported, for 30 days (K26). It never
//! leaves the device.

use sqlx::Row as _;

use super::cipher::StateCipher;
use super::{Connection, to_row};

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
) -> anyhow::Result<Vec<Vec<u8>>> {
    let rows = sqlx::query("SELECT id, body FROM journal ORDER BY position DESC LIMIT $1")
        .bind(count)
        .fetch_all(connection)
        .await?;
    let mut lines = Vec::with_capacity(rows.len());
    for row in rows.iter().rev() {
        let id: &[u8] = row.get(0);
        lines.push(cipher.open("journal", id, row.get(1))?.to_vec());
    }
    Ok(lines)
}

/// Drops lines older than the time given.
pub(crate) async fn forget_before(connection: &mut Connection, before_s: u64) -> anyhow::Result<()> {
    sqlx::query("DELETE FROM journal WHERE at_s < $1")
        .bind(to_row(before_s))
        .execute(connection)
        .await?;
    Ok(())
}
