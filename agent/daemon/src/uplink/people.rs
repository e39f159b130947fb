//! Names of people and the owner's groups, for choosing an audience and for group conditions.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use anyhow::Context as _;
use policies::terms::PersonId;

use super::client::CallError;
use crate::agent::{Agent, KnownPeople};
use crate::exit::Exit;
use crate::local::wire::LocalProblem;
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

/// People by name or id, as the gateway knows them now.
///
/// # Errors
/// The gateway's; nobody, or several, are called so.
pub(crate) async fn resolve(agent: &Agent, wanted: &[String]) -> anyhow::Result<BTreeSet<PersonId>> {
    refresh(agent)
        .await
        .context("the list of people cannot be fetched")?;
    let names = agent
        .people
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .names
        .clone();
    let mut found = BTreeSet::new();
    for text in wanted {
        let id = text.parse::<PersonId>().ok();
        let matching: Vec<PersonId> = names
            .iter()
            .filter(|(person, name)| name.to_lowercase() == text.to_lowercase() || Some(**person) == id)
            .map(|(person, _)| *person)
            .collect();
        match matching.as_slice() {
            [one] => found.insert(*one),
            [] => {
                return Err(usage(
                    &format!("nobody is called `{text}`"),
                    "ask the administrator: sealgate person list",
                ));
            }
            _ => {
                return Err(usage(
                    &format!("several people are called `{text}`"),
                    "use the person's id",
                ));
            }
        };
    }
    Ok(found)
}

fn usage(message: &str, help: &str) -> anyhow::Error {
    LocalProblem::new(Exit::Usage, message, help).into()
}

/// Whether an error is the gateway's, and a passing one.
pub(crate) fn is_temporary(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<CallError>())
        .any(CallError::is_temporary)
}
