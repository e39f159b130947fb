//! Audiences: the stored keyless view of each group, who was in it when, and its ordered log (K15).

use std::collections::{BTreeMap, BTreeSet};

use policies::terms::{AudienceClass, AudienceId, Cti, DeviceId, Digest};
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection};

use super::stories::Placed;
use super::{Store, Write, batch, bytes, class_of, class_text, corrupt, rejoin, signed, unsigned};
use crate::limits;

/// What is known about an audience without loading its tree.
#[derive(Clone, Debug)]
pub(crate) struct Audience {
    pub(crate) kind: AudienceKind,
    /// Of a device list, its version.
    pub(crate) epoch: u64,
    /// Of a device list, its hash.
    pub(crate) tree_hash: Vec<u8>,
    pub(crate) class: AudienceClass,
    pub(crate) sequence: u64,
    pub(crate) removal_pending: bool,
}

/// What holds an audience together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AudienceKind {
    /// An MLS group: the agents seal.
    Group,
    /// A signed list of devices: an app seals (K17).
    DeviceList,
}

impl AudienceKind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::DeviceList => "device-list",
        }
    }

    fn parse(text: &str) -> sqlx::Result<Self> {
        [Self::Group, Self::DeviceList]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| corrupt("kind"))
    }
}

/// The public state after a change.
#[derive(Clone, Debug)]
pub(crate) struct AudienceState {
    pub(crate) epoch: u64,
    pub(crate) tree_hash: Vec<u8>,
    pub(crate) class: AudienceClass,
    pub(crate) removal_pending: bool,
    /// The serialised `PublicGroup`.
    pub(crate) state: Vec<u8>,
    /// Devices in leaf order, with their leaf.
    pub(crate) members: Vec<(u32, DeviceId)>,
}

/// One item of a group's log, without the ciphertext of a story.
pub(crate) struct LogItem {
    pub(crate) sequence: u64,
    pub(crate) body: LogBody,
}

/// What a log item is.
pub(crate) enum LogBody {
    Commit(Vec<u8>),
    Proposal(Vec<u8>),
    Story(Cti),
    Revoked(Cti),
}

/// Before a state with its digest; a state without one begins with a CBOR array.
const DIGESTED: u8 = 0x01;

/// A group's state as it is stored: openmls panics over a damaged one, so the digest is checked before it reads.
pub(crate) fn digested(state: &[u8]) -> Vec<u8> {
    [&[DIGESTED], Digest::of(state).as_bytes().as_slice(), state].concat()
}

/// Reads what [`digested`] wrote.
pub(crate) fn checked(stored: &[u8]) -> sqlx::Result<Vec<u8>> {
    let state = stored
        .strip_prefix(&[DIGESTED])
        .and_then(|rest| rest.split_first_chunk::<32>())
        .filter(|(digest, state)| Digest::of(state).as_bytes() == *digest)
        .map(|(_, state)| state.to_vec());
    state.ok_or_else(|| corrupt("state"))
}

impl Store {
    pub(crate) async fn audience(&self, id: AudienceId) -> sqlx::Result<Option<Audience>> {
        audience(&mut *self.pool.acquire().await?, id).await
    }

    /// The serialised `PublicGroup`; a device list has none.
    pub(crate) async fn audience_state(&self, id: AudienceId) -> sqlx::Result<Option<Vec<u8>>> {
        sqlx::query_scalar::<_, Vec<u8>>("SELECT state FROM audience WHERE id = $1 AND kind = $2")
            .bind(id.as_bytes().as_slice())
            .bind(AudienceKind::Group.as_str())
            .fetch_optional(&self.pool)
            .await?
            .map(|stored| checked(&stored))
            .transpose()
    }

    /// Gives a digest to states that an earlier version stored without one.
    pub(super) async fn digest_states(&self) -> sqlx::Result<()> {
        let mut write = self.write().await?;
        let rows = sqlx::query_as::<_, (Vec<u8>, Vec<u8>)>("SELECT id, state FROM audience WHERE kind = $1")
            .bind(AudienceKind::Group.as_str())
            .fetch_all(&mut *write)
            .await?;
        for (id, state) in rows {
            if state.first() != Some(&DIGESTED) {
                sqlx::query("UPDATE audience SET state = $2 WHERE id = $1")
                    .bind(id)
                    .bind(digested(&state))
                    .execute(&mut *write)
                    .await?;
            }
        }
        write.commit().await
    }

    /// Devices in the audience, in leaf order.
    pub(crate) async fn members(&self, id: AudienceId) -> sqlx::Result<Vec<DeviceId>> {
        members(&mut *self.pool.acquire().await?, id).await
    }

    pub(crate) async fn is_member(&self, id: AudienceId, device: DeviceId) -> sqlx::Result<bool> {
        is_member(&mut *self.pool.acquire().await?, id, device).await
    }

    /// Audiences that the device is in.
    pub(crate) async fn audiences_of(&self, device: DeviceId) -> sqlx::Result<Vec<AudienceId>> {
        let rows = sqlx::query_scalar::<_, Vec<u8>>(
            "SELECT audience FROM member WHERE device = $1 AND left_at IS NULL ORDER BY audience",
        )
        .bind(device.as_bytes().as_slice())
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|id| Ok(AudienceId::from_bytes(bytes("audience", id)?)))
            .collect()
    }

    /// Per audience of the device, past ones included, where its latest stay begins: its first cursor there.
    pub(crate) async fn stays(&self, device: DeviceId) -> sqlx::Result<Vec<(AudienceId, u64)>> {
        let rows = sqlx::query("SELECT audience, MAX(joined) AS joined FROM member WHERE device = $1 GROUP BY audience ORDER BY audience")
            .bind(device.as_bytes().as_slice())
            .fetch_all(&self.pool)
            .await?;
        rows.iter()
            .map(|row| {
                let id = AudienceId::from_bytes(bytes("audience", row.try_get("audience")?)?);
                Ok((id, unsigned(row.try_get("joined")?)))
            })
            .collect()
    }

    /// Items behind the cursor that fall into a stay of the device.
    pub(crate) async fn log_behind(
        &self,
        id: AudienceId,
        device: DeviceId,
        cursor: u64,
    ) -> sqlx::Result<Vec<LogItem>> {
        let rows = sqlx::query(
            "SELECT l.sequence AS sequence, l.kind AS kind, l.message AS message, l.cti AS cti FROM audience_log l \
             WHERE l.audience = $1 AND l.sequence > $2 AND EXISTS (SELECT 1 FROM member m WHERE m.audience = l.audience \
             AND m.device = $3 AND m.joined < l.sequence AND (m.left_at IS NULL OR l.sequence <= m.left_at)) \
             ORDER BY l.sequence LIMIT $4",
        )
        .bind(id.as_bytes().as_slice())
        .bind(signed(cursor))
        .bind(device.as_bytes().as_slice())
        .bind(limits::SYNC_ITEMS_MAX)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(log_item).collect()
    }

    /// Whether the story stands in the group's log, within a stay of the device.
    pub(crate) async fn may_read(&self, id: AudienceId, device: DeviceId, cti: Cti) -> sqlx::Result<bool> {
        let found = sqlx::query_scalar::<_, i64>(
            "SELECT 1 FROM audience_log l JOIN member m ON m.audience = l.audience WHERE l.cti = $3 AND l.kind = 'story' \
             AND l.audience = $1 AND m.device = $2 AND m.joined < l.sequence AND m.left_at IS NULL LIMIT 1",
        )
        .bind(id.as_bytes().as_slice())
        .bind(device.as_bytes().as_slice())
        .bind(cti.as_bytes().as_slice())
        .fetch_optional(&self.pool)
        .await?;
        Ok(found.is_some())
    }

    /// Forgets commits and proposals that are too old, and notes how far they are forgotten (K16).
    pub(crate) async fn drop_old_handshakes(&self, before_s: u64) -> sqlx::Result<()> {
        let mut write = self.write().await?;
        rejoin::move_horizons(&mut write, before_s).await?;
        sqlx::query("DELETE FROM audience_log WHERE kind IN ('commit', 'proposal', 'revoked') AND at_s < $1")
            .bind(signed(before_s))
            .execute(&mut *write)
            .await?;
        write.commit().await
    }
}

pub(crate) async fn audience(
    connection: &mut SqliteConnection,
    id: AudienceId,
) -> sqlx::Result<Option<Audience>> {
    let sql = format!("SELECT {COLUMNS} FROM audience WHERE id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id.as_bytes().as_slice())
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(parse).transpose()
}

/// Columns of an audience; those that a story has too under names of their own.
pub(super) const COLUMNS: &str =
    "kind, epoch AS audience_epoch, tree_hash, class, sequence AS audience_sequence, removal_pending";

pub(super) fn parse(row: &sqlx::sqlite::SqliteRow) -> sqlx::Result<Audience> {
    Ok(Audience {
        kind: AudienceKind::parse(row.try_get("kind")?)?,
        epoch: unsigned(row.try_get("audience_epoch")?),
        tree_hash: row.try_get("tree_hash")?,
        class: class_of(row.try_get("class")?)?,
        sequence: unsigned(row.try_get("audience_sequence")?),
        removal_pending: row.try_get::<i64, _>("removal_pending")? != 0,
    })
}

pub(crate) async fn members(
    connection: &mut SqliteConnection,
    id: AudienceId,
) -> sqlx::Result<Vec<DeviceId>> {
    let rows = sqlx::query_scalar::<_, Vec<u8>>(
        "SELECT device FROM member WHERE audience = $1 AND left_at IS NULL ORDER BY leaf",
    )
    .bind(id.as_bytes().as_slice())
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|device| Ok(DeviceId::from_bytes(bytes("device", device)?)))
        .collect()
}

/// Audiences by their ids.
pub(crate) async fn by_id(
    connection: &mut SqliteConnection,
    audiences: &BTreeSet<AudienceId>,
) -> sqlx::Result<BTreeMap<AudienceId, Audience>> {
    let sql =
        format!("SELECT id, {COLUMNS} FROM audience WHERE id IN (SELECT unhex(value) FROM json_each($1))");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(batch::ids(audiences.iter().map(AudienceId::as_bytes)))
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            Ok((
                AudienceId::from_bytes(bytes("id", row.try_get("id")?)?),
                parse(row)?,
            ))
        })
        .collect()
}

/// Members of any of these groups: all of them, or those of these devices.
pub(crate) async fn stays_in(
    connection: &mut SqliteConnection,
    audiences: &BTreeSet<AudienceId>,
    devices: Option<&BTreeSet<DeviceId>>,
) -> sqlx::Result<Vec<(AudienceId, DeviceId)>> {
    let rows = sqlx::query(
        "SELECT audience, device FROM member WHERE audience IN (SELECT unhex(value) FROM json_each($1)) \
         AND left_at IS NULL AND ($2 IS NULL OR device IN (SELECT unhex(value) FROM json_each($2)))",
    )
    .bind(batch::ids(audiences.iter().map(AudienceId::as_bytes)))
    .bind(devices.map(|devices| batch::ids(devices.iter().map(DeviceId::as_bytes))))
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok((
                AudienceId::from_bytes(bytes("audience", row.try_get("audience")?)?),
                DeviceId::from_bytes(bytes("device", row.try_get("device")?)?),
            ))
        })
        .collect()
}

pub(crate) async fn is_member(
    connection: &mut SqliteConnection,
    id: AudienceId,
    device: DeviceId,
) -> sqlx::Result<bool> {
    let found = sqlx::query_scalar::<_, i64>(
        "SELECT 1 FROM member WHERE audience = $1 AND device = $2 AND left_at IS NULL",
    )
    .bind(id.as_bytes().as_slice())
    .bind(device.as_bytes().as_slice())
    .fetch_optional(connection)
    .await?;
    Ok(found.is_some())
}

/// Stores a new audience; false when the id is taken.
pub(crate) async fn insert(write: &mut Write, id: AudienceId, state: &AudienceState) -> sqlx::Result<bool> {
    let added = sqlx::query_scalar::<_, i64>(
        "INSERT INTO audience (id, epoch, tree_hash, class, state, sequence, removal_pending) \
         VALUES ($1, $2, $3, $4, $5, 0, 0) ON CONFLICT DO NOTHING RETURNING 1",
    )
    .bind(id.as_bytes().as_slice())
    .bind(signed(state.epoch))
    .bind(state.tree_hash.as_slice())
    .bind(class_text(state.class))
    .bind(digested(&state.state))
    .fetch_optional(&mut **write)
    .await?;
    if added.is_some() {
        set_members(write, id, state, 0).await?;
    }
    Ok(added.is_some())
}

/// Moves an audience on from `from_epoch`; false when another change was first.
pub(crate) async fn advance(
    write: &mut Write,
    id: AudienceId,
    from_epoch: u64,
    state: &AudienceState,
    sequence: u64,
) -> sqlx::Result<bool> {
    let moved = sqlx::query_scalar::<_, i64>(
        "UPDATE audience SET epoch = $3, tree_hash = $4, class = $5, state = $6, removal_pending = $7 \
         WHERE id = $1 AND epoch = $2 RETURNING 1",
    )
    .bind(id.as_bytes().as_slice())
    .bind(signed(from_epoch))
    .bind(signed(state.epoch))
    .bind(state.tree_hash.as_slice())
    .bind(class_text(state.class))
    .bind(digested(&state.state))
    .bind(signed(u64::from(state.removal_pending)))
    .fetch_optional(&mut **write)
    .await?;
    if moved.is_some() {
        set_members(write, id, state, sequence).await?;
    }
    Ok(moved.is_some())
}

/// Ends a device's stay at `sequence`; [`advance`] then begins another, if the device is still in.
pub(crate) async fn end_stay(
    write: &mut Write,
    id: AudienceId,
    device: DeviceId,
    sequence: u64,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE member SET left_at = $3 WHERE audience = $1 AND device = $2 AND left_at IS NULL")
        .bind(id.as_bytes().as_slice())
        .bind(device.as_bytes().as_slice())
        .bind(signed(sequence))
        .execute(&mut **write)
        .await
        .map(drop)
}

/// Ends the stays of those who are gone, begins those of the new, at `sequence`.
async fn set_members(
    write: &mut Write,
    id: AudienceId,
    state: &AudienceState,
    sequence: u64,
) -> sqlx::Result<()> {
    let before = members(write, id).await?;
    for device in before
        .iter()
        .filter(|device| !state.members.iter().any(|(_, member)| member == *device))
    {
        end_stay(write, id, *device, sequence).await?;
    }
    for (leaf, device) in &state.members {
        if before.contains(device) {
            sqlx::query(
                "UPDATE member SET leaf = $3 WHERE audience = $1 AND device = $2 AND left_at IS NULL",
            )
            .bind(id.as_bytes().as_slice())
            .bind(device.as_bytes().as_slice())
            .bind(i64::from(*leaf))
            .execute(&mut **write)
            .await?;
        } else {
            sqlx::query("INSERT INTO member (audience, device, leaf, joined) VALUES ($1, $2, $3, $4)")
                .bind(id.as_bytes().as_slice())
                .bind(device.as_bytes().as_slice())
                .bind(i64::from(*leaf))
                .bind(signed(sequence))
                .execute(&mut **write)
                .await?;
        }
    }
    Ok(())
}

/// Draws the audience's next sequence number: of a group's log, or of a list's stories.
pub(crate) async fn next_sequence(write: &mut Write, id: AudienceId) -> sqlx::Result<u64> {
    Ok(next_place(write, id).await?.1)
}

/// The same, with what the audience is.
pub(crate) async fn next_place(write: &mut Write, id: AudienceId) -> sqlx::Result<(AudienceKind, u64)> {
    next_places(write, id, 1).await
}

/// Draws so many sequence numbers that follow each other: the first one, and what the audience is.
pub(crate) async fn next_places(
    write: &mut Write,
    id: AudienceId,
    count: u64,
) -> sqlx::Result<(AudienceKind, u64)> {
    let row =
        sqlx::query("UPDATE audience SET sequence = sequence + $2 WHERE id = $1 RETURNING kind, sequence")
            .bind(id.as_bytes().as_slice())
            .bind(signed(count))
            .fetch_one(&mut **write)
            .await?;
    let last = unsigned(row.try_get("sequence")?);
    Ok((
        AudienceKind::parse(row.try_get("kind")?)?,
        last.saturating_sub(count).saturating_add(1),
    ))
}

/// Appends stories to their groups' logs under drawn numbers.
pub(crate) async fn append_stories(write: &mut Write, stories: &[&Placed<'_>]) -> sqlx::Result<()> {
    for piece in batch::pieces(stories) {
        let mut insert =
            QueryBuilder::<Sqlite>::new("INSERT INTO audience_log (audience, sequence, kind, at_s, cti) ");
        insert.push_values(piece, |mut row, placed| {
            row.push_bind(placed.story.audience.as_bytes().as_slice())
                .push_bind(signed(placed.sequence))
                .push("'story'")
                .push_bind(signed(placed.story.at_s))
                .push_bind(placed.story.cti.as_bytes().as_slice());
        });
        insert.build().execute(&mut **write).await?;
    }
    Ok(())
}

/// Appends to the group's log under a drawn number.
pub(crate) async fn append_log(
    write: &mut Write,
    id: AudienceId,
    sequence: u64,
    body: &LogBody,
    now_s: u64,
) -> sqlx::Result<()> {
    let (kind, message, cti) = match body {
        LogBody::Commit(message) => ("commit", Some(message.as_slice()), None),
        LogBody::Proposal(message) => ("proposal", Some(message.as_slice()), None),
        LogBody::Story(cti) => ("story", None, Some(cti)),
        LogBody::Revoked(cti) => ("revoked", None, Some(cti)),
    };
    sqlx::query("INSERT INTO audience_log (audience, sequence, kind, at_s, message, cti) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(id.as_bytes().as_slice())
        .bind(signed(sequence))
        .bind(kind)
        .bind(signed(now_s))
        .bind(message)
        .bind(cti.map(|cti| cti.as_bytes().as_slice()))
        .execute(&mut **write)
        .await
        .map(drop)
}

fn log_item(row: &sqlx::sqlite::SqliteRow) -> sqlx::Result<LogItem> {
    let message = || {
        row.try_get::<Option<Vec<u8>>, _>("message")?
            .ok_or_else(|| corrupt("message"))
    };
    let cti = || {
        let cti = row
            .try_get::<Option<Vec<u8>>, _>("cti")?
            .ok_or_else(|| corrupt("cti"))?;
        Ok::<_, sqlx::Error>(Cti::from_bytes(bytes("cti", &cti)?))
    };
    let body = match row.try_get("kind")? {
        "commit" => LogBody::Commit(message()?),
        "proposal" => LogBody::Proposal(message()?),
        "story" => LogBody::Story(cti()?),
        "revoked" => LogBody::Revoked(cti()?),
        _ => return Err(corrupt("kind")),
    };
    Ok(LogItem {
        sequence: unsigned(row.try_get("sequence")?),
        body,
    })
}
