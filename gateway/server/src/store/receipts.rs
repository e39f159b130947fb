//! What receipts of deletion count (D3).

use std::collections::BTreeSet;

use policies::terms::EntryId;
use sqlx::{Row as _, SqliteConnection};

use super::{Store, bytes, signed, unsigned};

/// Stories of a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Accepted within it.
    pub(crate) accepted: u64,
    /// Whose life ended within it, taken back before or not.
    pub(crate) ended: u64,
    /// Of these, how many have no key and no ciphertext any more.
    pub(crate) shredded: u64,
    /// Blobs whose life ended by its end and that are still there.
    pub(crate) blobs_left: u64,
}

impl Store {
    /// The end of the last hour that has a receipt.
    pub(crate) async fn last_receipt_s(&self) -> sqlx::Result<Option<u64>> {
        let last = sqlx::query_scalar::<_, Option<i64>>("SELECT MAX(end_s) FROM deletion_receipt");
        Ok(last.fetch_one(&self.pool).await?.map(unsigned))
    }

    /// Whether a receipt that was made after `since_s` found something that should have been gone.
    pub(crate) async fn is_deletion_wrong(&self, since_s: u64) -> sqlx::Result<bool> {
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM deletion_receipt WHERE end_s > $1 AND wrong > 0)")
            .bind(signed(since_s))
            .fetch_one(&self.pool)
            .await
    }

    /// Counts the stretch from `from_s` on, before `end_s`.
    pub(crate) async fn count_deletion(&self, from_s: u64, end_s: u64) -> sqlx::Result<Counted> {
        let sql = "SELECT \
            (SELECT COUNT(*) FROM story WHERE state <> 'held' AND at_s >= $1 AND at_s < $2) AS accepted, \
            (SELECT COUNT(*) FROM story WHERE state <> 'held' AND expires_s >= $1 AND expires_s < $2) AS ended, \
            (SELECT COUNT(*) FROM story WHERE state <> 'held' AND expires_s >= $1 AND expires_s < $2 \
               AND wrapped_key IS NULL AND envelope IS NULL AND clearance IS NULL) AS shredded, \
            (SELECT COUNT(*) FROM blob WHERE expires_s < $2) AS blobs_left";
        let row = sqlx::query(sql)
            .bind(signed(from_s))
            .bind(signed(end_s))
            .fetch_one(&self.pool)
            .await?;
        let count = |name: &str| row.try_get::<i64, _>(name).map(unsigned);
        Ok(Counted {
            accepted: count("accepted")?,
            ended: count("ended")?,
            shredded: count("shredded")?,
            blobs_left: count("blobs_left")?,
        })
    }

    /// Entries of the stories accepted from `from_s` on, before `end_s`.
    pub(crate) async fn accepted_entries(&self, from_s: u64, end_s: u64) -> sqlx::Result<BTreeSet<EntryId>> {
        let sql = "SELECT entry FROM story WHERE state <> 'held' AND at_s >= $1 AND at_s < $2";
        let entries = sqlx::query_scalar::<_, Vec<u8>>(sql)
            .bind(signed(from_s))
            .bind(signed(end_s))
            .fetch_all(&self.pool)
            .await?;
        entries
            .iter()
            .map(|entry| bytes("entry", entry).map(EntryId::from_bytes))
            .collect()
    }
}

/// Forgets that hours which end after `now_s` have a receipt.
pub(crate) async fn forget_after(connection: &mut SqliteConnection, now_s: u64) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM deletion_receipt WHERE end_s > $1")
        .bind(signed(now_s))
        .execute(connection)
        .await
        .map(drop)
}

/// Notes that the hour that ends at `end_s` has its receipt, and how much of it was wrong.
pub(crate) async fn put(connection: &mut SqliteConnection, end_s: u64, wrong: u64) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO deletion_receipt (end_s, wrong) VALUES ($1, $2)")
        .bind(signed(end_s))
        .bind(signed(wrong))
        .execute(connection)
        .await
        .map(drop)
}
