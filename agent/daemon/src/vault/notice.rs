//! Notices: what the owner must learn of (K8). They are durable with whatever caused them, and stay until they
//! are acknowledged.

use rand::Rng as _;
use sqlx::Row as _;

use super::cipher::StateCipher;
use super::{Connection, from_row, to_row};
use crate::limits::NOTICES_MAX;

/// A notice that was not acknowledged yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// Rising; acknowledging one acknowledges those before it.
    pub position: u64,
    pub at_s: u64,
    pub message: String,
}

/// Adds one, in the transaction of its cause. The oldest give way beyond [`NOTICES_MAX`].
pub(crate) async fn put(
    connection: &mut Connection,
    cipher: &StateCipher,
    at_s: u64,
    message: &str,
) -> anyhow::Result<()> {
    let mut id = [0; 16];
    rand::rng().fill_bytes(&mut id);
    let body = cipher.seal("notice", &id, message.as_bytes())?;
    sqlx::query("INSERT INTO notice (id, at_s, body) VALUES ($1, $2, $3)")
        .bind(id.as_slice())
        .bind(to_row(at_s))
        .bind(body)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "DELETE FROM notice WHERE position NOT IN (SELECT position FROM notice ORDER BY position DESC LIMIT $1)",
    )
    .bind(NOTICES_MAX)
    .execute(connection)
    .await?;
    Ok(())
}

/// Those that were not acknowledged, oldest first.
pub(crate) async fn all(connection: &mut Connection, cipher: &StateCipher) -> anyhow::Result<Vec<Notice>> {
    let rows = sqlx::query("SELECT position, id, at_s, body FROM notice ORDER BY position")
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            let body = cipher.open("notice", row.get(1), row.get(3))?;
            Ok(Notice {
                position: from_row(row.get(0)),
                at_s: from_row(row.get(2)),
                message: String::from_utf8(body.to_vec())?,
            })
        })
        .collect()
}

/// The owner has read them up to a position; how many that were.
pub(crate) async fn acknowledge(connection: &mut Connection, through: u64) -> anyhow::Result<u64> {
    let done = sqlx::query("DELETE FROM notice WHERE position <= $1")
        .bind(to_row(through))
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}
