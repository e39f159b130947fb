//! What a start needs to know of the end before it: where to look for entries, and which are owed (K12, L4).

use policies::terms::EntryId;
use sqlx::{Row as _, SqliteConnection};

use super::{Store, Write, corrupt, signed, unsigned};
use crate::domain::record::Record;

/// Sizes of the ledger at the last held stories and at the last change that was carried out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mark {
    /// Entries of held stories come no earlier.
    pub(crate) held_from: u64,
    /// Entries of changes that come later had no effect.
    pub(crate) done_from: u64,
    /// Stories that ended by then, Unix seconds, may have been forgotten.
    pub(crate) forgotten_s: u64,
}

/// An entry that the ledger must get.
#[derive(Debug)]
pub(crate) struct Intent {
    pub(crate) record: Record,
    /// It comes no earlier.
    pub(crate) ledger_from: u64,
    /// It is owed once the directory log has an entry here; none: at once.
    pub(crate) directory_index: Option<u64>,
}

impl Store {
    pub(crate) async fn mark(&self) -> sqlx::Result<Option<Mark>> {
        let row = sqlx::query("SELECT held_from, done_from, forgotten_s FROM mark WHERE id = 1")
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| {
            Ok(Mark {
                held_from: unsigned(row.try_get("held_from")?),
                done_from: unsigned(row.try_get("done_from")?),
                forgotten_s: unsigned(row.try_get("forgotten_s")?),
            })
        })
        .transpose()
    }

    /// Entries that are owed, oldest first.
    pub(crate) async fn intents(&self) -> sqlx::Result<Vec<Intent>> {
        let rows = sqlx::query(
            "SELECT ledger_from, directory_index, record FROM intent ORDER BY ledger_from, rowid",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                let record = row.try_get::<&str, _>("record")?;
                Ok(Intent {
                    record: serde_json::from_str(record).map_err(|_| corrupt("record"))?,
                    ledger_from: unsigned(row.try_get("ledger_from")?),
                    directory_index: row.try_get::<Option<i64>, _>("directory_index")?.map(unsigned),
                })
            })
            .collect()
    }

    /// The entry is where it belongs, or is not owed any more.
    pub(crate) async fn settle_intent(&self, entry: EntryId) -> sqlx::Result<()> {
        sqlx::query("DELETE FROM intent WHERE entry = $1")
            .bind(entry.as_bytes().as_slice())
            .execute(&self.pool)
            .await
            .map(drop)
    }
}

/// Notes an entry that the ledger must get, with what it is about or before it.
pub(crate) async fn intend(connection: &mut SqliteConnection, intent: &Intent) -> sqlx::Result<()> {
    let record = serde_json::to_string(&intent.record).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query("INSERT INTO intent (entry, ledger_from, directory_index, record) VALUES ($1, $2, $3, $4)")
        .bind(intent.record.entry.as_bytes().as_slice())
        .bind(signed(intent.ledger_from))
        .bind(intent.directory_index.map(signed))
        .bind(record)
        .execute(connection)
        .await
        .map(drop)
}

/// Stories are being held: whatever was recorded before is none of theirs, and every change before is carried out.
pub(crate) async fn mark_held(write: &mut Write, ledger_size: u64) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO mark (id, held_from, done_from) VALUES (1, $1, $1) \
         ON CONFLICT (id) DO UPDATE SET held_from = $1, done_from = $1",
    )
    .bind(signed(ledger_size))
    .execute(&mut **write)
    .await
    .map(drop)
}

/// A change is being carried out, whose entry is among the first `ledger_size` ones.
pub(crate) async fn mark_done(write: &mut Write, ledger_size: u64) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO mark (id, held_from, done_from) VALUES (1, 0, $1) \
         ON CONFLICT (id) DO UPDATE SET done_from = $1",
    )
    .bind(signed(ledger_size))
    .execute(&mut **write)
    .await
    .map(drop)
}

/// Stories are being forgotten that ended by now; a clock that is set back does not make them alive again (K19).
pub(crate) async fn mark_forgotten(write: &mut Write, now_s: u64) -> sqlx::Result<()> {
    sqlx::query("UPDATE mark SET forgotten_s = MAX(forgotten_s, $1) WHERE id = 1")
        .bind(signed(now_s))
        .execute(&mut **write)
        .await
        .map(drop)
}
