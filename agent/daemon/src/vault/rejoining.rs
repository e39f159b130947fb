//! A rejoin on its way (M4, M5, M6): how far it has come, and external commits that were made durable and not answered
//! yet.

use std::collections::BTreeSet;

use policies::terms::AudienceId;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;

use super::cipher::StateCipher;
use super::setting::{self, Setting};
use super::{Connection, id16};

/// Which audiences, and what of the state is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Loss {
    /// The MLS state is gone, damaged or old: it is made anew, and every audience is joined again.
    State,
    /// The state is sound; these audiences' logs no longer reach back to it.
    Behind(BTreeSet<AudienceId>),
}

/// A rejoin that was begun. An agent that dies goes on with it by the same entry: the gateway takes nothing else from
/// this device any more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Begun {
    pub loss: Loss,
    /// Size of the directory log when the gateway was first asked; the same question has the same entry as answer.
    pub asked_at: Option<u64>,
    /// The entry, once this device's state stands under it.
    pub entry: Option<u64>,
    /// Audiences that are still to be joined under the entry.
    pub left: BTreeSet<AudienceId>,
}

impl Begun {
    /// One that nobody was asked for yet.
    pub(crate) const fn of(loss: Loss) -> Self {
        Self {
            loss,
            asked_at: None,
            entry: None,
            left: BTreeSet::new(),
        }
    }
}

/// Notes how far the rejoin has come.
pub(crate) async fn begin(
    connection: &mut Connection,
    cipher: &StateCipher,
    begun: &Begun,
) -> anyhow::Result<()> {
    let value = serde_json::to_vec(begun)?;
    setting::write(connection, cipher, Setting::RejoinBegun, &value).await
}

/// The rejoin that has not come to its end.
pub(crate) async fn begun(
    connection: &mut Connection,
    cipher: &StateCipher,
) -> anyhow::Result<Option<Begun>> {
    let value = setting::read(connection, cipher, Setting::RejoinBegun).await?;
    let value = value.filter(|value| !value.is_empty());
    value.map(|value| Ok(serde_json::from_slice(&value)?)).transpose()
}

/// An audience is joined, or cannot be.
pub(crate) async fn strike(
    connection: &mut Connection,
    cipher: &StateCipher,
    audience: AudienceId,
) -> anyhow::Result<()> {
    let Some(mut begun) = begun(connection, cipher).await? else {
        return Ok(());
    };
    begun.left.remove(&audience);
    begin(connection, cipher, &begun).await
}

/// The rejoin has come to its end.
pub(crate) async fn end(connection: &mut Connection, cipher: &StateCipher) -> anyhow::Result<()> {
    setting::write(connection, cipher, Setting::RejoinBegun, b"").await
}

/// One on its way; the value is the request's JSON.
pub(crate) struct Rejoining {
    pub audience: AudienceId,
    pub request: Vec<u8>,
}

/// All external commits that are on their way, in order of id.
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
