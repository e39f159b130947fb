//! Audiences whose tree is being warmed up after a bulk add (M9).

use policies::terms::{AudienceId, DeviceId};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::{Store, Write, bytes, corrupt, signed, unsigned};

/// How far the warm-up of one audience has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WarmUp {
    pub(crate) audience: AudienceId,
    /// Who added many: the subtrees are those beside its way to the root.
    pub(crate) device: DeviceId,
    /// The subtree to be asked next, by its height.
    pub(crate) level: u32,
    /// When a device was asked last, Unix seconds; 0 for never.
    pub(crate) asked_s: u64,
}

impl Store {
    pub(crate) async fn warm_up(&self, audience: AudienceId) -> sqlx::Result<Option<WarmUp>> {
        let row = sqlx::query("SELECT audience, device, level, asked_s FROM warm_up WHERE audience = $1")
            .bind(audience.as_bytes().as_slice())
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(from_row).transpose()
    }

    /// Those in which nobody was asked since `before_s`.
    pub(crate) async fn waiting_warm_ups(&self, before_s: u64) -> sqlx::Result<Vec<WarmUp>> {
        let rows = sqlx::query("SELECT audience, device, level, asked_s FROM warm_up WHERE asked_s <= $1")
            .bind(signed(before_s))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(from_row).collect()
    }
}

/// Begins a warm-up, or moves it on.
pub(crate) async fn put(write: &mut Write, warm_up: &WarmUp) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO warm_up (audience, device, level, asked_s) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (audience) DO UPDATE SET device = excluded.device, level = excluded.level, asked_s = excluded.asked_s",
    )
    .bind(warm_up.audience.as_bytes().as_slice())
    .bind(warm_up.device.as_bytes().as_slice())
    .bind(i64::from(warm_up.level))
    .bind(signed(warm_up.asked_s))
    .execute(&mut **write)
    .await
    .map(drop)
}

/// Ends a warm-up.
pub(crate) async fn remove(write: &mut Write, audience: AudienceId) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM warm_up WHERE audience = $1")
        .bind(audience.as_bytes().as_slice())
        .execute(&mut **write)
        .await
        .map(drop)
}

fn from_row(row: &SqliteRow) -> sqlx::Result<WarmUp> {
    Ok(WarmUp {
        audience: AudienceId::from_bytes(bytes("audience", row.try_get("audience")?)?),
        device: DeviceId::from_bytes(bytes("device", row.try_get("device")?)?),
        level: u32::try_from(row.try_get::<i64, _>("level")?).map_err(|_| corrupt("level"))?,
        asked_s: unsigned(row.try_get("asked_s")?),
    })
}
