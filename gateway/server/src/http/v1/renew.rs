//! `POST /v1/renew`: the next certificate, also for one that has ended (E4, E5).

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::{Data, Payload};
use gateway_api::v1::renew::RenewRequest;

use crate::domain::gateway::Gateway;
use crate::domain::renewal::{self, RenewingDevice};
use crate::http::body;
use crate::http::problem::ApiResult;
use crate::limits;

pub(super) async fn renew(
    gateway: Data<Arc<Gateway>>,
    device: RenewingDevice,
    mut payload: Payload,
) -> ApiResult {
    let request: RenewRequest = body::json(&gateway, &mut payload, limits::METADATA_BYTES_MAX).await?;
    let response = renewal::renew(&gateway, &device, &request).await?;
    Ok(HttpResponse::Created().json(response))
}
