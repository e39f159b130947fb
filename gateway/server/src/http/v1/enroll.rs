//! `POST /v1/enroll`: without a certificate, the token is the authority (E1-E3).

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::{Data, Payload};
use gateway_api::v1::enroll::EnrollRequest;
use policies::terms::Digest;

use crate::domain::enrollment::{self, Answer};
use crate::domain::fault::Fault;
use crate::domain::gateway::Gateway;
use crate::http::body;
use crate::http::problem::ApiResult;
use crate::limits;

pub(super) async fn enroll(gateway: Data<Arc<Gateway>>, mut payload: Payload) -> ApiResult {
    let request: EnrollRequest = body::json(&gateway, &mut payload, limits::METADATA_BYTES_MAX).await?;
    // Who has a token is not kept out by those who guess.
    let token = gateway.store.token(Digest::of(&request.token.0)).await;
    if token.map_err(Fault::from)?.is_none() {
        gateway.check_enrollment_rate()?;
    }
    let answer = enrollment::enroll(&gateway, &request)
        .await
        .inspect_err(|_| gateway.count_failed_enrollment())?;
    Ok(match answer {
        Answer::Enrolled(enrolled) => HttpResponse::Created().json(enrolled),
        Answer::Waiting(waiting) => HttpResponse::Accepted().json(waiting),
    })
}
