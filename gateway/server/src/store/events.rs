//! Which events have been recorded: makes ingest idempotent (S2).

use policies::terms::{DeviceId, EntryId, EventId};

use super::{Store, signed, unsigned};

impl Store {
    /// Whether the event is known; a known id of another device counts too, so that nobody's is overwritten.
    pub(crate) async fn has_event(&self, id: EventId) -> sqlx::Result<bool> {
        let found = sqlx::query_scalar::<_, i64>("SELECT 1 FROM event WHERE id = $1")
            .bind(id.as_bytes().as_slice())
            .fetch_optional(&self.pool)
            .await?;
        Ok(found.is_some())
    }

    /// The highest sequence number that a device has reported, for gaps (S3).
    pub(crate) async fn last_event_sequence(&self, device: DeviceId) -> sqlx::Result<Option<u64>> {
        let last = sqlx::query_scalar::<_, Option<i64>>("SELECT MAX(sequence) FROM event WHERE device = $1")
            .bind(device.as_bytes().as_slice())
            .fetch_one(&self.pool)
            .await?;
        Ok(last.map(unsigned))
    }

    /// Remembers recorded events: (id, sequence, ledger entry).
    pub(crate) async fn add_events(
        &self,
        device: DeviceId,
        events: &[(EventId, u64, EntryId)],
        now_s: u64,
    ) -> sqlx::Result<()> {
        let mut write = self.write().await?;
        for (id, sequence, entry) in events {
            sqlx::query(
                "INSERT INTO event (id, device, sequence, received_s, entry) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            )
            .bind(id.as_bytes().as_slice())
            .bind(device.as_bytes().as_slice())
            .bind(signed(*sequence))
            .bind(signed(now_s))
            .bind(entry.as_bytes().as_slice())
            .execute(&mut *write)
            .await?;
        }
        write.commit().await
    }
}
