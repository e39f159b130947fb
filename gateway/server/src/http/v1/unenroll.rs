//! `POST /v1/unenroll`: a device leaves for good (E9). Its certificate says who asks, and it can revoke itself alone.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::Data;

use crate::domain::gateway::{Device, Gateway};
use crate::http::problem::ApiResult;

pub(super) async fn unenroll(gateway: Data<Arc<Gateway>>, device: Device) -> ApiResult {
    gateway.unenroll_device(&device).await?;
    Ok(HttpResponse::NoContent().finish())
}
