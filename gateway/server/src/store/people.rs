//! People and directory groups: the one place that knows names and addresses (K28).

use std::collections::{BTreeMap, BTreeSet};

use policies::terms::{GroupName, PersonId};
use sqlx::{Row as _, SqliteConnection};

use super::{Store, bytes, corrupt, signed, unsigned};

/// One person.
pub(crate) struct Person {
    pub(crate) id: PersonId,
    pub(crate) name: String,
    pub(crate) address: Option<String>,
    pub(crate) revoked_s: Option<u64>,
}

impl Store {
    /// Everybody, in order of name.
    pub(crate) async fn people(&self) -> sqlx::Result<Vec<Person>> {
        let rows = sqlx::query("SELECT id, name, address, revoked_s FROM person ORDER BY name")
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(person).collect()
    }

    pub(crate) async fn person_by_name(&self, name: &str) -> sqlx::Result<Option<Person>> {
        let row = sqlx::query("SELECT id, name, address, revoked_s FROM person WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(person).transpose()
    }

    pub(crate) async fn person_by_id(&self, id: PersonId) -> sqlx::Result<Option<Person>> {
        let row = sqlx::query("SELECT id, name, address, revoked_s FROM person WHERE id = $1")
            .bind(id.as_bytes().as_slice())
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(person).transpose()
    }

    /// Every directory group with its living people.
    pub(crate) async fn groups(&self) -> sqlx::Result<BTreeMap<GroupName, BTreeSet<PersonId>>> {
        let rows = sqlx::query(
            "SELECT g.name AS name, p.id AS person FROM directory_group g \
             LEFT JOIN person_group m ON m.name = g.name \
             LEFT JOIN person p ON p.id = m.person AND p.revoked_s IS NULL ORDER BY g.name, p.id",
        )
        .fetch_all(&self.pool)
        .await?;
        let mut groups: BTreeMap<GroupName, BTreeSet<PersonId>> = BTreeMap::new();
        for row in rows {
            let name = GroupName::parse(row.try_get("name")?).map_err(|_| corrupt("name"))?;
            let people = groups.entry(name).or_default();
            if let Some(person) = row.try_get::<Option<Vec<u8>>, _>("person")? {
                people.insert(PersonId::from_bytes(bytes("person", &person)?));
            }
        }
        Ok(groups)
    }
}

/// Adds a person; false when the name is taken.
pub(crate) async fn add(
    connection: &mut SqliteConnection,
    id: PersonId,
    name: &str,
    address: Option<&str>,
    groups: &[GroupName],
    now_s: u64,
) -> sqlx::Result<bool> {
    let added = sqlx::query_scalar::<_, i64>(
        "INSERT INTO person (id, name, address, created_s) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING 1",
    )
    .bind(id.as_bytes().as_slice())
    .bind(name)
    .bind(address)
    .bind(signed(now_s))
    .fetch_optional(&mut *connection)
    .await?;
    if added.is_none() {
        return Ok(false);
    }
    for group in groups {
        sqlx::query("INSERT INTO directory_group (name, created_s) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(group.as_str())
            .bind(signed(now_s))
            .execute(&mut *connection)
            .await?;
        sqlx::query("INSERT INTO person_group (person, name) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(id.as_bytes().as_slice())
            .bind(group.as_str())
            .execute(&mut *connection)
            .await?;
    }
    Ok(true)
}

/// Revokes a person who is not revoked.
pub(crate) async fn revoke(connection: &mut SqliteConnection, id: PersonId, now_s: u64) -> sqlx::Result<()> {
    sqlx::query("UPDATE person SET revoked_s = $2 WHERE id = $1 AND revoked_s IS NULL")
        .bind(id.as_bytes().as_slice())
        .bind(signed(now_s))
        .execute(&mut *connection)
        .await
        .map(drop)
}

/// Makes a directory group; false when it exists.
pub(crate) async fn add_group(
    connection: &mut SqliteConnection,
    name: &GroupName,
    now_s: u64,
) -> sqlx::Result<bool> {
    let added = sqlx::query_scalar::<_, i64>(
        "INSERT INTO directory_group (name, created_s) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING 1",
    )
    .bind(name.as_str())
    .bind(signed(now_s))
    .fetch_optional(&mut *connection)
    .await?;
    Ok(added.is_some())
}

/// Removes a directory group and everybody's place in it; false when there is none.
pub(crate) async fn remove_group(connection: &mut SqliteConnection, name: &GroupName) -> sqlx::Result<bool> {
    let removed = sqlx::query_scalar::<_, i64>("DELETE FROM directory_group WHERE name = $1 RETURNING 1")
        .bind(name.as_str())
        .fetch_optional(&mut *connection)
        .await?;
    Ok(removed.is_some())
}

/// Puts a person into a directory group; false when there is no such group.
pub(crate) async fn join_group(
    connection: &mut SqliteConnection,
    person: PersonId,
    name: &GroupName,
) -> sqlx::Result<bool> {
    let found = sqlx::query_scalar::<_, i64>("SELECT 1 FROM directory_group WHERE name = $1")
        .bind(name.as_str())
        .fetch_optional(&mut *connection)
        .await?;
    if found.is_none() {
        return Ok(false);
    }
    sqlx::query("INSERT INTO person_group (person, name) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(person.as_bytes().as_slice())
        .bind(name.as_str())
        .execute(&mut *connection)
        .await?;
    Ok(true)
}

fn person(row: &sqlx::sqlite::SqliteRow) -> sqlx::Result<Person> {
    Ok(Person {
        id: PersonId::from_bytes(bytes("id", row.try_get("id")?)?),
        name: row.try_get("name")?,
        address: row.try_get("address")?,
        revoked_s: row.try_get::<Option<i64>, _>("revoked_s")?.map(unsigned),
    })
}
