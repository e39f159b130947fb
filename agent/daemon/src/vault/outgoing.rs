//! Stories that were sealed and not yet answered: after a crash the same bytes are sent again.

use policies::terms::Cti;
use sqlx::Row as _;
use zeroize::Zeroizing;

use super::cipher::StateCipher;
use super::{Connection, id16, to_row};

/// One sealed story; the value is the caller's encoding.
pub(crate) struct OutgoingRow {
    pub cti: Cti,
    pub value: Zeroizing<Vec<u8>>,
}

/// All of them, oldest first.
pub(crate) async fn all(
    connection: &mut Connection,
    cipher: &StateCipher,
) -> anyhow::Result<Vec<OutgoingRow>> {
    let rows = sqlx::query("SELECT cti, value FROM outgoing ORDER BY at_s, cti")
        .fetch_all(connection)
        .await?;
    let mut outgoing = Vec::with_capacity(rows.len());
    for row in rows {
        let cti = Cti::from_bytes(id16(row.get(0))?);
        outgoing.push(OutgoingRow {
            cti,
            value: cipher.open("outgoing", cti.as_bytes(), row.get(1))?,
        });
    }
    Ok(outgoing)
}

/// The value of one.
pub(crate) async fn by_cti(
    connection: &mut Connection,
    cipher: &StateCipher,
    cti: Cti,
) -> anyhow::Result<Option<Zeroizing<Vec<u8>>>> {
    let row = sqlx::query("SELECT value FROM outgoing WHERE cti = $1")
        .bind(cti.as_bytes().as_slice())
        .fetch_optional(connection)
        .await?;
    row.map(|row| cipher.open("outgoing", cti.as_bytes(), row.get(0)))
        .transpose()
}

/// How many there are.
pub(crate) async fn count(connection: &mut Connection) -> anyhow::Result<i64> {
    let row = sqlx::query("SELECT COUNT(*) FROM outgoing")
        .fetch_one(connection)
        .await?;
    Ok(row.get(0))
}

/// Keeps one before its bytes leave (M6).
pub(crate) async fn insert(
    connection: &mut Connection,
    cipher: &StateCipher,
    cti: Cti,
    at_s: u64,
    value: &[u8],
) -> anyhow::Result<()> {
    let value = cipher.seal("outgoing", cti.as_bytes(), value)?;
    sqlx::query("INSERT INTO outgoing (cti, at_s, value) VALUES ($1, $2, $3)")
        .bind(cti.as_bytes().as_slice())
        .bind(to_row(at_s))
        .bind(value)
        .execute(connection)
        .await?;
    Ok(())
}

/// Forgets one that was answered.
pub(crate) async fn remove(connection: &mut Connection, cti: Cti) -> anyhow::Result<()> {
    sqlx::query("DELETE FROM outgoing WHERE cti = $1")
        .bind(cti.as_bytes().as_slice())
        .execute(connection)
        .await?;
    Ok(())
}
