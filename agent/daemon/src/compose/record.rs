//! The record of a sealing: durable in the transaction of the MLS state, before a byte leaves (S1);
//! finished by the gateway's answer, also when that answer is asked for after a crash (K13).

use std::collections::BTreeSet;

use gateway_api::receipt::Acceptance;
use gateway_api::v1::events::{Event, EventKind};
use policies::terms::{AudienceId, Cti, Digest};
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use agent_seal::{Cleared, Manifest};
use anyhow::Context as _;

use super::answer;
use crate::agent::Agent;
use crate::limits::{STORY_KNOWN_S, STORY_TTL_S};
use crate::local::frame;
use crate::local::wire::{ActivityEntry, OutboxState, Outcome};
use crate::spool;
use crate::uplink::stories;
use crate::vault::claim::{self, Claim, ClaimId};
use crate::vault::{Connection, journal, outgoing, pending};

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

/// Whether the gateway may have forgotten a story at this time, Unix seconds: it keeps the ids of stories for a day after
/// these have ended (K13).
pub(crate) fn may_be_forgotten(entry: &ActivityEntry, now_s: u64) -> bool {
    let lifetime_s = entry
        .clearance
        .as_ref()
        .map_or(STORY_TTL_S, |clearance| clearance.lifetime_s);
    let known_s = u64::from(lifetime_s).saturating_add(STORY_KNOWN_S);
    now_s >= entry.at_s.saturating_add(known_s)
}

/// How the gateway answered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ending {
    Accepted {
        /// Unix seconds.
        expires_s: u64,
    },
    Refused,
    /// The gateway has forgotten whether it had accepted it, and does not take it now.
    Forgotten,
}

/// What was sealed, as it is posted: the same bytes may be posted again, and count once (K13).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SealedBytes {
    pub envelope: Vec<u8>,
    pub clearance: Vec<u8>,
}

/// The value of an outgoing row.
struct Outgoing {
    record: Record,
    /// The draft, to be shared again if it did not arrive.
    draft: Zeroizing<Vec<u8>>,
    manifest: Zeroizing<Vec<u8>>,
    /// None in rows of a store that kept the draft only.
    bytes: Option<SealedBytes>,
}

impl Outgoing {
    fn decode(value: &[u8]) -> anyhow::Result<Self> {
        const DAMAGED: &str = "a sealed story of the store is damaged";
        let ((), parts) = frame::decode::<()>(value)?;
        let mut parts = parts.into_iter();
        let (Some(record), Some(draft), Some(manifest)) = (parts.next(), parts.next(), parts.next()) else {
            anyhow::bail!(DAMAGED);
        };
        let bytes = match (parts.next(), parts.next(), parts.next()) {
            (None, None, None) => None,
            (Some(envelope), Some(clearance), None) => Some(SealedBytes {
                envelope: envelope.to_vec(),
                clearance: clearance.to_vec(),
            }),
            _ => anyhow::bail!(DAMAGED),
        };
        Ok(Self {
            record: serde_json::from_slice(&record).context(DAMAGED)?,
            draft,
            manifest,
            bytes,
        })
    }
}

/// Keeps the record, the draft and what was sealed of it in the caller's transaction.
///
/// # Errors
/// The store's.
pub(crate) async fn keep(
    agent: &Agent,
    connection: &mut Connection,
    record: &Record,
    draft: &[u8],
    cleared: &Cleared,
) -> anyhow::Result<()> {
    let (record, manifest) = (serde_json::to_vec(record)?, cleared.manifest().to_bytes());
    let parts: [&[u8]; 5] = [&record, draft, &manifest, cleared.envelope(), cleared.clearance()];
    let value = frame::encode(&(), &parts)?;
    let (cipher, cti) = (&agent.vault.cipher, cleared.cti());
    outgoing::insert(connection, cipher, cti, agent.now_s(), &value).await
}

/// The draft in the value of an outgoing row, and the claimed file that it is.
///
/// # Errors
/// The row is damaged.
pub(crate) fn draft_of(value: &[u8]) -> anyhow::Result<(Zeroizing<Vec<u8>>, Option<ClaimId>)> {
    let outgoing = Outgoing::decode(value)?;
    Ok((outgoing.draft, outgoing.record.claim))
}

/// The record of a story that is not answered yet, and its bytes.
///
/// # Errors
/// The store's.
pub(crate) async fn of(agent: &Agent, cti: Cti) -> anyhow::Result<Option<(Record, Option<SealedBytes>)>> {
    let mut connection = agent.vault.connection().await?;
    let value = outgoing::by_cti(&mut connection, &agent.vault.cipher, cti).await?;
    value
        .map(|value| Outgoing::decode(&value).map(|outgoing| (outgoing.record, outgoing.bytes)))
        .transpose()
}

/// Stories of an audience that are not answered yet, oldest first.
///
/// # Errors
/// The store's.
pub(crate) async fn unanswered(agent: &Agent, audience: AudienceId) -> anyhow::Result<Vec<Cti>> {
    let mut connection = agent.vault.connection().await?;
    let mut found = Vec::new();
    for row in outgoing::all(&mut connection, &agent.vault.cipher).await? {
        if Outgoing::decode(&row.value)?.record.audience == audience {
            found.push(row.cti);
        }
    }
    Ok(found)
}

/// Audiences with a story that is not answered yet and that no kept draft stands for: whoever sealed it failed on the
/// way.
///
/// # Errors
/// The store's.
pub(crate) async fn stranded(agent: &Agent) -> anyhow::Result<BTreeSet<AudienceId>> {
    let mut connection = agent.vault.connection().await?;
    let kept = pending::states(&mut connection).await?;
    let mut audiences = BTreeSet::new();
    for row in outgoing::all(&mut connection, &agent.vault.cipher).await? {
        if !kept.iter().any(|(_, _, story)| *story == Some(row.cti)) {
            audiences.insert(Outgoing::decode(&row.value)?.record.audience);
        }
    }
    Ok(audiences)
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
            // With the story's end, so that a restart between the two cannot share the draft again.
            pending::sent(&mut transaction, cti).await?;
            entry.outcome = Outcome::Shared;
            EventKind::Shared
        }
        Ending::Refused => {
            entry.outcome = Outcome::Refused;
            EventKind::Refused
        }
        Ending::Forgotten => {
            pending::hold_of(&mut transaction, cti).await?;
            entry.outcome = Outcome::Refused;
            EventKind::Refused
        }
    };
    if let Some(id) = claim {
        claim::update(&mut transaction, &agent.vault.cipher, id, |claim| {
            ended(claim, ending);
        })
        .await?;
    }
    if let Some(event) = event {
        let event = spool::append_reserved(
            &mut transaction,
            &agent.vault,
            agent.moment()?,
            Event { kind, ..event },
        )
        .await?;
        entry.reported = answer::shown(&event);
    }
    write(agent, &mut transaction, &entry).await?;
    transaction.commit().await?;
    agent.changed();
    agent.events_wait.notify_one();
    Ok(Some(entry))
}

/// What the gateway's answer means for a claimed file.
fn ended(claim: &mut Claim, ending: Ending) {
    claim.unplaced = true;
    match ending {
        Ending::Accepted { .. } => claim.state = OutboxState::Sent,
        Ending::Refused => {
            claim.state = OutboxState::Blocked;
            claim.story = None;
            claim.reason = Some("the gateway refused it; see `sealgate-agent activity`\n".to_owned());
        }
        Ending::Forgotten => {
            claim.state = OutboxState::Blocked;
            claim.story = None;
            claim.reason = Some(
                "it may have been shared before this device was away; ask its readers before you share it again\n".to_owned(),
            );
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
