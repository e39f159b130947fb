//! Commits that were made durable and not answered yet (M2, M6).

use gateway_api::v1::groups::Commit;
use policies::terms::AudienceId;
use sqlx::Row as _;

use super::Connection;
use super::cipher::StateCipher;

/// Keeps one before its bytes leave, in the transaction of the state that it is staged in.
pub(crate) async fn put(
    connection: &mut Connection,
    cipher: &StateCipher,
    audience: AudienceId,
    commit: &Commit,
) -> anyhow::Result<()> {
    let key = audience.as_bytes();
    let value = cipher.seal("committing", key, &serde_json::to_vec(commit)?)?;
    sqlx::query(
        "INSERT INTO committing (audience, value) VALUES ($1, $2)
         ON CONFLICT (audience) DO UPDATE SET value = excluded.value",
    )
    .bind(key.as_slice())
    .bind(value)
    .execute(connection)
    .await?;
    Ok(())
}

/// The one of an audience.
pub(crate) async fn of(
    connection: &mut Connection,
    cipher: &StateCipher,
    audience: AudienceId,
) -> anyhow::Result<Option<Commit>> {
    let key = audience.as_bytes();
    let row = sqlx::query("SELECT value FROM committing WHERE audience = $1")
        .bind(key.as_slice())
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let value = cipher.open("committing", key, row.get(0))?;
    Ok(Some(serde_json::from_slice(&value)?))
}

/// Forgets one that was answered.
pub(crate) async fn remove(connection: &mut Connection, audience: AudienceId) -> anyhow::Result<()> {
    sqlx::query("DELETE FROM committing WHERE audience = $1")
        .bind(audience.as_bytes().as_slice())
        .execute(connection)
        .await?;
    Ok(())
}

/// Forgets all: the state that they belong to is gone.
pub(crate) async fn clear(connection: &mut Connection) -> anyhow::Result<()> {
    sqlx::query("DELETE FROM committing").execute(connection).await?;
    Ok(())
}
