//! Names of people and the owner's groups, for choosing an audience and for group conditions.

use std::sync::PoisonError;

use super::client::CallError;
use crate::agent::{Agent, KnownPeople};
use crate::vault::setting::{self, Setting};

/// Fetches and keeps them.
///
/// # Errors
/// The gateway's, or the store's.
pub(crate) async fn refresh(agent: &Agent) -> anyhow::Result<()> {
    let people = agent.gateway.people().await?;
    let known = KnownPeople {
        names: people
            .people
            .into_iter()
            .map(|person| (person.person, person.name))
            .collect(),
        groups: people.your_groups,
    };
    let mut transaction = agent.vault.begin().await?;
    let cipher = &agent.vault.cipher;
    setting::write(
        &mut transaction,
        cipher,
        Setting::People,
        &serde_json::to_vec(&known.names)?,
    )
    .await?;
    setting::write(
        &mut transaction,
        cipher,
        Setting::Groups,
        &serde_json::to_vec(&known.groups)?,
    )
    .await?;
    transaction.commit().await?;
    *agent.people.lock().unwrap_or_else(PoisonError::into_inner) = known;
    Ok(())
}

/// Whether an error is the gateway's, and a passing one.
pub(crate) fn is_temporary(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<CallError>())
        .any(CallError::is_temporary)
}
