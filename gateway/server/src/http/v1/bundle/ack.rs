//! `POST /v1/bundle/ack`: how far a device came with a bundle (B10).

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::{Data, Payload};
use gateway_api::v1::bundle::Ack;

use crate::domain::gateway::{Device, Gateway};
use crate::domain::policy;
use crate::http::body;
use crate::http::problem::ApiResult;
use crate::limits;

pub(in crate::http::v1) async fn ack(
    gateway: Data<Arc<Gateway>>,
    device: Device,
    mut payload: Payload,
) -> ApiResult {
    let ack: Ack = body::json(&gateway, &mut payload, limits::METADATA_BYTES_MAX).await?;
    policy::acknowledge(&gateway, &device, &ack).await?;
    Ok(HttpResponse::NoContent().finish())
}
