//! Drafts that wait for the gateway: decided again on reconnect under the policy of then, and only
//! then sent. A draft that is blocked by then never leaves.

use policies::terms::Cti;

use super::share;
use crate::agent::Agent;
use crate::exit::Exit;
use crate::limits::PENDING_MAX;
use crate::local::wire::{LocalProblem, Outcome, PendingState};
use crate::uplink::client::CallError;
use crate::vault::{outgoing, pending};

/// Keeps a draft, encrypted.
///
/// # Errors
/// Too many wait already, or the store's.
pub(crate) async fn keep(
    agent: &Agent,
    id: [u8; 16],
    at_s: u64,
    frame: &[u8],
    sealed: Option<Cti>,
) -> anyhow::Result<()> {
    let mut transaction = agent.vault.begin().await?;
    if pending::count(&mut transaction).await? >= PENDING_MAX {
        return Err(LocalProblem::new(
            Exit::Failed,
            format!("{PENDING_MAX} drafts wait for the gateway already"),
            "connect the device, then share again",
        )
        .into());
    }
    pending::insert(&mut transaction, &agent.vault.cipher, id, at_s, frame, sealed).await?;
    transaction.commit().await?;
    tracing::info!(id = hex::encode(id), "draft kept for later");
    agent.changed();
    Ok(())
}

/// A kept draft was sealed and not answered: it is asked for before it is sealed again (K13).
///
/// # Errors
/// The store's.
pub(crate) async fn link(agent: &Agent, id: [u8; 16], cti: Cti) -> anyhow::Result<()> {
    let mut connection = agent.vault.connection().await?;
    pending::link(&mut connection, id, cti).await
}

/// After a crash: what was sealed and never answered waits like every kept draft, to be asked for
/// by its `cti` first (K13).
///
/// # Errors
/// The store's.
pub(crate) async fn recover(agent: &Agent) -> anyhow::Result<()> {
    let mut transaction = agent.vault.begin().await?;
    let known = pending::states(&mut transaction).await?;
    for row in outgoing::all(&mut transaction, &agent.vault.cipher).await? {
        if !known.iter().any(|(_, _, story)| *story == Some(row.cti)) {
            let (id, cti) = (*row.cti.as_bytes(), Some(row.cti));
            pending::insert(
                &mut transaction,
                &agent.vault.cipher,
                id,
                agent.now_s(),
                &row.value,
                cti,
            )
            .await?;
        }
    }
    transaction.commit().await?;
    Ok(())
}

/// Decides again and sends what waits; stops at the first sign that the gateway is gone again.
///
/// # Errors
/// The gateway's, or the store's; what waits stays.
pub(crate) async fn send_waiting(agent: &Agent) -> anyhow::Result<()> {
    let waiting = {
        let mut connection = agent.vault.connection().await?;
        pending::waiting(&mut connection, &agent.vault.cipher).await?
    };
    for row in waiting {
        let (state, story) = match arrived(agent, row.sealed).await? {
            Some(cti) => (PendingState::Sent, Some(cti)),
            None => match share::share_kept(agent, row.id, &row.value).await {
                Ok(answer) => match state_of(answer.outcome) {
                    Some(state) => (state, answer.story),
                    None => return Ok(()),
                },
                Err(error) => {
                    tracing::warn!(id = hex::encode(row.id), "a kept draft could not be shared");
                    agent.alarm(
                        &format!("pending/{}", hex::encode(row.id)),
                        format!("a kept draft could not be shared: {error:#}"),
                    );
                    (PendingState::Refused, None)
                }
            },
        };
        let mut transaction = agent.vault.begin().await?;
        pending::decide(&mut transaction, row.id, state, story).await?;
        transaction.commit().await?;
        agent.changed();
    }
    Ok(())
}

/// Whether the gateway holds a story that was sealed and not answered; if not, its sealing is
/// forgotten.
async fn arrived(agent: &Agent, sealed: Option<Cti>) -> anyhow::Result<Option<Cti>> {
    let Some(cti) = sealed else { return Ok(None) };
    let held: Result<_, CallError> = agent.gateway.story(cti).await;
    let found = held?.map(|_| cti);
    let mut connection = agent.vault.connection().await?;
    outgoing::remove(&mut connection, cti).await?;
    Ok(found)
}

/// What a new decision means for a kept draft; none if it waits on.
const fn state_of(outcome: Outcome) -> Option<PendingState> {
    match outcome {
        Outcome::Shared | Outcome::Clear => Some(PendingState::Sent),
        Outcome::Blocked => Some(PendingState::Blocked),
        Outcome::NeedsReason | Outcome::NeedsAcceptance => Some(PendingState::NeedsReason),
        Outcome::Refused => Some(PendingState::Refused),
        Outcome::Kept => None,
    }
}
