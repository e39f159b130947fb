//! `share`, `check`, `revoke`, `pending`.

use std::collections::BTreeMap;

use actix_web::web::{Bytes, Data, Json, Query};

use policies::terms::Cti;

use super::server::Failure;
use super::timely::Timely;
use super::wait;
use super::wire::{
    FalsePositiveAnswer, LocalProblem, PendingAnswer, PendingChange, PendingState, PendingView,
    ResumeRequest, RevokeAnswer, RevokeRequest, ShareAnswer, WaitQuery,
};
use crate::agent::Agent;
use crate::compose::share::Offline;
use crate::compose::{draft, false_positive as disputes, pending as later, share as compose};
use crate::exit::Exit;
use crate::limits::{LISTED_DRAFT_BYTES_MAX, LISTED_TEXT_CHARS};
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

/// What a report of a false positive would say, or the report itself.
pub(crate) async fn false_positive(
    agent: Data<Agent>,
    body: Timely<Bytes>,
) -> Result<Json<FalsePositiveAnswer>, Failure> {
    Ok(Json(disputes::report(&agent, &body.0).await?))
}

/// Takes an own story back (D5).
pub(crate) async fn revoke(
    agent: Data<Agent>,
    request: Timely<Json<RevokeRequest>>,
) -> Result<Json<RevokeAnswer>, Failure> {
    let cti = request.0.story;
    let revoked_at_s = take_back(&agent, cti).await?;
    Ok(Json(RevokeAnswer {
        story: cti,
        revoked_at_s,
    }))
}

/// Takes a story of this device back, its app's or its owner's: when, in Unix seconds.
pub(super) async fn take_back(agent: &Agent, cti: Cti) -> Result<u64, Failure> {
    let revoked = agent.gateway.revoke_story(cti).await.map_err(not_revoked)?;
    let mut transaction = agent.vault.begin().await?;
    story::close(&mut transaction, cti, StoryState::Revoked).await?;
    transaction.commit().await.map_err(anyhow::Error::from)?;
    agent.vault.truncate_log().await?;
    agent.changed();
    Ok(revoked.at_s)
}

fn not_revoked(error: CallError) -> Failure {
    let problem = match error {
        CallError::Refused(problem) => LocalProblem::new(
            Exit::Refused,
            format!("{}: {}", problem.title, problem.detail),
            &problem.help,
        ),
        CallError::Busy(..) => LocalProblem::new(
            Exit::Failed,
            error.to_string(),
            "nothing was revoked; try again in a moment",
        ),
        CallError::Unreachable(_) | CallError::Unreadable(_) | CallError::State(_) => LocalProblem::new(
            Exit::Failed,
            error.to_string(),
            "it may have been revoked already; the same again, once the device is online, is safe",
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
            drafts: described(&agent, kept_drafts(&agent).await?).await?,
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

/// Discards a draft, or takes that back; the list as it then is.
pub(crate) async fn change_pending(
    agent: Data<Agent>,
    change: Timely<Json<PendingChange>>,
) -> Result<Json<PendingAnswer>, Failure> {
    later::change(&agent, &change.0).await?;
    Ok(Json(PendingAnswer {
        drafts: described(&agent, kept_drafts(&agent).await?).await?,
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
            kept_at_s: None,
            audience: None,
            begins: None,
            files: None,
            restorable_until_s: None,
        })
        .collect())
}

/// The same with what their author knows them by.
async fn described(agent: &Agent, drafts: Vec<PendingView>) -> anyhow::Result<Vec<PendingView>> {
    let mut connection = agent.vault.connection().await?;
    let rows = kept::shown(&mut connection, &agent.vault.cipher, LISTED_DRAFT_BYTES_MAX).await?;
    let mut rows: BTreeMap<String, _> = rows.into_iter().map(|row| (hex::encode(row.id), row)).collect();
    let described = drafts.into_iter().map(|view| match rows.remove(&view.id) {
        Some(row) => describe(view, row),
        None => view,
    });
    Ok(described.collect())
}

fn describe(view: PendingView, row: kept::ShownRow) -> PendingView {
    let view = PendingView {
        kept_at_s: Some(row.at_s),
        restorable_until_s: row.restorable_until_s.filter(|_| row.value.is_some()),
        ..view
    };
    let Some((header, draft)) = row.value.and_then(|value| draft::from_frame(&value).ok()) else {
        return view;
    };
    PendingView {
        audience: header.audience,
        begins: Some(draft.text().chars().take(LISTED_TEXT_CHARS).collect()),
        files: Some(draft.files().len() as u64),
        ..view
    }
}
