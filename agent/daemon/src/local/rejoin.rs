//! `rejoin`: makes the MLS state anew and joins every audience again (M4).

use actix_web::web::{Data, Json};
use policies::terms::AudienceId;

use super::server::Failure;
use super::wire::RejoinAnswer;
use crate::agent::Agent;
use crate::uplink::rejoin;
use crate::vault::audience;
use crate::vault::rejoining::Loss;

/// Rejoins; the folder's owner asked for it.
pub(crate) async fn rejoin(agent: Data<Agent>) -> Result<Json<RejoinAnswer>, Failure> {
    let outcome = rejoin::rejoin(&agent, Loss::State).await?;
    agent.hurry.notify_one();
    Ok(Json(RejoinAnswer {
        log_index: Some(outcome.log_index),
        joined: names(&agent, &outcome.joined).await?,
        waiting: names(&agent, &outcome.waiting).await?,
        at_next_start: false,
        put_aside: None,
    }))
}

async fn names(agent: &Agent, groups: &[AudienceId]) -> anyhow::Result<Vec<String>> {
    let mut connection = agent.vault.connection().await?;
    let known = audience::all(&mut connection, &agent.vault.cipher).await?;
    let name = |group: &AudienceId| {
        let found = known.iter().find(|audience| audience.id == *group);
        found
            .and_then(|audience| audience.name.clone())
            .unwrap_or_else(|| group.to_string())
    };
    Ok(groups.iter().map(name).collect())
}
