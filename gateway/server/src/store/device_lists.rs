//! Device lists: the audiences of apps that seal by themselves (K17). The version in force stands in the audience's row;
//! the signed lists lie here, earlier versions while a story that can still be delivered names them.

use policies::device_list::{DeviceList, UnverifiedDeviceList};
use policies::terms::{AudienceClass, AudienceId, PersonId};
use sqlx::{Row as _, SqliteConnection};

use super::audiences::AudienceKind;
use super::{Store, Write, bytes, class_of, class_text, corrupt, signed};

/// A list whose signature was verified before it was stored.
#[derive(Clone, Debug)]
pub(crate) struct StoredList {
    pub(crate) list: DeviceList,
    /// The person who defined its first version.
    pub(crate) person: PersonId,
    /// Of the version in force.
    pub(crate) class: AudienceClass,
    pub(crate) signed: Vec<u8>,
}

impl Store {
    /// The version in force.
    pub(crate) async fn device_list(&self, id: AudienceId) -> sqlx::Result<Option<StoredList>> {
        let row = sqlx::query(
            "SELECT l.signed AS signed, l.person AS person, a.class AS class FROM audience a \
             JOIN device_list l ON l.audience = a.id AND l.version = a.epoch WHERE a.id = $1",
        )
        .bind(id.as_bytes().as_slice())
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(parse).transpose()
    }

    /// A version that is still kept.
    pub(crate) async fn device_list_version(
        &self,
        id: AudienceId,
        version: u64,
    ) -> sqlx::Result<Option<StoredList>> {
        version_of(&mut *self.pool.acquire().await?, id, version).await
    }
}

/// A version that is still kept.
pub(crate) async fn version_of(
    connection: &mut SqliteConnection,
    id: AudienceId,
    version: u64,
) -> sqlx::Result<Option<StoredList>> {
    let row = sqlx::query(
        "SELECT l.signed AS signed, l.person AS person, a.class AS class FROM device_list l \
         JOIN audience a ON a.id = l.audience WHERE l.audience = $1 AND l.version = $2",
    )
    .bind(id.as_bytes().as_slice())
    .bind(signed(version))
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(parse).transpose()
}

/// Lists of one person.
pub(crate) async fn count_of(write: &mut Write, person: PersonId) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT COUNT(DISTINCT audience) FROM device_list WHERE person = $1")
        .bind(person.as_bytes().as_slice())
        .fetch_one(&mut **write)
        .await
}

/// Puts a version in force: the first, or the next. The caller has checked which it is.
pub(crate) async fn put(write: &mut Write, stored: &StoredList) -> sqlx::Result<()> {
    let list = &stored.list;
    sqlx::query(
        "INSERT INTO audience (id, kind, epoch, tree_hash, class, state, sequence, removal_pending) \
         VALUES ($1, $2, $3, $4, $5, x'', 0, 0) ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, \
         tree_hash = excluded.tree_hash, class = excluded.class",
    )
    .bind(list.id().as_bytes().as_slice())
    .bind(AudienceKind::DeviceList.as_str())
    .bind(signed(list.version()))
    .bind(list.hash().as_bytes().as_slice())
    .bind(class_text(stored.class))
    .execute(&mut **write)
    .await?;
    sqlx::query("INSERT INTO device_list (audience, version, person, signed) VALUES ($1, $2, $3, $4)")
        .bind(list.id().as_bytes().as_slice())
        .bind(signed(list.version()))
        .bind(stored.person.as_bytes().as_slice())
        .bind(stored.signed.as_slice())
        .execute(&mut **write)
        .await?;
    drop_unused(write, list.id()).await
}

/// Forgets earlier versions that no story needs any more.
async fn drop_unused(write: &mut Write, id: AudienceId) -> sqlx::Result<()> {
    sqlx::query(
        "DELETE FROM device_list WHERE audience = $1 \
         AND version < (SELECT epoch FROM audience WHERE id = $1) \
         AND NOT EXISTS (SELECT 1 FROM story s WHERE s.audience = device_list.audience \
         AND s.epoch = device_list.version AND s.state IN ('held', 'deliverable'))",
    )
    .bind(id.as_bytes().as_slice())
    .execute(&mut **write)
    .await
    .map(drop)
}

fn parse(row: &sqlx::sqlite::SqliteRow) -> sqlx::Result<StoredList> {
    let signed: Vec<u8> = row.try_get("signed")?;
    let list = UnverifiedDeviceList::parse(&signed).map_err(|_| corrupt("signed"))?;
    Ok(StoredList {
        list: list.danger_unverified(),
        person: PersonId::from_bytes(bytes("person", row.try_get("person")?)?),
        class: class_of(row.try_get("class")?)?,
        signed,
    })
}
