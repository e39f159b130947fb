//! What a device needs to come back, and how its coming back is known to be due (M5, M7, K9, K16).

use std::collections::{BTreeMap, BTreeSet};

use gateway_api::v1::rejoin::StateMark;
use policies::terms::{AudienceId, DeviceId};
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection};

use super::{Store, Write, batch, bytes, signed, unsigned};

impl Store {
    /// The GroupInfo of the audience's present epoch, as its last committer signed it.
    pub(crate) async fn group_info(&self, audience: AudienceId, epoch: u64) -> sqlx::Result<Option<Vec<u8>>> {
        sqlx::query_scalar("SELECT group_info FROM audience_info WHERE audience = $1 AND epoch = $2")
            .bind(audience.as_bytes().as_slice())
            .bind(signed(epoch))
            .fetch_optional(&self.pool)
            .await
    }

    /// The commit with which the device's present stay in the audience began: its place and bytes.
    pub(crate) async fn entering_commit(
        &self,
        audience: AudienceId,
        device: DeviceId,
    ) -> sqlx::Result<Option<(u64, Vec<u8>)>> {
        let row = sqlx::query(
            "SELECT l.sequence AS sequence, l.message AS message FROM member m JOIN audience_log l \
             ON l.audience = m.audience AND l.sequence = m.joined WHERE m.audience = $1 AND m.device = $2 \
             AND m.left_at IS NULL AND l.kind = 'commit'",
        )
        .bind(audience.as_bytes().as_slice())
        .bind(device.as_bytes().as_slice())
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| Ok((unsigned(row.try_get("sequence")?), row.try_get("message")?)))
            .transpose()
    }

    /// Per audience that the device is in and whose log has lost its beginning: how far it is forgotten.
    pub(crate) async fn horizons(&self, device: DeviceId) -> sqlx::Result<Vec<(AudienceId, u64)>> {
        let rows = sqlx::query(
            "SELECT h.audience AS audience, h.sequence AS sequence FROM audience_horizon h \
             JOIN member m ON m.audience = h.audience WHERE m.device = $1 AND m.left_at IS NULL ORDER BY h.audience",
        )
        .bind(device.as_bytes().as_slice())
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                let audience = AudienceId::from_bytes(bytes("audience", row.try_get("audience")?)?);
                Ok((audience, unsigned(row.try_get("sequence")?)))
            })
            .collect()
    }

    /// The mark that the device was last seen with.
    pub(crate) async fn state_mark(&self, device: DeviceId) -> sqlx::Result<Option<StateMark>> {
        state_mark(&mut *self.pool.acquire().await?, device).await
    }
}

/// Keeps the GroupInfo of the epoch that begins.
pub(crate) async fn set_group_info(
    write: &mut Write,
    audience: AudienceId,
    epoch: u64,
    group_info: &[u8],
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO audience_info (audience, epoch, group_info) VALUES ($1, $2, $3) \
         ON CONFLICT (audience) DO UPDATE SET epoch = excluded.epoch, group_info = excluded.group_info",
    )
    .bind(audience.as_bytes().as_slice())
    .bind(signed(epoch))
    .bind(group_info)
    .execute(&mut **write)
    .await
    .map(drop)
}

/// Notes how far logs are about to be forgotten; done before it, in the same transaction.
pub(super) async fn move_horizons(write: &mut Write, before_s: u64) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO audience_horizon (audience, sequence) \
         SELECT audience, MAX(sequence) FROM audience_log WHERE kind IN ('commit', 'proposal') AND at_s < $1 \
         GROUP BY audience \
         ON CONFLICT (audience) DO UPDATE SET sequence = MAX(audience_horizon.sequence, excluded.sequence)",
    )
    .bind(signed(before_s))
    .execute(&mut **write)
    .await
    .map(drop)
}

/// Raises the device's mark; false when it was seen with a higher one.
pub(crate) async fn raise_state_mark(
    write: &mut Write,
    device: DeviceId,
    mark: StateMark,
) -> sqlx::Result<bool> {
    let known = state_mark(write, device).await?;
    if known.is_some_and(|known| known > mark) {
        return Ok(false);
    }
    set_state_marks(write, &[(device, mark)]).await?;
    Ok(true)
}

/// The marks that these devices were last seen with.
pub(crate) async fn state_marks(
    write: &mut Write,
    devices: &BTreeSet<DeviceId>,
) -> sqlx::Result<BTreeMap<DeviceId, StateMark>> {
    let rows = sqlx::query(
        "SELECT device, rejoin, count FROM device_state WHERE device IN (SELECT unhex(value) FROM json_each($1))",
    )
    .bind(batch::ids(devices.iter().map(DeviceId::as_bytes)))
    .fetch_all(&mut **write)
    .await?;
    rows.iter()
        .map(|row| {
            Ok((
                DeviceId::from_bytes(bytes("device", row.try_get("device")?)?),
                mark_of(row)?,
            ))
        })
        .collect()
}

/// Notes the marks that devices were seen with. The caller has compared.
pub(crate) async fn set_state_marks(write: &mut Write, marks: &[(DeviceId, StateMark)]) -> sqlx::Result<()> {
    for piece in batch::pieces(marks) {
        let mut upsert = QueryBuilder::<Sqlite>::new("INSERT INTO device_state (device, rejoin, count) ");
        upsert.push_values(piece, |mut row, (device, mark)| {
            row.push_bind(device.as_bytes().as_slice())
                .push_bind(signed(mark.rejoin))
                .push_bind(signed(mark.count));
        });
        upsert.push(" ON CONFLICT (device) DO UPDATE SET rejoin = excluded.rejoin, count = excluded.count");
        upsert.build().execute(&mut **write).await?;
    }
    Ok(())
}

fn mark_of(row: &sqlx::sqlite::SqliteRow) -> sqlx::Result<StateMark> {
    Ok(StateMark {
        rejoin: unsigned(row.try_get("rejoin")?),
        count: unsigned(row.try_get("count")?),
    })
}

async fn state_mark(connection: &mut SqliteConnection, device: DeviceId) -> sqlx::Result<Option<StateMark>> {
    let row = sqlx::query("SELECT rejoin, count FROM device_state WHERE device = $1")
        .bind(device.as_bytes().as_slice())
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(mark_of).transpose()
}
