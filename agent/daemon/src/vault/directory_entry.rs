//! Entries of the directory log, as they were followed.

use sqlx::Row as _;

use super::{Connection, from_row, to_row};

/// All entries, in order.
pub(crate) async fn all(connection: &mut Connection) -> anyhow::Result<Vec<Vec<u8>>> {
    let rows = sqlx::query("SELECT position, entry FROM directory_entry ORDER BY position")
        .fetch_all(connection)
        .await?;
    let mut entries = Vec::with_capacity(rows.len());
    for (expected, row) in (0_u64..).zip(rows) {
        if from_row(row.get(0)) != expected {
            anyhow::bail!("the stored directory log has a gap at entry {expected}");
        }
        entries.push(row.get(1));
    }
    Ok(entries)
}

/// Adds the entry at a position.
pub(crate) async fn append(connection: &mut Connection, position: u64, entry: &[u8]) -> anyhow::Result<()> {
    sqlx::query("INSERT INTO directory_entry (position, entry) VALUES ($1, $2)")
        .bind(to_row(position))
        .bind(entry)
        .execute(connection)
        .await?;
    Ok(())
}
