//! Audiences that this device is in: name, cursor in the group's log, state.

use policies::terms::AudienceId;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::cipher::StateCipher;
use super::{Connection, from_row, id16, to_row};

/// Where this device stands with an audience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AudienceState {
    /// A member: its log is followed.
    Member,
    /// Left, or removed: nothing comes any more.
    Left,
}

/// A stored audience.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Audience {
    pub id: AudienceId,
    /// Its name, as its creator or a story told it; none is known before the first story.
    pub name: Option<String>,
    /// Last item of its log that was processed.
    pub cursor: u64,
    pub state: AudienceState,
}

/// All audiences, in order of id.
pub(crate) async fn all(connection: &mut Connection, cipher: &StateCipher) -> anyhow::Result<Vec<Audience>> {
    let rows = sqlx::query("SELECT id, cursor, state, value FROM audience ORDER BY id")
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| from_sql(cipher, row)).collect()
}

/// One audience.
pub(crate) async fn by_id(
    connection: &mut Connection,
    cipher: &StateCipher,
    id: AudienceId,
) -> anyhow::Result<Option<Audience>> {
    let row = sqlx::query("SELECT id, cursor, state, value FROM audience WHERE id = $1")
        .bind(id.as_bytes().as_slice())
        .fetch_optional(connection)
        .await?;
    row.map(|row| from_sql(cipher, &row)).transpose()
}

/// Inserts or replaces an audience.
pub(crate) async fn put(
    connection: &mut Connection,
    cipher: &StateCipher,
    audience: &Audience,
) -> anyhow::Result<()> {
    let name = audience.name.as_deref().unwrap_or_default();
    let value = cipher.seal("audience", audience.id.as_bytes(), name.as_bytes())?;
    sqlx::query(
        "INSERT INTO audience (id, cursor, state, value) VALUES ($1, $2, $3, $4)
         ON CONFLICT (id) DO UPDATE SET cursor = excluded.cursor, state = excluded.state, value = excluded.value",
    )
    .bind(audience.id.as_bytes().as_slice())
    .bind(to_row(audience.cursor))
    .bind(state_text(audience.state))
    .bind(value)
    .execute(connection)
    .await?;
    Ok(())
}

/// Moves the cursor.
pub(crate) async fn set_cursor(
    connection: &mut Connection,
    id: AudienceId,
    cursor: u64,
) -> anyhow::Result<()> {
    sqlx::query("UPDATE audience SET cursor = $2 WHERE id = $1")
        .bind(id.as_bytes().as_slice())
        .bind(to_row(cursor))
        .execute(connection)
        .await?;
    Ok(())
}

/// Moves the state.
pub(crate) async fn set_state(
    connection: &mut Connection,
    id: AudienceId,
    state: AudienceState,
) -> anyhow::Result<()> {
    sqlx::query("UPDATE audience SET state = $2 WHERE id = $1")
        .bind(id.as_bytes().as_slice())
        .bind(state_text(state))
        .execute(connection)
        .await?;
    Ok(())
}

/// Forgets one that never came to be.
pub(crate) async fn remove(connection: &mut Connection, id: AudienceId) -> anyhow::Result<()> {
    sqlx::query("DELETE FROM audience WHERE id = $1")
        .bind(id.as_bytes().as_slice())
        .execute(connection)
        .await?;
    Ok(())
}

/// Every audience counts as left until it is joined again; names stay.
pub(crate) async fn leave_all(connection: &mut Connection) -> anyhow::Result<()> {
    sqlx::query("UPDATE audience SET state = $1")
        .bind(state_text(AudienceState::Left))
        .execute(connection)
        .await?;
    Ok(())
}

const fn state_text(state: AudienceState) -> &'static str {
    match state {
        AudienceState::Member => "member",
        AudienceState::Left => "left",
    }
}

fn from_sql(cipher: &StateCipher, row: &SqliteRow) -> anyhow::Result<Audience> {
    let id = AudienceId::from_bytes(id16(row.get(0))?);
    let name = cipher.open("audience", id.as_bytes(), row.get(3))?;
    let name = String::from_utf8(name.to_vec())?;
    let state = match row.get::<&str, _>(2) {
        "member" => AudienceState::Member,
        _ => AudienceState::Left,
    };
    let name = if name.is_empty() { None } else { Some(name) };
    Ok(Audience {
        id,
        name,
        cursor: from_row(row.get(1)),
        state,
    })
}
