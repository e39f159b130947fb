//! `POST /v1/groups`: a new audience, from its creator's GroupInfo and tree (K9).

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::{Data, Payload};
use gateway_api::v1::groups::Create;
use serde_json::json;

use super::state;
use crate::domain::gateway::{Device, Gateway};
use crate::domain::membership::Group;
use crate::domain::record::Kind;
use crate::http::body;
use crate::http::problem::ApiResult;
use crate::limits;
use crate::relay::GroupChange;

pub(in crate::http::v1) async fn create(
    gateway: Data<Arc<Gateway>>,
    device: Device,
    mut payload: Payload,
) -> ApiResult {
    let request: Create = body::json(&gateway, &mut payload, limits::GROUP_BYTES_MAX).await?;
    gateway.check_open()?;
    let key = &gateway.keys.external_sender;
    let group = gateway.with_registry(|registry| {
        Group::create(
            &request.group_info.0,
            &request.ratchet_tree.0,
            key,
            device.id,
            registry,
        )
    })?;
    let id = group.id()?;
    let new = gateway.directory.read(|directory| group.state(directory))?;
    let payload =
        json!({ "audience": id, "device": device.id, "created": true, "devices": new.members.len() });
    let record = gateway.entry(Kind::Audience, Some(device.person), payload)?;
    gateway
        .relay
        .change(GroupChange {
            audience: id,
            from_epoch: None,
            state: new,
            item: None,
            welcome: None,
            group_info: Some(request.group_info.0),
            rejoined: None,
            record,
        })
        .await?;
    Ok(HttpResponse::Created().json(state(&gateway, id).await?))
}
