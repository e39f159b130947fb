//! Waiting for something to become true, woken by each change: no polling.

use std::time::Duration;

use crate::agent::Agent;
use crate::exit::Exit;
use crate::local::wire::LocalProblem;

/// How long a command waits when it does not say.
const DEFAULT: Duration = Duration::from_secs(60);

/// Looks, and looks again after each change, until `look` gives something.
///
/// # Errors
/// The time is over, or `look` failed.
pub(crate) async fn until<T, F, Fut>(agent: &Agent, timeout_s: Option<u64>, mut look: F) -> anyhow::Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = anyhow::Result<Option<T>>>,
{
    let mut changes = agent.subscribe();
    let limit = timeout_s.map_or(DEFAULT, Duration::from_secs);
    let waited = tokio::time::timeout(limit, async {
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            changes.changed().await?;
        }
    });
    waited.await.unwrap_or_else(|_| {
        let message = format!("it did not happen within {} s", limit.as_secs());
        Err(LocalProblem {
            message,
            help: None,
            exit: Exit::Failed,
        }
        .into())
    })
}
