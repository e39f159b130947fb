//! `GET /v1/stories/{cti}`: the receipt of one's own story (K13).

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use gateway_api::bytes::Bytes;
use gateway_api::v1::stories::Accepted;

use super::cti;
use crate::domain::fault::Fault;
use crate::domain::gateway::{Device, Gateway};
use crate::http::problem::ApiResult;

pub(in crate::http::v1) async fn show(
    gateway: Data<Arc<Gateway>>,
    device: Device,
    path: Path<String>,
) -> ApiResult {
    let story = gateway
        .store
        .story(cti(&path)?)
        .await?
        .filter(|story| story.device == device.id);
    let acceptance = story
        .and_then(|story| story.acceptance)
        .ok_or_else(Fault::not_found)?;
    Ok(HttpResponse::Ok().json(Accepted {
        acceptance: Bytes(acceptance),
    }))
}
