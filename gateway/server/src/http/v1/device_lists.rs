//! Device lists: audiences of apps that seal by themselves (K17).

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::{Data, Path, Payload};
use gateway_api::bytes::Bytes;
use gateway_api::v1::device_lists::{Define, DeviceListState};

use super::groups::group_id;
use crate::domain::device_lists;
use crate::domain::gateway::{Device, Gateway};
use crate::http::body;
use crate::http::problem::ApiResult;
use crate::limits;

/// `POST /v1/device-lists`: a list, or the next version of one.
pub(super) async fn define(gateway: Data<Arc<Gateway>>, device: Device, mut payload: Payload) -> ApiResult {
    let request: Define = body::json(&gateway, &mut payload, limits::METADATA_BYTES_MAX).await?;
    let state = device_lists::define(&gateway, &device, request.list.0).await?;
    Ok(HttpResponse::Created().json(state))
}

/// `GET /v1/device-lists/{list}`: the version in force, for devices that are on it.
pub(super) async fn show(gateway: Data<Arc<Gateway>>, device: Device, path: Path<String>) -> ApiResult {
    let stored = device_lists::list_of(&gateway, &device, group_id(&path)?).await?;
    Ok(HttpResponse::Ok().json(DeviceListState {
        list: Bytes(stored.signed),
        class: stored.class,
    }))
}
