//! External commits that were made durable and not answered yet (M4, M6).

use policies::terms::AudienceId;
use sqlx::Row as _;

use super::cipher::StateCipher;
use super::{Connection, id16};

/// One on its way; the value is the request's JSON.
pub(crate) struct Rejoining {
    pub audience: AudienceId,
    pub request: Vec<u8>,
}

/// All of them, in order of id.
pub(crate) async fn all(connection: &mut Connection, cipher: &StateCipher) -> anyhow::Result<Vec<Rejoining>> {
    let rows = sqlx::query("SELECT audience, value FROM rejoining ORDER BY audience")
        .fetch_all(connection)
        .await?;
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let audience = AudienceId::from_bytes(id16(row.get(0))?);
        let request = cipher
            .open("rejoining", audience.as_bytes(), row.get(1))?
            .to_vec();
        all.push(Rejoining { audience, request });
    }
    Ok(all)
}

/// Keeps one before its bytes leave.
pub(crate) async fn put(
    connection: &mut Connection,
    cipher: &StateCipher,
    rejoining: &Rejoining,
) -> anyhow::Result<()> {
    let key = rejoining.audience.as_bytes();
    let value = cipher.seal("rejoining", key, &rejoining.request)?;
    sqlx::query(
        "INSERT INTO rejoining (audience, value) VALUES ($1, $2)
         ON CONFLICT (audience) DO UPDATE SET value = excluded.value",
    )
    .bind(key.as_slice())
    .bind(value)
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets one that was answered.
pub(crate) async fn remove(connection: &mut Connection, audience: AudienceId) -> anyhow::Result<()> {
    sqlx::query("DELETE FROM rejoining WHERE audience = $1")
        .bind(audience.as_bytes().as_slice())
        .execute(connection)
        .await?;
    Ok(())
}

/// Forgets all: the state that they belong to is gone.
pub(crate) async fn clear(connection: &mut Connection) -> anyhow::Result<()> {
    sqlx::query("DELETE FROM rejoining").execute(connection).await?;
    Ok(())
}
