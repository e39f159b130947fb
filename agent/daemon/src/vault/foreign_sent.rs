//! Stories that apps of this device sent, each under the receipt that was used for it (A10, K13).

use policies::terms::{App, Cti};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use zeroize::Zeroizing;

use super::cipher::StateCipher;
use super::{Connection, id16, to_row};

/// One of them; the value is the caller's encoding.
pub(crate) struct SentRow {
    pub receipt: [u8; 16],
    pub cti: Cti,
    pub app: App,
    pub value: Zeroizing<Vec<u8>>,
}

/// Keeps one before its bytes leave.
pub(crate) async fn insert(
    connection: &mut Connection,
    cipher: &StateCipher,
    row: &SentRow,
    at_s: u64,
) -> anyhow::Result<()> {
    let value = cipher.seal("foreign_sent", &row.receipt, &row.value)?;
    sqlx::query(
        "INSERT INTO foreign_sent (receipt, cti, app, at_s, answered, value) VALUES ($1, $2, $3, $4, 0, $5)",
    )
    .bind(row.receipt.as_slice())
    .bind(row.cti.as_bytes().as_slice())
    .bind(row.app.as_str())
    .bind(to_row(at_s))
    .bind(value)
    .execute(connection)
    .await?;
    Ok(())
}

/// Puts the gateway's answer in the place of what waited for it.
pub(crate) async fn answer(
    connection: &mut Connection,
    cipher: &StateCipher,
    receipt: &[u8; 16],
    value: &[u8],
) -> anyhow::Result<()> {
    let value = cipher.seal("foreign_sent", receipt, value)?;
    sqlx::query("UPDATE foreign_sent SET answered = 1, value = $2 WHERE receipt = $1")
        .bind(receipt.as_slice())
        .bind(value)
        .execute(connection)
        .await?;
    Ok(())
}

/// The one of a receipt.
pub(crate) async fn by_receipt(
    connection: &mut Connection,
    cipher: &StateCipher,
    receipt: &[u8; 16],
) -> anyhow::Result<Option<SentRow>> {
    let row = sqlx::query("SELECT receipt, cti, app, value FROM foreign_sent WHERE receipt = $1")
        .bind(receipt.as_slice())
        .fetch_optional(connection)
        .await?;
    row.map(|row| from_sql(cipher, &row)).transpose()
}

/// Whether an app sent this story.
pub(crate) async fn is_of(connection: &mut Connection, app: &App, cti: Cti) -> anyhow::Result<bool> {
    let row = sqlx::query("SELECT 1 FROM foreign_sent WHERE cti = $1 AND app = $2")
        .bind(cti.as_bytes().as_slice())
        .bind(app.as_str())
        .fetch_optional(connection)
        .await?;
    Ok(row.is_some())
}

/// Those that wait for the gateway's answer, oldest first.
pub(crate) async fn waiting(
    connection: &mut Connection,
    cipher: &StateCipher,
) -> anyhow::Result<Vec<SentRow>> {
    let rows = sqlx::query(
        "SELECT receipt, cti, app, value FROM foreign_sent WHERE answered = 0 ORDER BY at_s, receipt",
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| from_sql(cipher, row)).collect()
}

/// How many wait for an answer: each keeps room for its event.
pub(crate) async fn count_waiting(connection: &mut Connection) -> anyhow::Result<i64> {
    let row = sqlx::query("SELECT COUNT(*) FROM foreign_sent WHERE answered = 0")
        .fetch_one(connection)
        .await?;
    Ok(row.get(0))
}

/// Forgets answers that were given long ago.
pub(crate) async fn forget_before(connection: &mut Connection, before_s: u64) -> anyhow::Result<()> {
    sqlx::query("DELETE FROM foreign_sent WHERE answered = 1 AND at_s < $1")
        .bind(to_row(before_s))
        .execute(connection)
        .await?;
    Ok(())
}

fn from_sql(cipher: &StateCipher, row: &SqliteRow) -> anyhow::Result<SentRow> {
    let receipt = id16(row.get(0))?;
    Ok(SentRow {
        receipt,
        cti: Cti::from_bytes(id16(row.get(1))?),
        app: App::parse(row.get(2))?,
        value: cipher.open("foreign_sent", &receipt, row.get(3))?,
    })
}
