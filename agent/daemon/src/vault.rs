//! The agent's store: one SQLite file (WAL, `synchronous=FULL`, `secure_delete`), every value
//! encrypted per record. All SQL of the agent lives below this module, one function per question.
//!
//! Functions that must happen together take the connection of one transaction:
//!
//! ```text
//! begin ─► mls_record::apply ─► story::insert ─► audience::set_cursor ─► commit ─► bytes leave
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Sqlite, SqliteConnection, Transaction};

use crate::config::paths::Paths;

pub(crate) mod app;
pub(crate) mod audience;
pub(crate) mod cipher;
pub(crate) mod claim;
pub(crate) mod committing;
pub(crate) mod damage;
pub(crate) mod device_list;
pub(crate) mod directory_entry;
pub(crate) mod event;
pub(crate) mod expiry;
pub(crate) mod files;
pub(crate) mod foreign_sent;
pub(crate) mod foreign_story;
pub(crate) mod journal;
pub(crate) mod leaf_key;
pub(crate) mod mark;
pub(crate) mod mls_record;
pub(crate) mod notice;
pub(crate) mod outgoing;
pub(crate) mod pending;
pub(crate) mod rejoining;
pub(crate) mod removal;
pub(crate) mod renewal;
pub(crate) mod setting;
pub(crate) mod spent_receipt;
pub(crate) mod story;

use cipher::StateCipher;
use expiry::ExpiryKeys;

/// The open store.
#[derive(Clone)]
pub(crate) struct Vault {
    pool: SqlitePool,
    /// Encrypts every value of the store.
    pub cipher: Arc<StateCipher>,
    /// Keys of stories, destroyed when the stories expire (D4).
    pub expiry: Arc<ExpiryKeys>,
}

/// A database up to this size is read whole at a start (S9); a larger one would make starts slow, and shows damage when it
/// is used.
const CHECKED_BYTES_MAX: u64 = 64 * 1024 * 1024;
const MEND: &str =
    "\n  help: sealgate-agent rejoin keeps what can be read, and puts a damaged database aside";

impl Vault {
    /// Opens or creates the store of the folder.
    ///
    /// # Errors
    /// The state key, the database file or its migrations cannot be used.
    pub(crate) async fn open(paths: &Paths) -> anyhow::Result<Self> {
        let cipher = Arc::new(StateCipher::load_or_create(&paths.state_key())?);
        let expiry = Arc::new(ExpiryKeys::open(&paths.expiry_keys())?);
        let pool = open_pool(&paths.state()).await?;
        Ok(Self { pool, cipher, expiry })
    }

    /// A connection for a single question.
    pub(crate) async fn connection(&self) -> anyhow::Result<PoolConnection<Sqlite>> {
        self.pool
            .acquire()
            .await
            .context("the state database does not answer")
    }

    /// A transaction that holds the write lock from its start.
    pub(crate) async fn begin(&self) -> anyhow::Result<Transaction<'static, Sqlite>> {
        self.pool
            .begin_with("BEGIN IMMEDIATE")
            .await
            .context("the state database cannot be written: is the disk full?")
    }

    /// Empties the write-ahead log, so that deleted rows are nowhere (D2).
    pub(crate) async fn truncate_log(&self) -> anyhow::Result<()> {
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Whether the file itself is sound, page by page.
    pub(crate) async fn check_integrity(&self) -> anyhow::Result<()> {
        check_pages(&self.pool).await
    }

    /// Closes all connections after their work is done.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

async fn open_pool(file: &Path) -> anyhow::Result<SqlitePool> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(30))
        .pragma("secure_delete", "ON")
        .pragma("fullfsync", "ON")
        .disable_statement_logging();
    let pool = SqlitePoolOptions::new()
        .max_connections(4)
        // A commit that the disk let down leaves its connection inside a transaction that SQLite has ended.
        .before_acquire(|connection, _| Box::pin(async { Ok(!connection.is_in_transaction()) }))
        .connect_with(options)
        .await
        .with_context(|| format!("cannot open `{}`{MEND}", file.display()))?;
    files::restrict(file)?;
    if std::fs::metadata(file).is_ok_and(|metadata| metadata.len() <= CHECKED_BYTES_MAX) {
        check_pages(&pool).await?;
    }
    sqlx::migrate!("./migrations")
        .run(&pool)
        .await
        .context("the state database is of another version")?;
    Ok(pool)
}

async fn check_pages(pool: &SqlitePool) -> anyhow::Result<()> {
    let found = sqlx::query_scalar::<_, String>("PRAGMA integrity_check(1)");
    let found = found.fetch_one(pool).await;
    let damaged = || format!("the state database is damaged{MEND}");
    anyhow::ensure!(found.with_context(damaged)? == "ok", damaged());
    Ok(())
}

/// Whether an error says that the disk is full: SQLite's, or the file system's.
pub(crate) fn is_disk_full(error: &anyhow::Error) -> bool {
    /// SQLITE_FULL
    const FULL: &str = "13";
    error.chain().any(|cause| {
        let of_files = cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::StorageFull);
        let of_store = cause
            .downcast_ref::<sqlx::Error>()
            .and_then(sqlx::Error::as_database_error)
            .and_then(|error| error.code())
            .is_some_and(|code| code == FULL);
        of_files || of_store
    })
}

/// What every query function takes.
pub(crate) type Connection = SqliteConnection;

/// Rows hold signed numbers; times and sequence numbers stay far below 2^63.
pub(crate) fn to_row(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The way back; a negative number in a row reads as 0.
pub(crate) fn from_row(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// An id of 16 bytes from a row.
pub(crate) fn id16(bytes: &[u8]) -> anyhow::Result<[u8; 16]> {
    bytes
        .try_into()
        .context("the state database holds an id of a wrong length")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// O11: a full disk is told from any other failure.
    #[tokio::test]
    async fn a_full_store_is_recognised() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(&Paths::new(folder.path())).await.unwrap();
        let mut connection = vault.connection().await.unwrap();
        sqlx::query("PRAGMA max_page_count = 1")
            .execute(&mut *connection)
            .await
            .unwrap();
        let full = outgoing::insert(
            &mut connection,
            &vault.cipher,
            policies::terms::Cti::from_bytes([1; 16]),
            0,
            &[0; 100_000],
        );
        assert!(is_disk_full(&full.await.unwrap_err()));
        let other = anyhow::Error::from(std::io::Error::from(std::io::ErrorKind::NotFound));
        assert!(!is_disk_full(&other));
        let files = anyhow::Error::from(std::io::Error::from(std::io::ErrorKind::StorageFull));
        assert!(is_disk_full(&files.context("a file cannot be moved")));
    }
}
