//! Outbox files that were claimed into `processing/`, and what became of them (O7): a crash leaves
//! none behind, and `sealgate-agent outbox` can say where a file went.

use policies::terms::Cti;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;

use super::cipher::StateCipher;
use super::{Connection, id16, to_row};
use crate::local::wire::OutboxState;

/// A claimed file. It holds a file name, hence it is stored encrypted.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Claim {
    #[serde(skip)]
    pub id: [u8; 16],
    pub name: String,
    pub audience: String,
    pub state: OutboxState,
    pub story: Option<Cti>,
    pub reason: Option<String>,
    /// Id of the kept draft while the gateway cannot be reached.
    #[serde(default)]
    pub kept: Option<String>,
}

/// All claims, oldest first.
pub(crate) async fn all(connection: &mut Connection, cipher: &StateCipher) -> anyhow::Result<Vec<Claim>> {
    let rows = sqlx::query("SELECT id, value FROM claim ORDER BY at_s, id")
        .fetch_all(connection)
        .await?;
    let mut claims = Vec::with_capacity(rows.len());
    for row in rows {
        let id = id16(row.get(0))?;
        let claim: Claim = serde_json::from_slice(&cipher.open("claim", &id, row.get(1))?)?;
        claims.push(Claim { id, ..claim });
    }
    Ok(claims)
}

/// Records a claim before its rename, and each later state.
pub(crate) async fn put(
    connection: &mut Connection,
    cipher: &StateCipher,
    at_s: u64,
    claim: &Claim,
) -> anyhow::Result<()> {
    let value = cipher.seal("claim", &claim.id, &serde_json::to_vec(claim)?)?;
    sqlx::query(
        "INSERT INTO claim (id, at_s, value) VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET value = excluded.value",
    )
    .bind(claim.id.as_slice())
    .bind(to_row(at_s))
    .bind(value)
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets a claim whose file went back to its folder.
pub(crate) async fn remove(connection: &mut Connection, id: [u8; 16]) -> anyhow::Result<()> {
    sqlx::query("DELETE FROM claim WHERE id = $1")
        .bind(id.as_slice())
        .execute(connection)
        .await?;
    Ok(())
}

/// Forgets claims older than the time given.
pub(crate) async fn forget_before(connection: &mut Connection, before_s: u64) -> anyhow::Result<()> {
    sqlx::query("DELETE FROM claim WHERE at_s < $1")
        .bind(to_row(before_s))
        .execute(connection)
        .await?;
    Ok(())
}
