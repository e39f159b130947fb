//! `POST /v1/events`: what agents report (K25).

use std::sync::Arc;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use gateway_api::v1::events::{Acknowledged, BATCH_BYTES_MAX, BATCH_MAX, Event, Upload};

use crate::domain::events;
use crate::domain::fault::Fault;
use crate::domain::gateway::{Device, Gateway};
use crate::http::body;
use crate::http::problem::ApiResult;

pub(super) async fn upload(
    gateway: Data<Arc<Gateway>>,
    device: Device,
    request: HttpRequest,
    mut payload: Payload,
) -> ApiResult {
    let upload: Upload = body::encoded_json(&gateway, &request, &mut payload, BATCH_BYTES_MAX).await?;
    if upload.events.len() > BATCH_MAX {
        return Err(Fault::bad_request(format!("upload at most {BATCH_MAX} events")).into());
    }
    // Before anything is written: an entry too large for the ledger is the caller's error.
    if !upload.events.iter().all(Event::is_within_bounds) {
        return Err(Fault::bad_request("an event has a list or a sealed part that is too long").into());
    }
    gateway.check_open()?;
    let ids = upload.events.iter().map(|event| event.id).collect();
    events::record(&gateway, device, upload).await?;
    Ok(HttpResponse::Ok().json(Acknowledged { ids }))
}
