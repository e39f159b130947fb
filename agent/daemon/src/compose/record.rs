//! The record of a sealing: durable in the transaction of the MLS state, before a byte leaves (S1);
//! finished by the gateway's answer, also when that answer is asked for after a crash (K13).

use gateway_api::receipt::Acceptance;
use gateway_api::v1::events::{Event, EventKind};
use policies::terms::{AudienceId, Cti, Digest};
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use agent_seal::Manifest;
use anyhow::Context as _;

use super::answer;
use crate::agent::Agent;
use crate::local::frame;
use crate::local::wire::{ActivityEntry, OutboxState, Outcome};
use crate::spool;
use crate::uplink::stories;
use crate::vault::claim::{self, Claim, ClaimId};
use crate::vault::{Connection, journal, outgoing};

/// What is known of a story before its bytes leave.
#[derive(Serialize, Deserialize)]
pub(crate) struct Record {
    pub audience: AudienceId,
    pub envelope: Digest,
    pub clearance: Digest,
    /// Uploaded once the story is answered.
    pub event: Option<Event>,
    /// The claimed file of the outbox that it is; its end is written with the story's (O7).
    #[serde(default)]
    pub claim: Option<ClaimId>,
    /// The journal line; until the answer it says that the story waits.
    pub entry: ActivityEntry,
}

impl Record {
    /// Whether an acceptance is of this story.
    pub(crate) fn is_of(&self, cti: Cti, acceptance: &Acceptance) -> bool {
        acceptance.cti == cti
            && acceptance.group == self.audience
            && acceptance.envelope == self.envelope
            && acceptance.clearance == self.clearance
    }
}

/// How the gateway answered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ending {
    Accepted {
        /// Unix seconds.
        expires_s: u64,
    },
    Refused,
}

/// The value of an outgoing row.
struct Outgoing {
    record: Record,
    /// The draft, to be shared again if it did not arrive.
    draft: Zeroizing<Vec<u8>>,
    manifest: Zeroizing<Vec<u8>>,
}

impl Outgoing {
    fn decode(value: &[u8]) -> anyhow::Result<Self> {
        let ((), parts) = frame::decode::<()>(value)?;
        let [record, draft, manifest]: [_; 3] = parts
            .try_into()
            .map_err(|_| anyhow::anyhow!("a sealed story of the store is damaged"))?;
        let record = serde_json::from_slice(&record).context("a sealed story of the store is damaged")?;
        Ok(Self {
            record,
            draft,
            manifest,
        })
    }
}

/// Keeps the record, the draft and the manifest in the caller's transaction.
///
/// # Errors
/// The store's.
pub(crate) async fn keep(
    agent: &Agent,
    connection: &mut Connection,
    cti: Cti,
    record: &Record,
    draft: &[u8],
    manifest: &[u8],
) -> anyhow::Result<()> {
    let value = frame::encode(&(), &[&serde_json::to_vec(record)?, draft, manifest])?;
    outgoing::insert(connection, &agent.vault.cipher, cti, agent.now_s(), &value).await
}

/// The draft in the value of an outgoing row, and the claimed file that it is.
///
/// # Errors
/// The row is damaged.
pub(crate) fn draft_of(value: &[u8]) -> anyhow::Result<(Zeroizing<Vec<u8>>, Option<ClaimId>)> {
    let outgoing = Outgoing::decode(value)?;
    Ok((outgoing.draft, outgoing.record.claim))
}

/// The record of a story that is not answered yet.
///
/// # Errors
/// The store's.
pub(crate) async fn of(agent: &Agent, cti: Cti) -> anyhow::Result<Option<Record>> {
    let mut connection = agent.vault.connection().await?;
    let value = outgoing::by_cti(&mut connection, &agent.vault.cipher, cti).await?;
    value
        .map(|value| Ok(Outgoing::decode(&value)?.record))
        .transpose()
}

/// Journal lines of the stories that are not answered yet.
///
/// # Errors
/// The store's.
pub(crate) async fn waiting(
    agent: &Agent,
    connection: &mut Connection,
) -> anyhow::Result<Vec<ActivityEntry>> {
    let rows = outgoing::all(connection, &agent.vault.cipher).await?;
    rows.iter()
        .map(|row| Ok(Outgoing::decode(&row.value)?.record.entry))
        .collect()
}

/// One transaction: the event, the journal line that shows it, the author's own copy, and the end
/// of the outgoing row. None if the story was finished before.
///
/// # Errors
/// The store's.
pub(crate) async fn finish(agent: &Agent, cti: Cti, ending: Ending) -> anyhow::Result<Option<ActivityEntry>> {
    let mut transaction = agent.vault.begin().await?;
    let Some(value) = outgoing::by_cti(&mut transaction, &agent.vault.cipher, cti).await? else {
        return Ok(None);
    };
    let Outgoing { record, manifest, .. } = Outgoing::decode(&value)?;
    let Record {
        event,
        claim,
        mut entry,
        ..
    } = record;
    outgoing::remove(&mut transaction, cti).await?;
    let kind = match ending {
        Ending::Accepted { expires_s } => {
            let manifest = Manifest::from_bytes(&manifest)?;
            stories::insert(agent, &mut transaction, &manifest, expires_s, true).await?;
            entry.outcome = Outcome::Shared;
            EventKind::Shared
        }
        Ending::Refused => {
            entry.outcome = Outcome::Refused;
            EventKind::Refused
        }
    };
    if let Some(id) = claim {
        claim::update(&mut transaction, &agent.vault.cipher, id, |claim| {
            ended(claim, kind);
        })
        .await?;
    }
    if let Some(event) = event {
        let event = spool::append_reserved(&mut transaction, &agent.vault, Event { kind, ..event }).await?;
        entry.reported = answer::shown(&event);
    }
    write(agent, &mut transaction, &entry).await?;
    transaction.commit().await?;
    agent.changed();
    agent.events_wait.notify_one();
    Ok(Some(entry))
}

/// What the gateway's answer means for a claimed file.
fn ended(claim: &mut Claim, kind: EventKind) {
    claim.unplaced = true;
    match kind {
        EventKind::Shared => claim.state = OutboxState::Sent,
        EventKind::Refused | EventKind::Blocked => {
            claim.state = OutboxState::Blocked;
            claim.story = None;
            claim.reason = Some("the gateway refused it; see `sealgate-agent activity`\n".to_owned());
        }
    }
}

/// Writes a journal line in the caller's transaction.
///
/// # Errors
/// The store's.
pub(crate) async fn write(
    agent: &Agent,
    connection: &mut Connection,
    entry: &ActivityEntry,
) -> anyhow::Result<()> {
    let mut id = [0; 16];
    rand::rng().fill_bytes(&mut id);
    journal::append(
        connection,
        &agent.vault.cipher,
        id,
        entry.at_s,
        &serde_json::to_vec(entry)?,
    )
    .await
}
