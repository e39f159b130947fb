//! `POST /v1/key-packages/claim`: one for each device that has any and is not revoked.

use std::collections::BTreeSet;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::{Data, Payload};
use gateway_api::bytes::Bytes;
use gateway_api::v1::key_packages::{Claim, Claimed, ClaimedKeyPackage};
use policies::terms::DeviceId;

use crate::domain::fault::Fault;
use crate::domain::gateway::{Device, Gateway};
use crate::http::body;
use crate::http::problem::ApiResult;
use crate::limits;

pub(in crate::http::v1) async fn claim(
    gateway: Data<Arc<Gateway>>,
    _: Device,
    mut payload: Payload,
) -> ApiResult {
    let claim: Claim = body::json(&gateway, &mut payload, limits::METADATA_BYTES_MAX * 2).await?;
    if claim.devices.len() > limits::CLAIM_DEVICES_MAX {
        return Err(
            Fault::bad_request(format!("claim at most {} at once", limits::CLAIM_DEVICES_MAX)).into(),
        );
    }
    let mut seen = BTreeSet::new();
    let live = |device: &DeviceId| {
        gateway
            .directory
            .device(*device)
            .is_some_and(|logged| !logged.revoked)
    };
    let devices: Vec<DeviceId> = claim
        .devices
        .into_iter()
        .filter(|device| seen.insert(*device))
        .filter(live)
        .collect();
    let claimed = gateway.store.claim_key_packages(&devices).await?;
    let key_packages = claimed
        .into_iter()
        .map(|(device, key_package)| ClaimedKeyPackage {
            device,
            key_package: Bytes(key_package),
        })
        .collect();
    Ok(HttpResponse::Ok().json(Claimed { key_packages }))
}
