//! Device lists that apps of this device seal for (K17): the newest version that is known here.

use gateway_api::bytes::Bytes;
use policies::terms::{App, AudienceId, PersonId};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::cipher::StateCipher;
use super::{Connection, id16};

/// A list whose signature was verified before it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownList {
    pub id: AudienceId,
    /// The app whose it is.
    pub app: App,
    pub value: ListValue,
}

/// What is encrypted of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListValue {
    /// Who defined it, and alone defines its next version.
    pub person: PersonId,
    pub version: u64,
    pub signed: Bytes,
}

/// The lists of an app.
pub(crate) async fn of_app(
    connection: &mut Connection,
    cipher: &StateCipher,
    app: &App,
) -> anyhow::Result<Vec<KnownList>> {
    let rows = sqlx::query("SELECT id, app, value FROM device_list WHERE app = $1 ORDER BY id")
        .bind(app.as_str())
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| from_sql(cipher, row)).collect()
}

/// One list, whosever it is.
pub(crate) async fn by_id(
    connection: &mut Connection,
    cipher: &StateCipher,
    id: AudienceId,
) -> anyhow::Result<Option<KnownList>> {
    let row = sqlx::query("SELECT id, app, value FROM device_list WHERE id = $1")
        .bind(id.as_bytes().as_slice())
        .fetch_optional(connection)
        .await?;
    row.map(|row| from_sql(cipher, &row)).transpose()
}

/// Keeps a version in the place of an earlier one.
pub(crate) async fn put(
    connection: &mut Connection,
    cipher: &StateCipher,
    list: &KnownList,
) -> anyhow::Result<()> {
    let value = cipher.seal(
        "device_list",
        list.id.as_bytes(),
        &serde_json::to_vec(&list.value)?,
    )?;
    sqlx::query(
        "INSERT INTO device_list (id, app, value) VALUES ($1, $2, $3)
         ON CONFLICT (id) DO UPDATE SET app = excluded.app, value = excluded.value",
    )
    .bind(list.id.as_bytes().as_slice())
    .bind(list.app.as_str())
    .bind(value)
    .execute(connection)
    .await?;
    Ok(())
}

fn from_sql(cipher: &StateCipher, row: &SqliteRow) -> anyhow::Result<KnownList> {
    let id = AudienceId::from_bytes(id16(row.get(0))?);
    Ok(KnownList {
        id,
        app: App::parse(row.get(1))?,
        value: serde_json::from_slice(&cipher.open("device_list", id.as_bytes(), row.get(2))?)?,
    })
}
