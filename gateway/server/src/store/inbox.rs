//! One inbox per device: Welcomes, hints, stories of apps that seal by themselves (K15). A cursor acknowledges what lies
//! before it.

use policies::terms::{Cti, DeviceId};
use sqlx::Row as _;

use super::{Store, Write, bytes, signed, unsigned};
use crate::limits;

/// What an inbox item is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InboxEntry {
    /// JSON.
    Body(Vec<u8>),
    /// A story: its ciphertext lies in its own row (D1).
    Story(Cti),
}

impl Store {
    /// Items behind the cursor.
    pub(crate) async fn inbox_behind(
        &self,
        device: DeviceId,
        cursor: u64,
    ) -> sqlx::Result<Vec<(u64, InboxEntry)>> {
        let rows = sqlx::query(
            "SELECT i.sequence AS sequence, COALESCE(s.body, i.body) AS body, i.cti AS cti FROM inbox i \
             LEFT JOIN inbox_shared s ON s.id = i.shared \
             WHERE i.device = $1 AND i.sequence > $2 ORDER BY i.sequence LIMIT $3",
        )
        .bind(device.as_bytes().as_slice())
        .bind(signed(cursor))
        .bind(limits::SYNC_ITEMS_MAX)
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                let entry = match row.try_get::<Option<Vec<u8>>, _>("cti")? {
                    Some(cti) => InboxEntry::Story(Cti::from_bytes(bytes("cti", &cti)?)),
                    None => InboxEntry::Body(row.try_get("body")?),
                };
                Ok((unsigned(row.try_get("sequence")?), entry))
            })
            .collect()
    }

    /// Forgets what the device has durably processed.
    pub(crate) async fn acknowledge_inbox(&self, device: DeviceId, cursor: u64) -> sqlx::Result<()> {
        let found =
            sqlx::query_scalar::<_, i64>("SELECT 1 FROM inbox WHERE device = $1 AND sequence <= $2 LIMIT 1")
                .bind(device.as_bytes().as_slice())
                .bind(signed(cursor))
                .fetch_optional(&self.pool)
                .await?;
        if found.is_none() {
            return Ok(());
        }
        sqlx::query("DELETE FROM inbox WHERE device = $1 AND sequence <= $2")
            .bind(device.as_bytes().as_slice())
            .bind(signed(cursor))
            .execute(&self.pool)
            .await?;
        self.drop_unshared().await
    }

    /// Forgets items that nobody fetched.
    pub(crate) async fn drop_old_inbox(&self, before_s: u64) -> sqlx::Result<()> {
        sqlx::query("DELETE FROM inbox WHERE at_s < $1")
            .bind(signed(before_s))
            .execute(&self.pool)
            .await?;
        self.drop_unshared().await
    }

    /// Bodies that several inboxes share.
    #[cfg(test)]
    pub(crate) async fn shared_bodies(&self) -> sqlx::Result<i64> {
        sqlx::query_scalar("SELECT COUNT(*) FROM inbox_shared")
            .fetch_one(&self.pool)
            .await
    }

    /// Forgets shared bodies that no inbox waits for any more.
    async fn drop_unshared(&self) -> sqlx::Result<()> {
        sqlx::query(
            "DELETE FROM inbox_shared WHERE NOT EXISTS (SELECT 1 FROM inbox WHERE inbox.shared = inbox_shared.id)",
        )
        .execute(&self.pool)
        .await
        .map(drop)
    }
}

/// Puts one body (JSON) into the inboxes of several devices: it is stored once (M10).
pub(crate) async fn put_shared(
    write: &mut Write,
    devices: &[DeviceId],
    body: &[u8],
    now_s: u64,
) -> sqlx::Result<()> {
    let shared = sqlx::query_scalar::<_, i64>("INSERT INTO inbox_shared (body) VALUES ($1) RETURNING id")
        .bind(body)
        .fetch_one(&mut **write)
        .await?;
    for device in devices {
        insert(write, *device, Content::Shared(shared), now_s).await?;
    }
    Ok(())
}

/// Puts a body (JSON) into a device's inbox.
pub(crate) async fn put(write: &mut Write, device: DeviceId, body: &[u8], now_s: u64) -> sqlx::Result<()> {
    insert(write, device, Content::Own(body), now_s).await
}

/// Puts a story into a device's inbox.
pub(crate) async fn put_story(write: &mut Write, device: DeviceId, cti: Cti, now_s: u64) -> sqlx::Result<()> {
    insert(write, device, Content::Story(cti), now_s).await
}

/// Takes a story out of every inbox in which it still lies.
pub(crate) async fn remove_story(write: &mut Write, cti: Cti) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM inbox WHERE cti = $1")
        .bind(cti.as_bytes().as_slice())
        .execute(&mut **write)
        .await
        .map(drop)
}

/// Where an item's content lies.
#[derive(Clone, Copy)]
enum Content<'a> {
    Own(&'a [u8]),
    Shared(i64),
    Story(Cti),
}

async fn insert(write: &mut Write, device: DeviceId, content: Content<'_>, now_s: u64) -> sqlx::Result<()> {
    let sequence = sqlx::query_scalar::<_, i64>(
        "INSERT INTO inbox_end (device, sequence) VALUES ($1, 1) \
         ON CONFLICT (device) DO UPDATE SET sequence = inbox_end.sequence + 1 RETURNING sequence",
    )
    .bind(device.as_bytes().as_slice())
    .fetch_one(&mut **write)
    .await?;
    let (body, shared, cti): (&[u8], _, _) = match content {
        Content::Own(body) => (body, None, None),
        Content::Shared(id) => (&[], Some(id), None),
        Content::Story(cti) => (&[], None, Some(cti)),
    };
    sqlx::query(
        "INSERT INTO inbox (device, sequence, at_s, body, shared, cti) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(device.as_bytes().as_slice())
    .bind(sequence)
    .bind(signed(now_s))
    .bind(body)
    .bind(shared)
    .bind(cti.as_ref().map(|cti| cti.as_bytes().as_slice()))
    .execute(&mut **write)
    .await
    .map(drop)
}
