//! Apps that may ask for verdicts (A10), as their owner registered them.

use std::path::PathBuf;

use policies::terms::{App, Digest};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;

use super::cipher::StateCipher;
use super::{Connection, to_row};

/// A registered app. It holds the path of a program, hence it is stored encrypted.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RegisteredApp {
    pub app: App,
    /// The program file that it runs from.
    pub program: PathBuf,
    /// SHA-256 of that file at registration.
    pub program_digest: Digest,
    /// SHA-256 of the credential; the credential itself is the app's alone.
    pub credential_digest: Digest,
    pub registered_at_s: u64,
}

/// All of them, by name.
pub(crate) async fn all(
    connection: &mut Connection,
    cipher: &StateCipher,
) -> anyhow::Result<Vec<RegisteredApp>> {
    let rows = sqlx::query("SELECT id, value FROM app ORDER BY id")
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| read(cipher, row.get(0), row.get(1)))
        .collect()
}

/// The one of a name.
pub(crate) async fn by_id(
    connection: &mut Connection,
    cipher: &StateCipher,
    app: &App,
) -> anyhow::Result<Option<RegisteredApp>> {
    let row = sqlx::query("SELECT value FROM app WHERE id = $1")
        .bind(app.as_str())
        .fetch_optional(connection)
        .await?;
    row.map(|row| read(cipher, app.as_str(), row.get(0))).transpose()
}

/// Registers one, in the place of an earlier registration of its name.
pub(crate) async fn put(
    connection: &mut Connection,
    cipher: &StateCipher,
    registered: &RegisteredApp,
) -> anyhow::Result<()> {
    let id = registered.app.as_str();
    let value = cipher.seal("app", id.as_bytes(), &serde_json::to_vec(registered)?)?;
    sqlx::query(
        "INSERT INTO app (id, at_s, value) VALUES ($1, $2, $3)
         ON CONFLICT (id) DO UPDATE SET at_s = excluded.at_s, value = excluded.value",
    )
    .bind(id)
    .bind(to_row(registered.registered_at_s))
    .bind(value)
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets one; false if there was none.
pub(crate) async fn remove(connection: &mut Connection, app: &App) -> anyhow::Result<bool> {
    let done = sqlx::query("DELETE FROM app WHERE id = $1")
        .bind(app.as_str())
        .execute(connection)
        .await?;
    Ok(done.rows_affected() > 0)
}

fn read(cipher: &StateCipher, id: &str, value: &[u8]) -> anyhow::Result<RegisteredApp> {
    Ok(serde_json::from_slice(&cipher.open(
        "app",
        id.as_bytes(),
        value,
    )?)?)
}
