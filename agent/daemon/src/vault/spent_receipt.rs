//! Receipts that were used, so that none is used twice (A10).

use super::{Connection, to_row};

/// Uses a receipt up; false if it was used before.
pub(crate) async fn spend(
    connection: &mut Connection,
    id: &[u8; 16],
    expires_at_s: u64,
) -> anyhow::Result<bool> {
    let done =
        sqlx::query("INSERT INTO spent_receipt (id, expires_at_s) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(id.as_slice())
            .bind(to_row(expires_at_s))
            .execute(connection)
            .await?;
    Ok(done.rows_affected() > 0)
}

/// Forgets those that expired before the time given: they are refused for their age.
pub(crate) async fn forget_before(connection: &mut Connection, before_s: u64) -> anyhow::Result<()> {
    sqlx::query("DELETE FROM spent_receipt WHERE expires_at_s < $1")
        .bind(to_row(before_s))
        .execute(connection)
        .await?;
    Ok(())
}
