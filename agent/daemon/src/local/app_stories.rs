//! Stories of a registered app that seals by itself (A12): sealed bytes cleared and relayed, and what arrived for it.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data, Json, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use agent_client::wire::{RECEIPT_HEADER, Stories, TakeBack, TakenBack};
use agent_client::{Shared, StoryId};
use agent_seal::Protocol;
use policies::terms::{AudienceId, Cti, Digest};
use serde::Deserialize;

use super::app_lists::offline;
use super::apps::{AppClient, bad_receipt};
use super::receipt::SignedReceipt;
use super::server::Failure;
use super::stories::take_back as revoke;
use super::timely::Timely;
use super::wire::LocalProblem;
use crate::agent::Agent;
use crate::compose::foreign::{self, NotShared, Sealed};
use crate::exit::Exit;
use crate::limits::{APP_WAIT_S_MAX, STORY_TTL_S};
use crate::uplink::foreign as received;
use crate::vault::foreign_sent;

/// What an app says about the bytes in the body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShareQuery {
    list: AudienceId,
    /// Digest of the draft that was sealed, as the check answered it.
    content: Digest,
    protocol: String,
    ttl_s: Option<u32>,
}

/// How long to wait for something to arrive.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoriesQuery {
    wait_s: Option<u64>,
}

/// Has sealed bytes cleared and relayed, under a receipt that is used up.
pub(crate) async fn share(
    agent: Data<Agent>,
    client: AppClient,
    request: HttpRequest,
    query: Query<ShareQuery>,
    body: Timely<Bytes>,
) -> Result<Json<Shared>, Failure> {
    let ShareQuery {
        list,
        content,
        protocol,
        ttl_s,
    } = query.into_inner();
    let header = request.headers().get(RECEIPT_HEADER);
    let header = header.and_then(|header| header.to_str().ok()).unwrap_or_default();
    let receipt = SignedReceipt::from_text(header);
    let sealed = Sealed {
        list,
        protocol: Protocol::parse(&protocol).map_err(anyhow::Error::from)?,
        ttl_s: ttl_s.unwrap_or(STORY_TTL_S),
        envelope: body.0.to_vec(),
    };
    let shared = foreign::share(&agent, &client.app, &receipt, content, sealed).await;
    Ok(Json(shared.map_err(|why| match why {
        NotShared::Receipt(why) => bad_receipt(&agent, why),
        NotShared::Offline => offline(),
        NotShared::Failed(error) => error.into(),
    })?))
}

/// What arrived for the app and is not done, waiting for it if there is nothing.
pub(crate) async fn waiting(
    agent: Data<Agent>,
    client: AppClient,
    query: Query<StoriesQuery>,
) -> Result<Json<Stories>, Failure> {
    let wait_s = query.wait_s.unwrap_or(0).min(APP_WAIT_S_MAX);
    let mut changes = agent.subscribe();
    let arrives = async {
        loop {
            let stories = received::waiting(&agent, &client.app).await?;
            if !stories.is_empty() {
                return anyhow::Ok(stories);
            }
            changes.changed().await?;
        }
    };
    let stories = match tokio::time::timeout(Duration::from_secs(wait_s), arrives).await {
        Ok(stories) => stories?,
        Err(_) => received::waiting(&agent, &client.app).await?,
    };
    Ok(Json(Stories { stories }))
}

/// The bytes of one.
pub(crate) async fn bytes(
    agent: Data<Agent>,
    client: AppClient,
    path: Path<String>,
) -> Result<HttpResponse, Failure> {
    let bytes = received::bytes(&agent, &client.app, cti(&path)?).await?;
    let bytes = bytes.ok_or_else(not_here)?;
    Ok(HttpResponse::Ok()
        .content_type("application/octet-stream")
        .body(bytes.to_vec()))
}

/// The app has one: its bytes are forgotten.
pub(crate) async fn done(
    agent: Data<Agent>,
    client: AppClient,
    path: Path<String>,
) -> Result<HttpResponse, Failure> {
    if received::done(&agent, &client.app, cti(&path)?).await? {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(not_here())
    }
}

/// Takes one of the app's own back (D5).
pub(crate) async fn take_back(
    agent: Data<Agent>,
    client: AppClient,
    request: Timely<Json<TakeBack>>,
) -> Result<Json<TakenBack>, Failure> {
    let StoryId(text) = &request.0.story;
    let cti = cti(text)?;
    let mut connection = agent.vault.connection().await?;
    let own = foreign_sent::is_of(&mut connection, &client.app, cti).await?;
    drop(connection);
    if !own {
        return Err(not_here());
    }
    let taken_back_at_s = revoke(&agent, cti).await?;
    Ok(Json(TakenBack {
        story: StoryId(cti.to_string()),
        taken_back_at_s,
    }))
}

fn cti(text: &str) -> Result<Cti, Failure> {
    text.parse().map_err(|_| not_here())
}

fn not_here() -> Failure {
    let problem = LocalProblem::new(
        Exit::Usage,
        "no story of this app is here under this id",
        "it may be done, taken back, or over: GET /v1/app/stories shows what waits",
    );
    Failure::with_status(StatusCode::NOT_FOUND, problem)
}
