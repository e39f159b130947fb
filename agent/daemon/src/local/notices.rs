//! `notices`: what the owner must learn of, until they acknowledge it (K8).

use actix_web::web::{Data, Json, Query};

use super::server::Failure;
use super::wait;
use super::wire::{NoticeView, NoticesAnswer, NoticesQuery, NoticesRead};
use crate::agent::Agent;
use crate::vault::notice;

/// Those that were not acknowledged, oldest first.
pub(crate) async fn list(
    agent: Data<Agent>,
    query: Query<NoticesQuery>,
) -> Result<Json<NoticesAnswer>, Failure> {
    let fits = |answer: &NoticesAnswer| {
        let holds = |part: &String| answer.notices.iter().any(|notice| notice.message.contains(part));
        query.wait.as_ref().is_none_or(holds)
    };
    let answer = wait::until(&agent, query.timeout_s, async || {
        let answer = current(&agent).await?;
        Ok(fits(&answer).then_some(answer))
    });
    Ok(Json(answer.await?))
}

/// The owner has read them, up to a position.
pub(crate) async fn acknowledge(
    agent: Data<Agent>,
    read: Json<NoticesRead>,
) -> Result<Json<NoticesAnswer>, Failure> {
    let mut transaction = agent.vault.begin().await?;
    notice::acknowledge(&mut transaction, read.through).await?;
    transaction.commit().await.map_err(anyhow::Error::from)?;
    agent.changed();
    Ok(Json(current(&agent).await?))
}

async fn current(agent: &Agent) -> anyhow::Result<NoticesAnswer> {
    let mut connection = agent.vault.connection().await?;
    let notices = notice::all(&mut connection, &agent.vault.cipher).await?;
    Ok(NoticesAnswer {
        notices: notices
            .into_iter()
            .map(|notice| NoticeView {
                position: notice.position,
                at_s: notice.at_s,
                message: notice.message,
            })
            .collect(),
    })
}
