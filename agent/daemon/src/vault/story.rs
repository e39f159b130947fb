//! Stories that were opened on this device, or posted from it, until they expire.
//!
//! The content is encrypted under the key of its expiry bucket; the row outlives the content only
//! as "expired" or "revoked", so that the feed can say so.

use policies::terms::{AudienceId, Cti};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::{Connection, from_row, id16, to_row};

/// What became of a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoryState {
    /// Can be read.
    Open,
    /// Its time is over.
    Expired,
    /// Its author took it back.
    Revoked,
}

impl StoryState {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// A stored story; `content` is ciphertext.
#[derive(Debug, Clone)]
pub(crate) struct StoryRow {
    pub cti: Cti,
    pub audience: AudienceId,
    pub received_at_s: u64,
    pub expires_at_s: u64,
    pub bucket: u64,
    pub state: StoryState,
    pub own: bool,
    pub content: Option<Vec<u8>>,
}

/// Adds a story; one that is there stays as it is (K15: what was opened is ignored).
pub(crate) async fn insert(connection: &mut Connection, story: &StoryRow) -> anyhow::Result<()> {
    sqlx::query(
        "INSERT INTO story (cti, audience, received_at_s, expires_at_s, bucket, state, own, content)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (cti) DO NOTHING",
    )
    .bind(story.cti.as_bytes().as_slice())
    .bind(story.audience.as_bytes().as_slice())
    .bind(to_row(story.received_at_s))
    .bind(to_row(story.expires_at_s))
    .bind(to_row(story.bucket))
    .bind(story.state.as_str())
    .bind(story.own)
    .bind(story.content.as_deref())
    .execute(connection)
    .await?;
    Ok(())
}

/// All stories, newest last.
pub(crate) async fn all(connection: &mut Connection) -> anyhow::Result<Vec<StoryRow>> {
    let rows = sqlx::query(
        "SELECT cti, audience, received_at_s, expires_at_s, bucket, state, own, content
         FROM story ORDER BY received_at_s, cti",
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(from_sql).collect()
}

/// One story.
pub(crate) async fn by_cti(connection: &mut Connection, cti: Cti) -> anyhow::Result<Option<StoryRow>> {
    let row = sqlx::query(
        "SELECT cti, audience, received_at_s, expires_at_s, bucket, state, own, content
         FROM story WHERE cti = $1",
    )
    .bind(cti.as_bytes().as_slice())
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(from_sql).transpose()
}

/// Takes the content away and says why.
pub(crate) async fn close(connection: &mut Connection, cti: Cti, state: StoryState) -> anyhow::Result<()> {
    sqlx::query("UPDATE story SET state = $2, content = NULL WHERE cti = $1")
        .bind(cti.as_bytes().as_slice())
        .bind(state.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

/// Closes every story whose time is over; how many there were.
pub(crate) async fn expire(connection: &mut Connection, now_s: u64) -> anyhow::Result<u64> {
    let done = sqlx::query(
        "UPDATE story SET state = 'expired', content = NULL WHERE state = 'open' AND expires_at_s <= $1",
    )
    .bind(to_row(now_s))
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Forgets rows that were closed long ago.
pub(crate) async fn forget_before(connection: &mut Connection, before_s: u64) -> anyhow::Result<()> {
    sqlx::query("DELETE FROM story WHERE state <> 'open' AND expires_at_s < $1")
        .bind(to_row(before_s))
        .execute(connection)
        .await?;
    Ok(())
}

/// When the next open story ends.
pub(crate) async fn next_expiry(connection: &mut Connection) -> anyhow::Result<Option<u64>> {
    let row = sqlx::query("SELECT MIN(expires_at_s) FROM story WHERE state = 'open'")
        .fetch_one(connection)
        .await?;
    Ok(row.get::<Option<i64>, _>(0).map(from_row))
}

fn from_sql(row: &SqliteRow) -> anyhow::Result<StoryRow> {
    Ok(StoryRow {
        cti: Cti::from_bytes(id16(row.get(0))?),
        audience: AudienceId::from_bytes(id16(row.get(1))?),
        received_at_s: from_row(row.get(2)),
        expires_at_s: from_row(row.get(3)),
        bucket: from_row(row.get(4)),
        state: match row.get::<&str, _>(5) {
            "open" => StoryState::Open,
            "revoked" => StoryState::Revoked,
            _ => StoryState::Expired,
        },
        own: row.get(6),
        content: row.get(7),
    })
}
