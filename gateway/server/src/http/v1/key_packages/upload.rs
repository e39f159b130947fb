//! `POST /v1/key-packages`: one's own, each leaf checked against the directory log (K5). `GET`: how many are left.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::{Data, Payload};
use gateway_api::v1::key_packages::{Stock, Upload};

use crate::domain::gateway::{Device, Gateway};
use crate::domain::membership::check_key_package;
use crate::http::body;
use crate::http::problem::ApiResult;
use crate::limits;

pub(in crate::http::v1) async fn upload(
    gateway: Data<Arc<Gateway>>,
    device: Device,
    mut payload: Payload,
) -> ApiResult {
    let upload: Upload = body::json(&gateway, &mut payload, limits::KEY_PACKAGES_BYTES_MAX).await?;
    for package in upload.one_time.iter().chain(&upload.last_resort) {
        gateway.with_registry(|registry| check_key_package(&package.0, device.id, registry))?;
    }
    let one_time: Vec<Vec<u8>> = upload.one_time.into_iter().map(|package| package.0).collect();
    let last_resort = upload.last_resort.as_ref().map(|package| package.0.as_slice());
    let one_time = gateway
        .store
        .add_key_packages(device.id, &one_time, last_resort, upload.renew)
        .await?;
    Ok(HttpResponse::Ok().json(Stock { one_time }))
}

pub(in crate::http::v1) async fn stock(gateway: Data<Arc<Gateway>>, device: Device) -> ApiResult {
    let one_time = gateway.store.key_package_stock(device.id).await?;
    Ok(HttpResponse::Ok().json(Stock { one_time }))
}
