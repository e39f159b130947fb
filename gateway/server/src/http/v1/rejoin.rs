//! `POST /v1/rejoin`: a device that lost its state is logged as coming back (K4).

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::{Data, Payload};
use gateway_api::v1::rejoin::RejoinRequest;

use crate::domain::gateway::{Device, Gateway};
use crate::domain::rejoin;
use crate::http::body;
use crate::http::problem::ApiResult;
use crate::limits;

pub(super) async fn rejoin(gateway: Data<Arc<Gateway>>, device: Device, mut payload: Payload) -> ApiResult {
    let request: RejoinRequest = body::json(&gateway, &mut payload, limits::METADATA_BYTES_MAX).await?;
    let response = rejoin::log(&gateway, &device, &request).await?;
    Ok(HttpResponse::Created().json(response))
}
