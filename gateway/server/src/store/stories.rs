//! Stories: held, deliverable, then expired or revoked (K12). Ciphertext leaves the row with its key; the row stays
//! until the id may be forgotten (C1).

use std::collections::{BTreeMap, BTreeSet};

use policies::terms::{AudienceId, Cti, DeviceId, Digest, EntryId};
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection};

use super::audiences::{self, Audience, AudienceKind};
use super::{Store, Write, batch, bytes, corrupt, crash, inbox, signed, unsigned};

/// Where a story stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoryState {
    Held,
    Deliverable,
    Expired,
    Revoked,
}

impl StoryState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Deliverable => "deliverable",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }

    fn parse(text: &str) -> sqlx::Result<Self> {
        [Self::Held, Self::Deliverable, Self::Expired, Self::Revoked]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| corrupt("state"))
    }
}

/// A story's row without its ciphertext.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) cti: Cti,
    pub(crate) device: DeviceId,
    pub(crate) audience: AudienceId,
    /// Of a device list, its version.
    pub(crate) epoch: u64,
    pub(crate) state: StoryState,
    pub(crate) envelope_digest: Digest,
    pub(crate) clearance_digest: Digest,
    pub(crate) entry: EntryId,
    pub(crate) at_s: u64,
    pub(crate) expires_s: u64,
    pub(crate) forget_s: u64,
    pub(crate) acceptance: Option<Vec<u8>>,
    pub(crate) envelope_bytes: u64,
}

/// Ciphertext of a story, encrypted at rest.
#[derive(Clone)]
pub(crate) struct StoredStory {
    pub(crate) wrapped_key: Vec<u8>,
    pub(crate) envelope: Vec<u8>,
    pub(crate) clearance: Vec<u8>,
}

const COLUMNS: &str = "cti, device, audience, epoch, state, envelope_digest, clearance_digest, entry, at_s, expires_s, \
                       forget_s, acceptance, COALESCE(LENGTH(envelope), 0) AS envelope_bytes";

/// What the door asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) cti: Cti,
    pub(crate) audience: AudienceId,
    pub(crate) device: DeviceId,
}

/// What the door has to know of a story and of where it goes.
pub(crate) struct AtDoor {
    /// The row that has spent its id.
    pub(crate) known: Option<Story>,
    pub(crate) audience: Option<Audience>,
    /// Whether the device is in the group.
    pub(crate) is_member: bool,
}

/// A held story with its place and receipt.
pub(crate) struct Placed<'a> {
    pub(crate) story: &'a Story,
    pub(crate) kind: AudienceKind,
    pub(crate) sequence: u64,
    pub(crate) acceptance: Vec<u8>,
}

impl Store {
    /// Answers in the order of the questions.
    pub(crate) async fn at_door(&self, questions: &[Question]) -> sqlx::Result<Vec<AtDoor>> {
        let ctis = questions.iter().map(|asked| asked.cti).collect();
        let ids = questions.iter().map(|asked| asked.audience).collect();
        let devices = questions.iter().map(|asked| asked.device).collect();
        let mut connection = self.pool.acquire().await?;
        let known = known(&mut connection, &ctis).await?;
        let audiences = audiences::by_id(&mut connection, &ids).await?;
        let members = audiences::stays_in(&mut connection, &ids, Some(&devices)).await?;
        let members: BTreeSet<_> = members.into_iter().collect();
        let answer = |asked: &Question| AtDoor {
            known: known.get(&asked.cti).cloned(),
            audience: audiences.get(&asked.audience).cloned(),
            is_member: members.contains(&(asked.audience, asked.device)),
        };
        Ok(questions.iter().map(answer).collect())
    }

    pub(crate) async fn story(&self, cti: Cti) -> sqlx::Result<Option<Story>> {
        story(&mut *self.pool.acquire().await?, cti).await
    }

    /// The ciphertext of a deliverable story.
    pub(crate) async fn story_ciphertext(&self, cti: Cti) -> sqlx::Result<Option<(Story, StoredStory)>> {
        let sql = format!(
            "SELECT {COLUMNS}, wrapped_key, envelope, clearance FROM story WHERE cti = $1 AND state = 'deliverable'"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(cti.as_bytes().as_slice())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| {
            let stored = StoredStory {
                wrapped_key: row
                    .try_get::<Option<_>, _>("wrapped_key")?
                    .ok_or_else(|| corrupt("wrapped_key"))?,
                envelope: row
                    .try_get::<Option<_>, _>("envelope")?
                    .ok_or_else(|| corrupt("envelope"))?,
                clearance: row
                    .try_get::<Option<_>, _>("clearance")?
                    .ok_or_else(|| corrupt("clearance"))?,
            };
            Ok((parse(&row)?, stored))
        })
        .transpose()
    }

    /// Stories that a crash left between the two transactions (K12).
    pub(crate) async fn held_stories(&self) -> sqlx::Result<Vec<Story>> {
        let sql = format!("SELECT {COLUMNS} FROM story WHERE state = 'held' ORDER BY at_s, cti");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(parse).collect()
    }

    /// Stories whose bucket has ended but whose ciphertext is still there.
    pub(crate) async fn ended_stories(&self, now_s: u64) -> sqlx::Result<Vec<Story>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM story WHERE state = 'deliverable' AND expires_s <= $1 ORDER BY expires_s, cti"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(signed(now_s))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(parse).collect()
    }

    /// When the first of the deliverable stories ends, Unix seconds.
    pub(crate) async fn oldest_end(&self) -> sqlx::Result<Option<u64>> {
        let row = sqlx::query("SELECT MIN(expires_s) AS expires_s FROM story WHERE state = 'deliverable'")
            .fetch_one(&self.pool)
            .await?;
        let expires_s: Option<i64> = row.try_get("expires_s")?;
        Ok(expires_s.and_then(|expires_s| u64::try_from(expires_s).ok()))
    }

    /// Forgets ids that may be drawn again (C1).
    pub(crate) async fn forget_stories(&self, now_s: u64) -> sqlx::Result<()> {
        let mut write = self.write().await?;
        let forgotten = sqlx::query("DELETE FROM story WHERE state IN ('expired', 'revoked') AND forget_s <= $1 AND NOT EXISTS (SELECT 1 FROM blob b WHERE b.cti = story.cti)")
            .bind(signed(now_s))
            .execute(&mut *write)
            .await?;
        if forgotten.rows_affected() == 0 {
            return Ok(());
        }
        crash::mark_forgotten(&mut write, now_s).await?;
        write.commit().await
    }
}

pub(crate) async fn story(connection: &mut SqliteConnection, cti: Cti) -> sqlx::Result<Option<Story>> {
    let sql = format!("SELECT {COLUMNS} FROM story WHERE cti = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(cti.as_bytes().as_slice())
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(parse).transpose()
}

/// The rows that have spent these ids.
pub(crate) async fn known(
    connection: &mut SqliteConnection,
    ctis: &BTreeSet<Cti>,
) -> sqlx::Result<BTreeMap<Cti, Story>> {
    let sql = format!("SELECT {COLUMNS} FROM story WHERE cti IN (SELECT unhex(value) FROM json_each($1))");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(batch::ids(ctis.iter().map(Cti::as_bytes)))
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| parse(row).map(|story| (story.cti, story)))
        .collect()
}

/// First transaction of K12: the rows, held, with their ciphertext.
pub(crate) async fn hold(write: &mut Write, stories: &[(&Story, &StoredStory)]) -> sqlx::Result<()> {
    for piece in batch::pieces(stories) {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO story (cti, device, audience, epoch, state, envelope_digest, clearance_digest, entry, \
             at_s, expires_s, forget_s, wrapped_key, envelope, clearance) ",
        );
        insert.push_values(piece, |mut row, (story, stored)| {
            row.push_bind(story.cti.as_bytes().as_slice())
                .push_bind(story.device.as_bytes().as_slice())
                .push_bind(story.audience.as_bytes().as_slice())
                .push_bind(signed(story.epoch))
                .push("'held'")
                .push_bind(story.envelope_digest.as_bytes().as_slice())
                .push_bind(story.clearance_digest.as_bytes().as_slice())
                .push_bind(story.entry.as_bytes().as_slice())
                .push_bind(signed(story.at_s))
                .push_bind(signed(story.expires_s))
                .push_bind(signed(story.forget_s))
                .push_bind(stored.wrapped_key.as_slice())
                .push_bind(stored.envelope.as_slice())
                .push_bind(stored.clearance.as_slice());
        });
        insert.build().execute(&mut **write).await?;
    }
    Ok(())
}

/// Second transaction of K12: the rows become deliverable, with their places and receipts.
pub(crate) async fn release(write: &mut Write, stories: &[Placed<'_>]) -> sqlx::Result<()> {
    for piece in batch::pieces(stories) {
        let mut update = QueryBuilder::<Sqlite>::new("WITH placed (cti, sequence, acceptance) AS (");
        update.push_values(piece, |mut row, placed| {
            row.push_bind(placed.story.cti.as_bytes().as_slice())
                .push_bind(signed(placed.sequence))
                .push_bind(placed.acceptance.as_slice());
        });
        update.push(
            ") UPDATE story SET state = 'deliverable', sequence = placed.sequence, acceptance = placed.acceptance \
             FROM placed WHERE story.cti = placed.cti AND story.state = 'held'",
        );
        update.build().execute(&mut **write).await?;
    }
    Ok(())
}

/// Recovery of a held row without a ledger entry: it never was (K12).
pub(crate) async fn drop_held(write: &mut Write, cti: Cti) -> sqlx::Result<()> {
    sqlx::query("UPDATE blob SET cti = NULL WHERE cti = $1")
        .bind(cti.as_bytes().as_slice())
        .execute(&mut **write)
        .await?;
    sqlx::query("DELETE FROM story WHERE cti = $1 AND state = 'held'")
        .bind(cti.as_bytes().as_slice())
        .execute(&mut **write)
        .await
        .map(drop)
}

/// Takes ciphertext and wrapped key out of the row, and the story out of its group's log or its readers' inboxes (K18, D5).
pub(crate) async fn shred(write: &mut Write, cti: Cti, into: StoryState) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE story SET state = $2, wrapped_key = NULL, envelope = NULL, clearance = NULL WHERE cti = $1",
    )
    .bind(cti.as_bytes().as_slice())
    .bind(into.as_str())
    .execute(&mut **write)
    .await?;
    sqlx::query("DELETE FROM audience_log WHERE cti = $1 AND kind = 'story'")
        .bind(cti.as_bytes().as_slice())
        .execute(&mut **write)
        .await?;
    inbox::remove_story(write, cti).await
}

fn parse(row: &sqlx::sqlite::SqliteRow) -> sqlx::Result<Story> {
    Ok(Story {
        cti: Cti::from_bytes(bytes("cti", row.try_get("cti")?)?),
        device: DeviceId::from_bytes(bytes("device", row.try_get("device")?)?),
        audience: AudienceId::from_bytes(bytes("audience", row.try_get("audience")?)?),
        epoch: unsigned(row.try_get("epoch")?),
        state: StoryState::parse(row.try_get("state")?)?,
        envelope_digest: Digest::from_bytes(bytes("envelope_digest", row.try_get("envelope_digest")?)?),
        clearance_digest: Digest::from_bytes(bytes("clearance_digest", row.try_get("clearance_digest")?)?),
        entry: EntryId::from_bytes(bytes("entry", row.try_get("entry")?)?),
        at_s: unsigned(row.try_get("at_s")?),
        expires_s: unsigned(row.try_get("expires_s")?),
        forget_s: unsigned(row.try_get("forget_s")?),
        acceptance: row.try_get("acceptance")?,
        envelope_bytes: unsigned(row.try_get("envelope_bytes")?),
    })
}
