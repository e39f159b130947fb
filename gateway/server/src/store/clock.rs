//! The clocks as last seen, so that a jump over a restart is noticed too (K19).

use policies::clock::Reading;
use sqlx::Row as _;

use super::{Store, signed, unsigned};

impl Store {
    pub(crate) async fn last_reading(&self) -> sqlx::Result<Option<Reading>> {
        let row = sqlx::query("SELECT boot_id, wall_s, boot_s FROM clock WHERE id = 1")
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| {
            Ok(Reading {
                boot_id: row.try_get("boot_id")?,
                wall_s: unsigned(row.try_get("wall_s")?),
                boot_s: unsigned(row.try_get("boot_s")?),
            })
        })
        .transpose()
    }

    pub(crate) async fn set_last_reading(&self, reading: &Reading) -> sqlx::Result<()> {
        sqlx::query(
            "INSERT INTO clock (id, boot_id, wall_s, boot_s) VALUES (1, $1, $2, $3) ON CONFLICT (id) DO UPDATE \
             SET boot_id = excluded.boot_id, wall_s = excluded.wall_s, boot_s = excluded.boot_s",
        )
        .bind(reading.boot_id.as_str())
        .bind(signed(reading.wall_s))
        .bind(signed(reading.boot_s))
        .execute(&self.pool)
        .await
        .map(drop)
    }
}
