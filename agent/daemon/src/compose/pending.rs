//! Drafts that wait for the gateway: decided again on reconnect under the policy of then, and only
//! then sent. A draft that is blocked by then never leaves.

use gateway_api::v1::stories::Accepted;
use policies::terms::{AudienceId, Cti};

use super::record::{self, Ending};
use super::share::Offline;
use super::{draft, send, share};
use crate::agent::Agent;
use crate::exit::Exit;
use crate::limits::{PENDING_MAX, RESTORABLE_S};
use crate::local::wire::{
    LocalProblem, Outcome, PendingChange, PendingState, ResumeRequest, ShareAnswer, ShareHeader,
};
use crate::uplink::client::CallError;
use crate::vault::claim::{self, ClaimId};
use crate::vault::{Connection, Vault, outgoing, pending};

/// A draft to be kept.
pub(crate) struct Draft<'a> {
    pub id: [u8; 16],
    pub frame: &'a [u8],
    /// Its story, if it was sealed and not answered.
    pub sealed: Option<Cti>,
    /// The claimed file of the outbox that it is.
    pub claim: Option<ClaimId>,
}

/// Keeps a draft, encrypted; the claim of a file learns of it in the same transaction.
///
/// # Errors
/// Too many wait already, or the store's.
pub(crate) async fn keep(agent: &Agent, at_s: u64, draft: Draft<'_>) -> anyhow::Result<()> {
    let Draft {
        id,
        frame,
        sealed,
        claim,
    } = draft;
    let mut transaction = agent.vault.begin().await?;
    // One that was sealed may have been sent: it is no more than what is kept of it already.
    if sealed.is_none() && pending::count(&mut transaction).await? >= PENDING_MAX {
        return Err(LocalProblem::new(
            Exit::Failed,
            format!("{PENDING_MAX} drafts wait for the gateway already"),
            "connect the device, then share again",
        )
        .into());
    }
    pending::insert(&mut transaction, &agent.vault.cipher, id, at_s, frame, sealed).await?;
    if let Some(claimed) = claim {
        keeps(&agent.vault, &mut transaction, claimed, id).await?;
    }
    transaction.commit().await?;
    tracing::info!(id = hex::encode(id), "draft kept for later");
    agent.changed();
    agent.kept.notify_one();
    Ok(())
}

/// A kept draft stands for a claimed file.
async fn keeps(
    vault: &Vault,
    connection: &mut Connection,
    claimed: ClaimId,
    id: [u8; 16],
) -> anyhow::Result<()> {
    let kept = Some(hex::encode(id));
    claim::update(connection, &vault.cipher, claimed, |claim| claim.kept = kept).await
}

/// A kept draft waits on, with the answers that were given for it; if it was sealed and not
/// answered, it is asked for before it is sealed again (K13).
///
/// # Errors
/// The store's.
pub(crate) async fn keep_again(
    agent: &Agent,
    id: [u8; 16],
    frame: &[u8],
    sealed: Option<Cti>,
) -> anyhow::Result<()> {
    let mut connection = agent.vault.connection().await?;
    pending::keep_again(&mut connection, &agent.vault.cipher, id, frame, sealed).await
}

/// After a crash: what was sealed and never answered waits like every kept draft, to be asked for
/// by its `cti` first (K13).
///
/// # Errors
/// The store's.
pub(crate) async fn recover(vault: &Vault, now_s: u64) -> anyhow::Result<()> {
    let mut transaction = vault.begin().await?;
    let known = pending::states(&mut transaction).await?;
    for row in outgoing::all(&mut transaction, &vault.cipher).await? {
        if known.iter().any(|(_, _, story)| *story == Some(row.cti)) {
            pending::wait_for(&mut transaction, row.cti).await?;
            continue;
        }
        let (id, cti) = (*row.cti.as_bytes(), Some(row.cti));
        let (draft, claimed) = record::draft_of(&row.value)?;
        pending::insert(&mut transaction, &vault.cipher, id, now_s, &draft, cti).await?;
        if let Some(claimed) = claimed {
            keeps(vault, &mut transaction, claimed, id).await?;
        }
    }
    transaction.commit().await?;
    Ok(())
}

/// Decides again and sends what waits; stops at the first sign that the gateway is gone again. Whether something waits
/// on for the gateway.
///
/// # Errors
/// The gateway's, or the store's; what waits stays.
pub(crate) async fn send_waiting(agent: &Agent) -> anyhow::Result<bool> {
    let mut waits_on = false;
    for audience in record::stranded(agent).await? {
        match agent.free_turn(audience) {
            Some(_turn) => settle_earlier(agent, audience).await?,
            None => waits_on = true,
        }
    }
    let waiting = {
        let mut connection = agent.vault.connection().await?;
        pending::waiting(&mut connection, &agent.vault.cipher).await?
    };
    for row in waiting {
        let _one_at_a_time = agent.drafts.lock().await;
        if !pending::is_waiting(&mut *agent.vault.connection().await?, row.id).await? {
            continue;
        }
        match arrived(agent, row.sealed).await? {
            Arrival::Accepted(cti) => settle(agent, row.id, PendingState::Sent, Some(cti)).await?,
            Arrival::Unclear => waits_on = true,
            Arrival::Forgotten => {}
            Arrival::Nothing => match share::share_kept(agent, row.id, &row.value).await {
                Ok(answer) if answer.outcome == Outcome::Kept => return Ok(true),
                Ok(answer) => decided(agent, row.id, &answer).await?,
                // The draft stays: what failed here says nothing about it.
                Err(error) => {
                    tracing::warn!(id = hex::encode(row.id), "a kept draft could not be shared");
                    agent.alarm(
                        &alarm_key(row.id),
                        format!("a kept draft could not be shared, and is kept on: {error:#}"),
                    );
                }
            },
        }
    }
    Ok(waits_on)
}

/// Shares a held draft, with the answers that its rules ask for.
///
/// # Errors
/// No draft is held under the id; as [`share::share`].
pub(crate) async fn resume(agent: &Agent, request: &ResumeRequest) -> anyhow::Result<ShareAnswer> {
    let _one_at_a_time = agent.drafts.lock().await;
    let row = match id_of(&request.id) {
        Some(id) => {
            let mut connection = agent.vault.connection().await?;
            pending::held(&mut connection, &agent.vault.cipher, id).await?
        }
        None => None,
    };
    let Some(row) = row else {
        return Err(LocalProblem::new(
            Exit::Usage,
            format!("no draft is held as `{}`", request.id),
            "`sealgate-agent pending` lists them",
        )
        .into());
    };
    if let Arrival::Accepted(cti) = arrived(agent, row.sealed).await? {
        settle(agent, row.id, PendingState::Sent, Some(cti)).await?;
        return Err(LocalProblem::new(
            Exit::Usage,
            format!("it was sent already, as story {cti}"),
            "nothing is to be done",
        )
        .into());
    }
    let (header, draft) = draft::from_frame(&row.value)?;
    let header = answered(header, request);
    let answer = share::share(agent, &header, draft, Offline::Kept(row.id)).await?;
    if answer.outcome != Outcome::Kept {
        decided(agent, row.id, &answer).await?;
    }
    Ok(answer)
}

/// Discards a draft that was not sealed, or takes that back.
///
/// # Errors
/// There is no such draft, or it is too late.
pub(crate) async fn change(agent: &Agent, change: &PendingChange) -> anyhow::Result<()> {
    let _one_at_a_time = agent.drafts.lock().await;
    let mut transaction = agent.vault.begin().await?;
    match change {
        PendingChange::Discard { id } => {
            let until_s = agent.now_s().saturating_add(RESTORABLE_S);
            let bytes = id_of(id).ok_or_else(|| no_draft(id))?;
            if !pending::discard(&mut transaction, bytes, until_s).await? {
                return Err(not_discarded(id).into());
            }
            agent.all_clear(&alarm_key(bytes));
        }
        PendingChange::Restore { id } => {
            let bytes = id_of(id).ok_or_else(|| no_draft(id))?;
            if is_a_file(agent, &mut transaction, id).await? {
                return Err(LocalProblem::new(
                    Exit::Usage,
                    "it was a file of the outbox",
                    "the file is in the outbox folder `blocked/`: put it into its audience's folder again",
                )
                .into());
            }
            if !pending::restore(&mut transaction, bytes, agent.now_s()).await? {
                return Err(no_draft(id).into());
            }
        }
    }
    transaction.commit().await?;
    agent.changed();
    Ok(())
}

/// Whether a kept draft is a claimed file of the outbox.
async fn is_a_file(agent: &Agent, connection: &mut Connection, id: &str) -> anyhow::Result<bool> {
    let claims = claim::all(connection, &agent.vault.cipher).await?;
    Ok(claims.iter().any(|claim| claim.kept.as_deref() == Some(id)))
}

fn no_draft(id: &str) -> LocalProblem {
    LocalProblem::new(
        Exit::Usage,
        format!("no draft is discarded as `{id}`, or its content is gone"),
        "`sealgate-agent pending` lists them",
    )
}

fn not_discarded(id: &str) -> LocalProblem {
    LocalProblem::new(
        Exit::Usage,
        format!("no draft waits as `{id}`, or it was sealed and may have been sent"),
        "`sealgate-agent pending` lists them; `sealgate-agent revoke STORY` takes back what was sent",
    )
}

/// New answers take the place of the old ones: those were given to other questions.
fn answered(header: ShareHeader, request: &ResumeRequest) -> ShareHeader {
    if request.reason.is_none() && !request.accept_warning {
        return header;
    }
    ShareHeader {
        reason: request.reason.clone(),
        accept_warning: request.accept_warning,
        consent: None,
        ..header
    }
}

fn id_of(text: &str) -> Option<[u8; 16]> {
    hex::decode(text).ok()?.try_into().ok()
}

/// Whether a story that was sealed and not answered is at the gateway.
enum Arrival {
    Accepted(Cti),
    /// It is not, or nothing was sealed: the draft is decided again.
    Nothing,
    /// The gateway says so and does not prove it: an alarm tells, and it is asked again.
    Unclear,
    /// Nobody knows any more: the draft is held for its author.
    Forgotten,
}

const FORGOTTEN: &str = "a draft was sealed long ago, and the gateway does not know any more whether it was sent: it is \
                         held; `sealgate-agent pending --resume ID` shares it again";

/// Settles what was sealed for this audience and not answered, oldest first. Its caller has the audience's turn.
///
/// # Errors
/// The gateway's, or the store's.
pub(super) async fn settle_earlier(agent: &Agent, audience: AudienceId) -> anyhow::Result<()> {
    let unanswered = record::unanswered(agent, audience).await?;
    for cti in unanswered {
        arrived_in_turn(agent, cti).await?;
    }
    Ok(())
}

/// Whether the story of a kept draft, if it was sealed, is at the gateway.
async fn arrived(agent: &Agent, sealed: Option<Cti>) -> anyhow::Result<Arrival> {
    let Some(cti) = sealed else {
        return Ok(Arrival::Nothing);
    };
    let _turn = match record::of(agent, cti).await? {
        Some((known, _)) => Some(agent.turn(known.audience).await),
        None => None,
    };
    arrived_in_turn(agent, cti).await
}

/// Asks for a story that was sealed and not answered, and finishes its record: the event, the
/// journal line and the own copy; if the gateway never takes it, its sealing is forgotten.
async fn arrived_in_turn(agent: &Agent, cti: Cti) -> anyhow::Result<Arrival> {
    let known = record::of(agent, cti).await?;
    let asked = agent.gateway.story(cti).await?;
    let Some((known, bytes)) = known else {
        return Ok(asked.map_or(Arrival::Nothing, |_| Arrival::Accepted(cti)));
    };
    let accepted = match (asked, bytes) {
        (Some(accepted), _) => Some(accepted),
        (None, Some(bytes)) => post_again(agent, &known, bytes).await?,
        (None, None) => None,
    };
    let Some(accepted) = accepted else {
        if record::may_be_forgotten(&known.entry, agent.now_s()) {
            record::finish(agent, cti, Ending::Forgotten).await?;
            agent
                .notice(&mut *agent.vault.connection().await?, FORGOTTEN)
                .await?;
            return Ok(Arrival::Forgotten);
        }
        let mut connection = agent.vault.connection().await?;
        outgoing::remove(&mut connection, cti).await?;
        return Ok(Arrival::Nothing);
    };
    let Some(acceptance) = send::verify(agent, cti, &known, &accepted) else {
        return Ok(Arrival::Unclear);
    };
    let expires_s = acceptance.expires_s;
    record::finish(agent, cti, Ending::Accepted { expires_s }).await?;
    Ok(Arrival::Accepted(cti))
}

/// Posts the very bytes that were sealed. A gateway that does not show the story may still be at
/// it; these bytes count once (K13), and only its refusal of them says that they never will.
async fn post_again(
    agent: &Agent,
    known: &record::Record,
    bytes: record::SealedBytes,
) -> Result<Option<Accepted>, CallError> {
    let posted = send::post_sealed(agent, known.audience, &bytes.envelope, &bytes.clearance);
    match posted.await {
        Ok(accepted) => Ok(Some(accepted)),
        Err(error) if matches!(error, CallError::Refused(_)) && !error.is_temporary() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes down what a new decision means for a kept draft. The content goes when it was sent, is
/// blocked, or the gateway signed that it refuses it; otherwise it is held for its author.
async fn decided(agent: &Agent, id: [u8; 16], answer: &ShareAnswer) -> anyhow::Result<()> {
    match end_of(
        answer.outcome,
        answer.refusal.as_ref().is_some_and(|refusal| refusal.signed),
    ) {
        End::Settled(state) => settle(agent, id, state, answer.story).await,
        End::Held(state) => {
            let mut connection = agent.vault.connection().await?;
            pending::hold(&mut connection, id, state).await?;
            agent.all_clear(&alarm_key(id));
            agent.changed();
            Ok(())
        }
        End::Waits => Ok(()),
    }
}

async fn settle(agent: &Agent, id: [u8; 16], state: PendingState, story: Option<Cti>) -> anyhow::Result<()> {
    let mut connection = agent.vault.connection().await?;
    pending::decide(&mut connection, id, state, story).await?;
    agent.all_clear(&alarm_key(id));
    agent.changed();
    Ok(())
}

fn alarm_key(id: [u8; 16]) -> String {
    format!("pending/{}", hex::encode(id))
}

/// What a decision means for a kept draft.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Its content goes.
    Settled(PendingState),
    /// Its content stays until its author resumes it.
    Held(PendingState),
    Waits,
}

const fn end_of(outcome: Outcome, signed: bool) -> End {
    match outcome {
        Outcome::Shared | Outcome::Clear => End::Settled(PendingState::Sent),
        Outcome::Blocked => End::Settled(PendingState::Blocked),
        Outcome::Refused if signed => End::Settled(PendingState::Refused),
        Outcome::Refused => End::Held(PendingState::Refused),
        Outcome::NeedsReason | Outcome::NeedsAcceptance => End::Held(PendingState::NeedsReason),
        Outcome::Kept => End::Waits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::paths::Paths;
    use crate::local::wire::Consent;

    /// Only a block and a signed refusal take a draft away from its author.
    #[test]
    fn a_question_and_an_unsigned_refusal_keep_the_draft() {
        assert_eq!(
            end_of(Outcome::Blocked, false),
            End::Settled(PendingState::Blocked)
        );
        assert_eq!(
            end_of(Outcome::Refused, true),
            End::Settled(PendingState::Refused)
        );
        assert_eq!(end_of(Outcome::Refused, false), End::Held(PendingState::Refused));
        for question in [Outcome::NeedsReason, Outcome::NeedsAcceptance] {
            assert_eq!(end_of(question, false), End::Held(PendingState::NeedsReason));
        }
        assert_eq!(end_of(Outcome::Kept, false), End::Waits);
    }

    /// A discarded draft is not sent, comes back as it was, and loses its content when its time is over.
    #[tokio::test]
    async fn a_discarded_draft_can_be_taken_back_for_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(&Paths::new(folder.path())).await.unwrap();
        let mut connection = vault.connection().await.unwrap();
        let (cipher, kept, held, sealed) = (&vault.cipher, [1; 16], [2; 16], [3; 16]);
        let story = Some(Cti::from_bytes([4; 16]));
        for (id, story) in [(kept, None), (held, None), (sealed, story)] {
            pending::insert(&mut connection, cipher, id, 1, b"draft", story)
                .await
                .unwrap();
        }
        pending::hold(&mut connection, held, PendingState::Refused)
            .await
            .unwrap();
        assert!(!pending::discard(&mut connection, sealed, 100).await.unwrap());
        for id in [kept, held] {
            assert!(pending::discard(&mut connection, id, 100).await.unwrap());
            assert!(!pending::discard(&mut connection, id, 900).await.unwrap());
            assert!(!pending::is_waiting(&mut connection, id).await.unwrap());
            assert!(
                pending::held(&mut connection, cipher, id)
                    .await
                    .unwrap()
                    .is_none()
            );
        }
        for (id, state) in [(kept, PendingState::Kept), (held, PendingState::Refused)] {
            assert!(pending::restore(&mut connection, id, 99).await.unwrap());
            let states = pending::states(&mut connection).await.unwrap();
            assert!(states.contains(&(id, state, None)));
        }
        assert!(pending::discard(&mut connection, kept, 100).await.unwrap());
        pending::forget_discarded(&mut connection, 99).await.unwrap();
        assert!(!pending::restore(&mut connection, kept, 100).await.unwrap());
        pending::forget_discarded(&mut connection, 100).await.unwrap();
        assert!(!pending::restore(&mut connection, kept, 99).await.unwrap());
    }

    #[test]
    fn new_answers_replace_those_of_other_questions() {
        let header = ShareHeader {
            reason: Some("old".to_owned()),
            consent: Some(Consent::default()),
            ..ShareHeader::default()
        };
        let mut request = ResumeRequest {
            id: String::new(),
            reason: None,
            accept_warning: false,
        };
        assert_eq!(answered(header.clone(), &request).reason.as_deref(), Some("old"));
        request.accept_warning = true;
        let header = answered(header, &request);
        assert!(header.reason.is_none() && header.accept_warning && header.consent.is_none());
    }

    #[tokio::test]
    async fn a_held_draft_keeps_its_content_until_it_is_decided() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(&Paths::new(folder.path())).await.unwrap();
        let mut connection = vault.connection().await.unwrap();
        let (cipher, id) = (&vault.cipher, [7; 16]);
        pending::insert(&mut connection, cipher, id, 1, b"draft", None)
            .await
            .unwrap();
        pending::hold(&mut connection, id, PendingState::NeedsReason)
            .await
            .unwrap();
        assert!(
            pending::waiting(&mut connection, cipher)
                .await
                .unwrap()
                .is_empty()
        );
        let held = pending::held(&mut connection, cipher, id).await.unwrap().unwrap();
        assert_eq!(held.value.as_slice(), b"draft");
        pending::decide(&mut connection, id, PendingState::Sent, None)
            .await
            .unwrap();
        assert!(
            pending::held(&mut connection, cipher, id)
                .await
                .unwrap()
                .is_none()
        );
    }
}
