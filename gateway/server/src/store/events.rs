//! Which events have been recorded: makes ingest idempotent (S2).

use policies::terms::{DeviceId, Digest, EntryId, EventId};
use sqlx::{Row as _, SqliteConnection};

use super::{Store, Write, bytes, optional_digest, signed, unsigned};

/// An event that was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Its entry may not be in the ledger yet.
    Held,
    /// Its entry is in the ledger.
    Recorded,
}

/// An event that is to be held.
pub(crate) struct NewEvent {
    pub(crate) id: EventId,
    pub(crate) device: DeviceId,
    /// Where it ends what its device told so far.
    pub(crate) last: Last,
    pub(crate) received_s: u64,
    pub(crate) entry: EntryId,
    /// The ledger's size: the entry comes no earlier.
    pub(crate) held_from: u64,
}

/// The event of a device that came last (S3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Last {
    /// How many came before it, whatever their numbers; 0 for those that came before this was counted.
    pub(crate) place: u64,
    pub(crate) sequence: u64,
    /// None if it has no link: its device kept no chain.
    pub(crate) digest: Option<Digest>,
}

/// An event that a crash left held.
pub(crate) struct HeldEvent {
    pub(crate) id: EventId,
    pub(crate) entry: EntryId,
    pub(crate) held_from: u64,
}

impl Store {
    /// Whether an event was ever held.
    pub(crate) async fn knows_event(&self, id: EventId) -> sqlx::Result<bool> {
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM event WHERE id = $1)")
            .bind(id.as_bytes().as_slice())
            .fetch_one(&self.pool)
            .await
    }

    /// Events that a crash left held.
    pub(crate) async fn held_events(&self) -> sqlx::Result<Vec<HeldEvent>> {
        let rows = sqlx::query("SELECT id, entry, held_from FROM event WHERE held_from IS NOT NULL")
            .fetch_all(&self.pool)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(HeldEvent {
                    id: EventId::from_bytes(bytes("id", row.try_get("id")?)?),
                    entry: EntryId::from_bytes(bytes("entry", row.try_get("entry")?)?),
                    held_from: unsigned(row.try_get("held_from")?),
                })
            })
            .collect()
    }
}

/// Whether the event is known; a known id of another device counts too, so that nobody's is overwritten.
pub(crate) async fn known(connection: &mut SqliteConnection, id: EventId) -> sqlx::Result<Option<Known>> {
    let held = sqlx::query_scalar::<_, bool>("SELECT held_from IS NOT NULL FROM event WHERE id = $1")
        .bind(id.as_bytes().as_slice())
        .fetch_optional(connection)
        .await?;
    Ok(held.map(|held| if held { Known::Held } else { Known::Recorded }))
}

/// The event of a device that came last, for what is missing, altered or out of its order (S3).
pub(crate) async fn last(connection: &mut SqliteConnection, device: DeviceId) -> sqlx::Result<Option<Last>> {
    let row = sqlx::query(
        "SELECT place, sequence, digest FROM event WHERE device = $1 ORDER BY place DESC, sequence DESC LIMIT 1",
    )
    .bind(device.as_bytes().as_slice())
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Last {
        place: unsigned(row.try_get("place")?),
        sequence: unsigned(row.try_get("sequence")?),
        digest: optional_digest("digest", row.try_get("digest")?)?,
    }))
}

/// Holds an event until its entry is in the ledger.
pub(crate) async fn hold(write: &mut Write, event: &NewEvent) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO event (id, device, place, sequence, digest, received_s, entry, held_from)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(event.id.as_bytes().as_slice())
    .bind(event.device.as_bytes().as_slice())
    .bind(signed(event.last.place))
    .bind(signed(event.last.sequence))
    .bind(event.last.digest.map(|digest| digest.as_bytes().to_vec()))
    .bind(signed(event.received_s))
    .bind(event.entry.as_bytes().as_slice())
    .bind(signed(event.held_from))
    .execute(&mut **write)
    .await
    .map(drop)
}

/// Its entry is in the ledger.
pub(crate) async fn release(write: &mut Write, id: EventId) -> sqlx::Result<()> {
    sqlx::query("UPDATE event SET held_from = NULL WHERE id = $1")
        .bind(id.as_bytes().as_slice())
        .execute(&mut **write)
        .await
        .map(drop)
}

/// It has no entry: it never was, and its agent sends again.
pub(crate) async fn drop_held(write: &mut Write, id: EventId) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM event WHERE id = $1 AND held_from IS NOT NULL")
        .bind(id.as_bytes().as_slice())
        .execute(&mut **write)
        .await
        .map(drop)
}
