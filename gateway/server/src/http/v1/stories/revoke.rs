//! `POST /v1/stories/{cti}/revoke`: the author takes a story back; its key and object go at once (D5, K18).

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use gateway_api::v1::stories::Revoked;
use serde_json::json;

use super::cti;
use crate::domain::gateway::{Device, Gateway};
use crate::domain::record::Kind;
use crate::http::problem::ApiResult;
use crate::relay::Takeback;

pub(in crate::http::v1) async fn revoke(
    gateway: Data<Arc<Gateway>>,
    device: Device,
    path: Path<String>,
) -> ApiResult {
    let cti = cti(&path)?;
    // Not `check_open`: this makes room.
    gateway.check_trusted()?;
    let record = gateway.entry(
        Kind::StoryRevoke,
        Some(device.person),
        json!({ "cti": cti, "device": device.id }),
    )?;
    let at_s = gateway
        .relay
        .take_back(Takeback {
            cti,
            device: device.id,
            record,
        })
        .await?;
    Ok(HttpResponse::Ok().json(Revoked { at_s }))
}
