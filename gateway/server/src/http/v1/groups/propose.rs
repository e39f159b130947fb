//! `POST /v1/groups/{group}/proposals`: a member's own removal.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::{Data, Path, Payload};
use gateway_api::v1::groups::{Committed, Proposal};
use serde_json::json;

use super::group_id;
use crate::domain::fault::Fault;
use crate::domain::gateway::{Device, Gateway};
use crate::domain::membership::Group;
use crate::domain::record::Kind;
use crate::http::body;
use crate::http::problem::ApiResult;
use crate::limits;
use crate::relay::GroupChange;
use crate::store::audiences::LogBody;

pub(in crate::http::v1) async fn propose(
    gateway: Data<Arc<Gateway>>,
    device: Device,
    path: Path<String>,
    mut payload: Payload,
) -> ApiResult {
    let id = group_id(&path)?;
    let request: Proposal = body::json(&gateway, &mut payload, limits::METADATA_BYTES_MAX).await?;
    gateway.check_open()?;
    gateway.audience_of(&device, id).await?;
    let lock = gateway.group_lock(id);
    let _changing = lock.lock().await;
    // Again: the group may have changed while this waited.
    gateway.audience_of(&device, id).await?;
    let state = gateway
        .store
        .audience_state(id)
        .await?
        .ok_or_else(Fault::not_found)?;
    let mut group = Group::load(id, &state)?;
    group.propose(&request.proposal.0, device.id)?;
    let epoch = group.epoch();
    let mut state = gateway.directory.read(|directory| group.state(directory))?;
    state.removal_pending = true;
    let payload = json!({ "audience": id, "device": device.id, "epoch": epoch, "proposed_leave": true });
    let record = gateway.entry(Kind::Audience, Some(device.person), payload)?;
    let item = Some(LogBody::Proposal(request.proposal.0));
    let change = GroupChange {
        audience: id,
        from_epoch: Some(epoch),
        state,
        item,
        welcome: None,
        group_info: None,
        rejoined: None,
        record,
    };
    let sequence = gateway.relay.change(change).await?;
    Ok(HttpResponse::Created().json(Committed { epoch, sequence }))
}
