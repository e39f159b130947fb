//! `GET /v1/groups/{group}`: for members.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};

use super::{group_id, state};
use crate::domain::gateway::{Device, Gateway};
use crate::http::problem::ApiResult;

pub(in crate::http::v1) async fn show(
    gateway: Data<Arc<Gateway>>,
    device: Device,
    path: Path<String>,
) -> ApiResult {
    let id = group_id(&path)?;
    gateway.audience_of(&device, id).await?;
    Ok(HttpResponse::Ok().json(state(&gateway, id).await?))
}
