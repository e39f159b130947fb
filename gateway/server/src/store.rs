//! SQL and files. One function per question; nothing else in the crate speaks SQL.
//!
//! SQLite in WAL mode with `synchronous=FULL` (an acknowledged row is on disk), `secure_delete=ON` (freed pages
//! hold nothing, D2) and foreign keys. Writers take `BEGIN IMMEDIATE`, so that two never deadlock.

pub(crate) mod audiences;
mod backup;
mod batch;
pub(crate) mod blobs;
pub(crate) mod bucket_keys;
pub(crate) mod bundles;
pub(crate) mod clock;
pub(crate) mod crash;
pub(crate) mod device_lists;
pub(crate) mod enrollments;
pub(crate) mod events;
pub(crate) mod identity;
pub(crate) mod inbox;
pub(crate) mod key_packages;
pub(crate) mod ledger;
pub(crate) mod logs;
pub(crate) mod objects;
pub(crate) mod people;
pub(crate) mod receipts;
pub(crate) mod rejoin;
pub(crate) mod stories;
pub(crate) mod tokens;
pub(crate) mod warm_ups;

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use policies::terms::{AudienceClass, Digest};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Sqlite, SqliteConnection, Transaction};

use crate::config::files;
use crate::domain::health::Health;

/// Readers beside the one writer that SQLite admits.
const CONNECTIONS: u32 = 8;
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// A database up to this size is read whole at a start, and refused if it is damaged; a larger one would make starts slow,
/// and shows damage when it is used.
const CHECKED_BYTES_MAX: u64 = 64 * 1024 * 1024;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// The database.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pool: SqlitePool,
    /// The write-ahead log may still hold purged pages.
    wal_waits: Arc<AtomicBool>,
    health: Arc<Health>,
}

/// A write in progress; dropped, nothing of it happened.
#[derive(Debug)]
pub(crate) struct Write {
    transaction: Transaction<'static, Sqlite>,
    health: Arc<Health>,
}

impl Store {
    /// Opens the database and brings it to the newest schema.
    pub(crate) async fn open(path: &Path) -> anyhow::Result<Self> {
        if !path.exists() {
            // SQLite gives its side files the mode of the database.
            files::write_new(path, &[])?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .pragma("secure_delete", "ON")
            .pragma("fullfsync", "ON")
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            // A file does not hang up: asking each connection first whether it is there would cost as much as a read.
            .test_before_acquire(false)
            // A commit that the disk let down leaves its connection inside a transaction that SQLite has ended.
            .before_acquire(|connection, _| Box::pin(async { Ok(!connection.is_in_transaction()) }))
            .connect_with(options)
            .await
            .with_context(|| damaged(path))?;
        let store = Self {
            pool,
            wal_waits: Arc::default(),
            health: Arc::default(),
        };
        if std::fs::metadata(path).is_ok_and(|metadata| metadata.len() <= CHECKED_BYTES_MAX) {
            store.check_pages().await.with_context(|| damaged(path))?;
        }
        MIGRATIONS
            .run(&store.pool)
            .await
            .with_context(|| format!("cannot bring `{}` to this version's schema", path.display()))?;
        store
            .digest_states()
            .await
            .context("cannot bring the audiences to this version's form")?;
        Ok(store)
    }

    /// Opens the database for looking at it only.
    pub(crate) async fn open_to_look(path: &Path) -> anyhow::Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await
            .with_context(|| format!("cannot open the database `{}`", path.display()))?;
        Ok(Self {
            pool,
            wal_waits: Arc::default(),
            health: Arc::default(),
        })
    }

    /// Whether every page and index of the file is sound.
    async fn check_pages(&self) -> anyhow::Result<()> {
        let found: String = sqlx::query_scalar("PRAGMA integrity_check(1)")
            .fetch_one(&self.pool)
            .await
            .context("the database cannot be read")?;
        anyhow::ensure!(found == "ok", "the database is damaged: {found}");
        Ok(())
    }

    /// Whether every page and reference is sound, and the schema is one that this version knows.
    pub(crate) async fn check_integrity(&self) -> anyhow::Result<()> {
        self.check_pages().await?;
        let broken = sqlx::query("PRAGMA foreign_key_check")
            .fetch_all(&self.pool)
            .await?;
        anyhow::ensure!(
            broken.is_empty(),
            "{} rows of the database refer to none",
            broken.len()
        );
        let newest: Option<i64> = sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations")
            .fetch_one(&self.pool)
            .await?;
        let known = MIGRATIONS.iter().map(|migration| migration.version).max();
        anyhow::ensure!(
            newest <= known,
            "the database was written by a later version of this program"
        );
        Ok(())
    }

    /// Whether anything may be written; commits that the disk lets down end that.
    pub(crate) fn health(&self) -> &Arc<Health> {
        &self.health
    }

    /// Begins a write.
    pub(crate) async fn write(&self) -> sqlx::Result<Write> {
        let transaction = self.pool.begin_with("BEGIN IMMEDIATE").await;
        Ok(Write {
            transaction: transaction.inspect_err(|error| self.health.note(error))?,
            health: Arc::clone(&self.health),
        })
    }

    /// Empties the write-ahead log, so that purged pages are gone from it too (D2). Readers can prevent that: it is
    /// then tried again by `retry_truncate_wal`.
    pub(crate) async fn truncate_wal(&self) -> sqlx::Result<()> {
        self.wal_waits.store(true, Ordering::Release);
        let (busy, _log, _checkpointed): (i64, i64, i64) = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)")
            .fetch_one(&self.pool)
            .await?;
        if busy == 0 {
            self.wal_waits.store(false, Ordering::Release);
        } else {
            tracing::warn!("the write-ahead log is in use and was not emptied; it is tried again");
        }
        Ok(())
    }

    /// Empties the write-ahead log if an earlier call could not.
    pub(crate) async fn retry_truncate_wal(&self) -> sqlx::Result<()> {
        if self.wal_waits.load(Ordering::Acquire) {
            self.truncate_wal().await
        } else {
            Ok(())
        }
    }

    /// Ends all connections, after the last write.
    pub(crate) async fn close(&self) -> sqlx::Result<()> {
        self.truncate_wal().await?;
        self.pool.close().await;
        Ok(())
    }
}

impl Write {
    /// Makes it durable.
    pub(crate) async fn commit(self) -> sqlx::Result<()> {
        #[cfg(test)]
        if let Some(kind) = *self.health.broken_database.lock().unwrap() {
            let error = sqlx::Error::Io(kind.into());
            self.health.note(&error);
            return Err(error);
        }
        let committed = self.transaction.commit().await;
        committed.inspect_err(|error| self.health.note(error))
    }
}

impl Deref for Write {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.transaction
    }
}

impl DerefMut for Write {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }
}

fn damaged(path: &Path) -> String {
    format!(
        "cannot use the database `{}`; if it is damaged, keep a copy and restore it and the ledger from one backup",
        path.display()
    )
}

/// A column that does not hold what the schema says.
fn corrupt(column: &'static str) -> sqlx::Error {
    sqlx::Error::Decode(format!("column `{column}` does not hold what it should").into())
}

fn bytes<const N: usize>(column: &'static str, value: &[u8]) -> sqlx::Result<[u8; N]> {
    value.try_into().map_err(|_| corrupt(column))
}

fn optional_digest(column: &'static str, value: Option<&[u8]>) -> sqlx::Result<Option<Digest>> {
    value
        .map(|value| bytes(column, value).map(Digest::from_bytes))
        .transpose()
}

/// SQLite integers are signed; ours fit (times, sequences, sizes).
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn class_text(class: AudienceClass) -> &'static str {
    match class {
        AudienceClass::Internal => "internal",
        AudienceClass::Guest => "guest",
    }
}

fn class_of(text: &str) -> sqlx::Result<AudienceClass> {
    match text {
        "internal" => Ok(AudienceClass::Internal),
        "guest" => Ok(AudienceClass::Guest),
        _ => Err(corrupt("class")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// D2: what an earlier attempt left is emptied by the next one.
    #[tokio::test]
    async fn write_ahead_log_that_waits_is_emptied_on_the_next_attempt() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.db");
        let store = Store::open(&path).await.unwrap();
        store.wal_waits.store(true, Ordering::Release);
        store.retry_truncate_wal().await.unwrap();
        assert!(!store.wal_waits.load(Ordering::Acquire));
        assert_eq!(
            std::fs::metadata(folder.path().join("gateway.db-wal"))
                .unwrap()
                .len(),
            0
        );
    }
}
