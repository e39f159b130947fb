//! The database as a backup holds it: nothing of a story, nothing that could be used twice, and numbers so far ahead that
//! no device takes what comes for something that it has seen.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{ConnectOptions as _, Connection as _};

use super::Store;

/// What lies ahead of every number that was given between a backup and its restore.
const AHEAD: i64 = 1_000_000_000;

/// In order.
const STATEMENTS: &[&str] = &[
    // D6, K18: no story comes back. Its id stays spent (C1), its receipt stays (K13).
    "DELETE FROM blob",
    "DELETE FROM inbox WHERE cti IS NOT NULL",
    "DELETE FROM story WHERE state = 'held'",
    "UPDATE story SET state = 'expired' WHERE state = 'deliverable'",
    "UPDATE story SET wrapped_key = NULL, envelope = NULL, clearance = NULL",
    // Members have gone on from the group states that are here: every device is behind, and joins again (M5).
    "DELETE FROM audience_log",
    "UPDATE audience SET sequence = sequence + $1",
    "INSERT INTO audience_horizon (audience, sequence) SELECT id, sequence FROM audience WHERE true \
     ON CONFLICT (audience) DO UPDATE SET sequence = excluded.sequence",
    "DELETE FROM warm_up",
    "UPDATE inbox_end SET sequence = sequence + $1",
    "INSERT OR IGNORE INTO inbox_end (device, sequence) SELECT DISTINCT device, $1 FROM member",
    "INSERT OR IGNORE INTO inbox_end (device, sequence) SELECT device, $1 FROM policy_ack",
    // What is used once may have been used since: tokens (E1), key packages.
    "UPDATE token SET revoked_s = created_s WHERE used_s IS NULL AND revoked_s IS NULL",
    "DELETE FROM key_package",
    // Another machine has other clocks.
    "DELETE FROM clock",
];

impl Store {
    /// Copies the database into a file that does not exist, as it is at one moment, without any story.
    pub(crate) async fn copy_without_stories(&self, to: &Path) -> anyhow::Result<()> {
        let name = to.to_str().context("the backup's path is no text")?;
        sqlx::query("VACUUM INTO $1")
            .bind(name)
            .execute(&self.pool)
            .await
            .context("cannot copy the database")?;
        std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o600))?;
        let mut copy = SqliteConnectOptions::new()
            .filename(to)
            .journal_mode(SqliteJournalMode::Memory)
            .pragma("secure_delete", "ON")
            .disable_statement_logging()
            .connect()
            .await?;
        for statement in STATEMENTS {
            let query = sqlx::query(*statement);
            let query = if statement.contains("$1") {
                query.bind(AHEAD)
            } else {
                query
            };
            query
                .execute(&mut copy)
                .await
                .with_context(|| format!("cannot strip the copy of the database: `{statement}`"))?;
        }
        sqlx::query("VACUUM").execute(&mut copy).await?;
        copy.close().await?;
        std::fs::File::open(to)?.sync_all()?;
        Ok(())
    }
}
