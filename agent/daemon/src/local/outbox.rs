//! `outbox`: where each file stands.

use actix_web::web::{Data, Json, Query};

use super::server::Failure;
use super::wait;
use super::wire::{OutboxAnswer, OutboxFile, OutboxState, WaitQuery};
use crate::agent::Agent;
use crate::outbox::names::composed;
use crate::outbox::places::Places;
use crate::vault::claim::{self, Claim};

/// All files, or the one that is waited for.
pub(crate) async fn list(agent: Data<Agent>, query: Query<WaitQuery>) -> Result<Json<OutboxAnswer>, Failure> {
    let Some(name) = query.wait.as_deref().map(composed) else {
        return Ok(Json(OutboxAnswer {
            files: files(&agent).await?,
        }));
    };
    let found = wait::until(&agent, query.timeout_s, async || {
        let mut of_name: Vec<OutboxFile> = files(&agent)
            .await?
            .into_iter()
            .filter(|file| file.name == name)
            .collect();
        let ended = of_name.iter().all(|file| file.state.is_final());
        Ok(of_name.pop().filter(|_| ended))
    });
    Ok(Json(OutboxAnswer {
        files: vec![found.await?],
    }))
}

/// A file counts as sent, blocked or in error once it lies where such files lie.
const fn shown(claim: &Claim) -> OutboxState {
    if claim.unplaced {
        OutboxState::Processing
    } else {
        claim.state
    }
}

/// Claimed files, oldest first, then those that still lie in their folders.
async fn files(agent: &Agent) -> anyhow::Result<Vec<OutboxFile>> {
    let claims = {
        let mut connection = agent.vault.connection().await?;
        claim::all(&mut connection, &agent.vault.cipher).await?
    };
    let mut files: Vec<OutboxFile> = claims
        .into_iter()
        .map(|claim| OutboxFile {
            state: shown(&claim),
            name: composed(&claim.name),
            audience: claim.audience,
            story: claim.story,
            reason: claim.reason,
        })
        .collect();
    let places = Places::at(&agent.paths.outbox());
    let waiting = if places.root().exists() {
        places.scan()?
    } else {
        Vec::new()
    };
    files.extend(waiting.into_iter().map(|found| OutboxFile {
        name: composed(&found.name.unwrap_or_default()),
        audience: found.audience,
        state: OutboxState::Pending,
        story: None,
        reason: None,
    }));
    Ok(files)
}
