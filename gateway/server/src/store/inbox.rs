//! One inbox per device: Welcomes, dense from 1 (K15). A cursor acknowledges what lies before it.

use policies::terms::DeviceId;
use sqlx::Row as _;

use super::{Store, Write, signed, unsigned};
use crate::limits;

impl Store {
    /// Items behind the cursor; those at or before it are forgotten. Bodies are JSON.
    pub(crate) async fn inbox_behind(
        &self,
        device: DeviceId,
        cursor: u64,
    ) -> sqlx::Result<Vec<(u64, Vec<u8>)>> {
        let rows = sqlx::query(
            "SELECT sequence, body FROM inbox WHERE device = $1 AND sequence > $2 ORDER BY sequence LIMIT $3",
        )
        .bind(device.as_bytes().as_slice())
        .bind(signed(cursor))
        .bind(limits::SYNC_ITEMS_MAX)
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| Ok((unsigned(row.try_get("sequence")?), row.try_get("body")?)))
            .collect()
    }

    /// Forgets what the device has durably processed.
    pub(crate) async fn acknowledge_inbox(&self, device: DeviceId, cursor: u64) -> sqlx::Result<()> {
        let found =
            sqlx::query_scalar::<_, i64>("SELECT 1 FROM inbox WHERE device = $1 AND sequence <= $2 LIMIT 1")
                .bind(device.as_bytes().as_slice())
                .bind(signed(cursor))
                .fetch_optional(&self.pool)
                .await?;
        if found.is_none() {
            return Ok(());
        }
        sqlx::query("DELETE FROM inbox WHERE device = $1 AND sequence <= $2")
            .bind(device.as_bytes().as_slice())
            .bind(signed(cursor))
            .execute(&self.pool)
            .await
            .map(drop)
    }

    /// Forgets items that nobody fetched.
    pub(crate) async fn drop_old_inbox(&self, before_s: u64) -> sqlx::Result<()> {
        sqlx::query("DELETE FROM inbox WHERE at_s < $1")
            .bind(signed(before_s))
            .execute(&self.pool)
            .await
            .map(drop)
    }
}

/// Puts a body (JSON) into a device's inbox.
pub(crate) async fn put(write: &mut Write, device: DeviceId, body: &[u8], now_s: u64) -> sqlx::Result<()> {
    let sequence = sqlx::query_scalar::<_, i64>(
        "INSERT INTO inbox_end (device, sequence) VALUES ($1, 1) \
         ON CONFLICT (device) DO UPDATE SET sequence = inbox_end.sequence + 1 RETURNING sequence",
    )
    .bind(device.as_bytes().as_slice())
    .fetch_one(&mut **write)
    .await?;
    sqlx::query("INSERT INTO inbox (device, sequence, at_s, body) VALUES ($1, $2, $3, $4)")
        .bind(device.as_bytes().as_slice())
        .bind(sequence)
        .bind(signed(now_s))
        .bind(body)
        .execute(&mut **write)
        .await
        .map(drop)
}
