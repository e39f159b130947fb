//! `share`, `check`, `revoke`, `pending`.

use actix_web::web::{Bytes, Data, Json, Query};

use super::server::Failure;
use super::timely::Timely;
use super::wait;
use super::wire::{
    LocalProblem, PendingAnswer, PendingState, PendingView, ResumeRequest, RevokeAnswer, RevokeRequest,
    ShareAnswer, WaitQuery,
};
use crate::agent::Agent;
use crate::compose::share::Offline;
use crate::compose::{draft, pending as later, share as compose};
use crate::exit::Exit;
use crate::uplink::client::CallError;
use crate::vault::pending as kept;
use crate::vault::story::{self, StoryState};

pub(crate) async fn share(agent: Data<Agent>, body: Timely<Bytes>) -> Result<Json<ShareAnswer>, Failure> {
    let (header, draft) = draft::from_frame(&body.0)?;
    Ok(Json(compose::share(&agent, &header, draft, Offline::Keep).await?))
}

pub(crate) async fn check(agent: Data<Agent>, body: Timely<Bytes>) -> Result<Json<ShareAnswer>, Failure> {
    let (header, draft) = draft::from_frame(&body.0)?;
    Ok(Json(compose::check(&agent, &header, draft).await?))
}

/// Takes an own story back (D5).
pub(crate) async fn revoke(
    agent: Data<Agent>,
    request: Timely<Json<RevokeRequest>>,
) -> Result<Json<RevokeAnswer>, Failure> {
    let cti = request.0.story;
    let revoked = agent.gateway.revoke_story(cti).await.map_err(not_revoked)?;
    let mut transaction = agent.vault.begin().await?;
    story::close(&mut transaction, cti, StoryState::Revoked).await?;
    transaction.commit().await.map_err(anyhow::Error::from)?;
    agent.vault.truncate_log().await?;
    agent.changed();
    Ok(Json(RevokeAnswer {
        story: cti,
        revoked_at_s: revoked.at_s,
    }))
}

fn not_revoked(error: CallError) -> Failure {
    let problem = match error {
        CallError::Refused(problem) => LocalProblem::new(
            Exit::Refused,
            format!("{}: {}", problem.title, problem.detail),
            &problem.help,
        ),
        CallError::Unreachable(_) | CallError::Busy(_) | CallError::Unreadable(_) => LocalProblem::new(
            Exit::Failed,
            error.to_string(),
            "nothing was revoked; try again when the device is online",
        ),
    };
    problem.into()
}

/// Drafts that were kept for later.
pub(crate) async fn pending(
    agent: Data<Agent>,
    query: Query<WaitQuery>,
) -> Result<Json<PendingAnswer>, Failure> {
    let Some(id) = query.wait.clone() else {
        return Ok(Json(PendingAnswer {
            drafts: kept_drafts(&agent).await?,
        }));
    };
    let found = wait::until(&agent, query.timeout_s, async || {
        let drafts = kept_drafts(&agent).await?;
        Ok(drafts
            .into_iter()
            .find(|draft| draft.id == id && draft.state != PendingState::Kept))
    });
    Ok(Json(PendingAnswer {
        drafts: vec![found.await?],
    }))
}

/// Shares a held draft.
pub(crate) async fn resume(
    agent: Data<Agent>,
    request: Timely<Json<ResumeRequest>>,
) -> Result<Json<ShareAnswer>, Failure> {
    Ok(Json(later::resume(&agent, &request.0).await?))
}

async fn kept_drafts(agent: &Agent) -> anyhow::Result<Vec<PendingView>> {
    let mut connection = agent.vault.connection().await?;
    let states = kept::states(&mut connection).await?;
    let held = kept::held_ids(&mut connection).await?;
    Ok(states
        .into_iter()
        .map(|(id, state, story)| PendingView {
            id: hex::encode(id),
            state,
            story,
            resumable: held.contains(&id),
        })
        .collect())
}
