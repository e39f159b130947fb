//! Outbox files that were claimed into `processing/`, and what became of them (O7): a crash leaves
//! none behind, posts none twice, and `sealgate-agent outbox` can say where a file went.
//!
//! What is decided about a claimed file is written in the transaction that makes it so: the story's
//! id with the sealed story, the kept draft with its id, the block with its event. Moving the file
//! follows, and is done again after a crash.

use policies::terms::{Cti, Digest};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;

use super::cipher::StateCipher;
use super::{Connection, id16, to_row};
use crate::local::wire::OutboxState;

/// Names a claim.
pub(crate) type ClaimId = [u8; 16];

/// A claimed file. It holds a file name, hence it is stored encrypted.
///
/// Id, content and audience together are the key under which a file is posted at most once.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Claim {
    #[serde(skip)]
    pub id: ClaimId,
    pub name: String,
    pub audience: String,
    pub state: OutboxState,
    /// Its story, from before the sealed bytes leave.
    pub story: Option<Cti>,
    pub reason: Option<String>,
    /// Id of the kept draft while the gateway cannot be reached.
    #[serde(default)]
    pub kept: Option<String>,
    /// SHA-256 of the bytes that were sealed.
    #[serde(default)]
    pub content: Option<Digest>,
    /// Whether it is decided and the file still has to be moved to where it belongs.
    #[serde(default)]
    pub unplaced: bool,
}

/// All claims, oldest first.
pub(crate) async fn all(connection: &mut Connection, cipher: &StateCipher) -> anyhow::Result<Vec<Claim>> {
    let rows = sqlx::query("SELECT id, value FROM claim ORDER BY at_s, id")
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| read(cipher, id16(row.get(0))?, row.get(1)))
        .collect()
}

/// The claim of an id.
pub(crate) async fn by_id(
    connection: &mut Connection,
    cipher: &StateCipher,
    id: ClaimId,
) -> anyhow::Result<Option<Claim>> {
    let row = sqlx::query("SELECT value FROM claim WHERE id = $1")
        .bind(id.as_slice())
        .fetch_optional(connection)
        .await?;
    row.map(|row| read(cipher, id, row.get(0))).transpose()
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

/// Changes a claim in the caller's transaction; one that is gone stays gone.
pub(crate) async fn update(
    connection: &mut Connection,
    cipher: &StateCipher,
    id: ClaimId,
    change: impl FnOnce(&mut Claim),
) -> anyhow::Result<()> {
    let Some(mut claim) = by_id(connection, cipher, id).await? else {
        return Ok(());
    };
    change(&mut claim);
    put(connection, cipher, 0, &claim).await
}

/// Forgets a claim whose file went back to its folder.
pub(crate) async fn remove(connection: &mut Connection, id: ClaimId) -> anyhow::Result<()> {
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

fn read(cipher: &StateCipher, id: ClaimId, value: &[u8]) -> anyhow::Result<Claim> {
    let claim: Claim = serde_json::from_slice(&cipher.open("claim", &id, value)?)?;
    Ok(Claim { id, ..claim })
}
