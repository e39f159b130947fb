//! Drafts that wait for the gateway, encrypted; then, without content, what became of them.

use policies::terms::Cti;
use sqlx::Row as _;
use zeroize::Zeroizing;

use super::cipher::StateCipher;
use super::{Connection, from_row, id16, to_row};
use crate::local::wire::PendingState;

/// A kept draft; the value is a local frame.
pub(crate) struct PendingRow {
    pub id: [u8; 16],
    /// Its story, if it was sealed and not answered.
    pub sealed: Option<Cti>,
    pub value: Zeroizing<Vec<u8>>,
}

/// Those that still wait, oldest first.
pub(crate) async fn waiting(
    connection: &mut Connection,
    cipher: &StateCipher,
) -> anyhow::Result<Vec<PendingRow>> {
    let rows = sqlx::query(
        "SELECT id, value, story FROM pending WHERE state = 'kept' AND value IS NOT NULL ORDER BY at_s, id",
    )
    .fetch_all(connection)
    .await?;
    let mut pending = Vec::with_capacity(rows.len());
    for row in rows {
        let id = id16(row.get(0))?;
        let sealed = row
            .get::<Option<&[u8]>, _>(2)
            .map(id16)
            .transpose()?
            .map(Cti::from_bytes);
        pending.push(PendingRow {
            id,
            sealed,
            value: cipher.open("pending", &id, row.get(1))?,
        });
    }
    Ok(pending)
}

/// What became of every kept draft, oldest first.
pub(crate) async fn states(
    connection: &mut Connection,
) -> anyhow::Result<Vec<([u8; 16], PendingState, Option<Cti>)>> {
    let rows = sqlx::query("SELECT id, state, story FROM pending ORDER BY at_s, id")
        .fetch_all(connection)
        .await?;
    let mut states = Vec::with_capacity(rows.len());
    for row in rows {
        let story = row
            .get::<Option<&[u8]>, _>(2)
            .map(id16)
            .transpose()?
            .map(Cti::from_bytes);
        states.push((id16(row.get(0))?, state_of(row.get(1)), story));
    }
    Ok(states)
}

/// One that is held with its content: decided, and not shared.
pub(crate) async fn held(
    connection: &mut Connection,
    cipher: &StateCipher,
    id: [u8; 16],
) -> anyhow::Result<Option<PendingRow>> {
    let row = sqlx::query(
        "SELECT value, story FROM pending
         WHERE id = $1 AND state <> 'kept' AND restorable_until_s IS NULL AND value IS NOT NULL",
    )
    .bind(id.as_slice())
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(PendingRow {
        id,
        sealed: row
            .get::<Option<&[u8]>, _>(1)
            .map(id16)
            .transpose()?
            .map(Cti::from_bytes),
        value: cipher.open("pending", &id, row.get(0))?,
    }))
}

/// Ids of those that are held with their content.
pub(crate) async fn held_ids(connection: &mut Connection) -> anyhow::Result<Vec<[u8; 16]>> {
    let rows = sqlx::query(
        "SELECT id FROM pending WHERE state <> 'kept' AND restorable_until_s IS NULL AND value IS NOT NULL",
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| id16(row.get(0))).collect()
}

/// How many wait, for the gateway or for their author.
pub(crate) async fn count(connection: &mut Connection) -> anyhow::Result<i64> {
    let row =
        sqlx::query("SELECT COUNT(*) FROM pending WHERE value IS NOT NULL AND restorable_until_s IS NULL")
            .fetch_one(connection)
            .await?;
    Ok(row.get(0))
}

/// Keeps one.
pub(crate) async fn insert(
    connection: &mut Connection,
    cipher: &StateCipher,
    id: [u8; 16],
    at_s: u64,
    value: &[u8],
    sealed: Option<Cti>,
) -> anyhow::Result<()> {
    let value = cipher.seal("pending", &id, value)?;
    sqlx::query("INSERT INTO pending (id, at_s, state, value, story) VALUES ($1, $2, 'kept', $3, $4)")
        .bind(id.as_slice())
        .bind(to_row(at_s))
        .bind(value)
        .bind(sealed.as_ref().map(|cti| cti.as_bytes().as_slice()))
        .execute(connection)
        .await?;
    Ok(())
}

/// Notes under which id a kept draft was sealed.
pub(crate) async fn link(connection: &mut Connection, id: [u8; 16], sealed: Cti) -> anyhow::Result<()> {
    sqlx::query("UPDATE pending SET story = $2 WHERE id = $1")
        .bind(id.as_slice())
        .bind(sealed.as_bytes().as_slice())
        .execute(connection)
        .await?;
    Ok(())
}

/// Lets one wait again, with the answers of now.
pub(crate) async fn keep_again(
    connection: &mut Connection,
    cipher: &StateCipher,
    id: [u8; 16],
    value: &[u8],
    sealed: Option<Cti>,
) -> anyhow::Result<()> {
    let value = cipher.seal("pending", &id, value)?;
    sqlx::query("UPDATE pending SET state = 'kept', value = $2, story = $3 WHERE id = $1")
        .bind(id.as_slice())
        .bind(value)
        .bind(sealed.as_ref().map(|cti| cti.as_bytes().as_slice()))
        .execute(connection)
        .await?;
    Ok(())
}

/// After a crash: one that was sealed and not answered waits for the answer.
pub(crate) async fn wait_for(connection: &mut Connection, sealed: Cti) -> anyhow::Result<()> {
    sqlx::query("UPDATE pending SET state = 'kept' WHERE story = $1 AND value IS NOT NULL")
        .bind(sealed.as_bytes().as_slice())
        .execute(connection)
        .await?;
    Ok(())
}

/// Says why one is not shared; its content stays for its author.
pub(crate) async fn hold(
    connection: &mut Connection,
    id: [u8; 16],
    state: PendingState,
) -> anyhow::Result<()> {
    sqlx::query("UPDATE pending SET state = $2, story = NULL WHERE id = $1")
        .bind(id.as_slice())
        .bind(state_text(state))
        .execute(connection)
        .await?;
    Ok(())
}

/// Takes the content away and says what became of it.
pub(crate) async fn decide(
    connection: &mut Connection,
    id: [u8; 16],
    state: PendingState,
    story: Option<Cti>,
) -> anyhow::Result<()> {
    sqlx::query("UPDATE pending SET state = $2, story = $3, value = NULL WHERE id = $1")
        .bind(id.as_slice())
        .bind(state_text(state))
        .bind(story.as_ref().map(|cti| cti.as_bytes().as_slice()))
        .execute(connection)
        .await?;
    Ok(())
}

/// The gateway accepted the story of one: its content goes.
pub(crate) async fn sent(connection: &mut Connection, story: Cti) -> anyhow::Result<()> {
    sqlx::query("UPDATE pending SET state = 'sent', value = NULL WHERE story = $1")
        .bind(story.as_bytes().as_slice())
        .execute(connection)
        .await?;
    Ok(())
}

/// The story of one may have been sent or not, and nobody can tell any more: its author decides.
pub(crate) async fn hold_of(connection: &mut Connection, story: Cti) -> anyhow::Result<()> {
    sqlx::query("UPDATE pending SET state = $2, story = NULL WHERE story = $1 AND state = 'kept'")
        .bind(story.as_bytes().as_slice())
        .bind(state_text(PendingState::Refused))
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether one still waits: neither decided nor discarded.
pub(crate) async fn is_waiting(connection: &mut Connection, id: [u8; 16]) -> anyhow::Result<bool> {
    let row = sqlx::query("SELECT 1 FROM pending WHERE id = $1 AND state = 'kept' AND value IS NOT NULL")
        .bind(id.as_slice())
        .fetch_optional(connection)
        .await?;
    Ok(row.is_some())
}

/// Discards one that was not sealed; false if there is none such. Its content stays until the time
/// given, and its state is remembered, so that its author can take this back.
pub(crate) async fn discard(
    connection: &mut Connection,
    id: [u8; 16],
    restorable_until_s: u64,
) -> anyhow::Result<bool> {
    let done = sqlx::query(
        "UPDATE pending SET state = 'discarded_' || state, restorable_until_s = $2
         WHERE id = $1 AND value IS NOT NULL AND restorable_until_s IS NULL AND story IS NULL",
    )
    .bind(id.as_slice())
    .bind(to_row(restorable_until_s))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Takes a discarding back; false if there is none, or its time is over.
pub(crate) async fn restore(connection: &mut Connection, id: [u8; 16], now_s: u64) -> anyhow::Result<bool> {
    let done = sqlx::query(
        "UPDATE pending SET state = replace(state, 'discarded_', ''), restorable_until_s = NULL
         WHERE id = $1 AND value IS NOT NULL AND restorable_until_s > $2",
    )
    .bind(id.as_slice())
    .bind(to_row(now_s))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Takes the content of those away whose discarding can be taken back no more.
pub(crate) async fn forget_discarded(connection: &mut Connection, now_s: u64) -> anyhow::Result<()> {
    sqlx::query("UPDATE pending SET value = NULL WHERE restorable_until_s <= $1")
        .bind(to_row(now_s))
        .execute(connection)
        .await?;
    Ok(())
}

/// One with its content, as its author is shown it.
pub(crate) struct ShownRow {
    pub id: [u8; 16],
    pub at_s: u64,
    pub restorable_until_s: Option<u64>,
    /// None where it is gone, or too large to be read for a list.
    pub value: Option<Zeroizing<Vec<u8>>>,
}

/// All of them; contents up to a length only.
pub(crate) async fn shown(
    connection: &mut Connection,
    cipher: &StateCipher,
    value_bytes_max: i64,
) -> anyhow::Result<Vec<ShownRow>> {
    let rows = sqlx::query(
        "SELECT id, at_s, restorable_until_s, CASE WHEN length(value) <= $1 THEN value END FROM pending",
    )
    .bind(value_bytes_max)
    .fetch_all(connection)
    .await?;
    let mut shown = Vec::with_capacity(rows.len());
    for row in rows {
        let id = id16(row.get(0))?;
        let value = row.get::<Option<&[u8]>, _>(3);
        shown.push(ShownRow {
            id,
            at_s: from_row(row.get(1)),
            restorable_until_s: row.get::<Option<i64>, _>(2).map(from_row),
            value: value
                .map(|value| cipher.open("pending", &id, value))
                .transpose()?,
        });
    }
    Ok(shown)
}

/// Forgets decided ones that are older than the time given.
pub(crate) async fn forget_before(connection: &mut Connection, before_s: u64) -> anyhow::Result<()> {
    sqlx::query("DELETE FROM pending WHERE state <> 'kept' AND at_s < $1")
        .bind(to_row(before_s))
        .execute(connection)
        .await?;
    Ok(())
}

const fn state_text(state: PendingState) -> &'static str {
    match state {
        PendingState::Kept => "kept",
        PendingState::Sent => "sent",
        PendingState::Blocked => "blocked",
        PendingState::Refused => "refused",
        PendingState::NeedsReason => "needs_reason",
        PendingState::Discarded => "discarded",
    }
}

fn state_of(text: &str) -> PendingState {
    match text {
        "kept" => PendingState::Kept,
        "sent" => PendingState::Sent,
        "needs_reason" => PendingState::NeedsReason,
        "refused" => PendingState::Refused,
        _ if text.starts_with("discarded") => PendingState::Discarded,
        _ => PendingState::Blocked,
    }
}
