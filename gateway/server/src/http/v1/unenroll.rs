//! `POST /v1/unenroll`: a device leaves for good (E9). Its certificate says who asks, and it can revoke itself alone.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde_json::json;

use crate::domain::gateway::{Device, Gateway};
use crate::domain::record::Kind;
use crate::http::problem::ApiResult;

pub(super) async fn unenroll(gateway: Data<Arc<Gateway>>, device: Device) -> ApiResult {
    gateway
        .record(
            Kind::Unenroll,
            Some(device.person),
            json!({ "device": device.id }),
        )
        .await?;
    gateway.revoke_device(device.id).await?;
    Ok(HttpResponse::NoContent().finish())
}
