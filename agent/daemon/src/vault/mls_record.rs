//! Records of the MLS state, as `agent-seal` names them.

use std::collections::BTreeMap;

use agent_seal::RecordChange;
use sqlx::Row as _;
use zeroize::Zeroizing;

use super::cipher::StateCipher;
use super::{Connection, mark};

/// Everything, decrypted, for `Member::load`.
pub(crate) async fn all(
    connection: &mut Connection,
    cipher: &StateCipher,
) -> anyhow::Result<BTreeMap<Vec<u8>, Zeroizing<Vec<u8>>>> {
    let rows = sqlx::query("SELECT key, value FROM mls_record ORDER BY key")
        .fetch_all(connection)
        .await?;
    let mut records = BTreeMap::new();
    for row in rows {
        let key: Vec<u8> = row.get(0);
        let value = cipher.open("mls", &key, row.get(1))?;
        records.insert(key, value);
    }
    Ok(records)
}

/// Applies changes in their order; the state's mark rises with them (M7).
pub(crate) async fn apply(
    connection: &mut Connection,
    cipher: &StateCipher,
    changes: Vec<RecordChange>,
) -> anyhow::Result<()> {
    if !changes.is_empty() {
        mark::raise(connection, cipher).await?;
    }
    for change in changes {
        match change.value {
            Some(value) => put(connection, cipher, &change.key, &value).await?,
            None => remove(connection, &change.key).await?,
        }
    }
    Ok(())
}

async fn put(
    connection: &mut Connection,
    cipher: &StateCipher,
    key: &[u8],
    value: &[u8],
) -> anyhow::Result<()> {
    let value = cipher.seal("mls", key, value)?;
    sqlx::query(
        "INSERT INTO mls_record (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )
    .bind(key)
    .bind(value)
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes every record: the state is made anew.
pub(crate) async fn clear(connection: &mut Connection) -> anyhow::Result<()> {
    sqlx::query("DELETE FROM mls_record").execute(connection).await?;
    Ok(())
}

async fn remove(connection: &mut Connection, key: &[u8]) -> anyhow::Result<()> {
    sqlx::query("DELETE FROM mls_record WHERE key = $1")
        .bind(key)
        .execute(connection)
        .await?;
    Ok(())
}
