//! `GET /v1/groups/{group}/public-state`, `POST .../external-commit`, `POST .../readmission`: a device that lost its
//! state replaces its leaf, or has it removed (M4, K4, K9).

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::{Data, Path, Payload};
use gateway_api::bytes::Bytes;
use gateway_api::error::ErrorCode;
use gateway_api::v1::groups::Committed;
use gateway_api::v1::rejoin::{ExternalCommit, PublicState};
use policies::terms::AudienceId;
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

pub(in crate::http::v1) async fn public_state(
    gateway: Data<Arc<Gateway>>,
    device: Device,
    path: Path<String>,
) -> ApiResult {
    let id = group_id(&path)?;
    gateway.audience_of(&device, id).await?;
    let lock = gateway.group_lock(id);
    let _unchanged = lock.lock().await;
    let group = load(&gateway, id).await?;
    let group_info = gateway.store.group_info(id, group.epoch()).await?;
    let group_info = group_info.ok_or_else(|| {
        Fault::new(
            ErrorCode::GroupInfoMissing,
            "no member has left the group's public state here since this gateway keeps it",
        )
    })?;
    Ok(HttpResponse::Ok().json(PublicState {
        group_info: Bytes(group_info),
        ratchet_tree: Bytes(group.ratchet_tree()?),
    }))
}

pub(in crate::http::v1) async fn external_commit(
    gateway: Data<Arc<Gateway>>,
    device: Device,
    path: Path<String>,
    mut payload: Payload,
) -> ApiResult {
    let id = group_id(&path)?;
    let request: ExternalCommit = body::json(&gateway, &mut payload, limits::GROUP_BYTES_MAX).await?;
    gateway.check_open()?;
    gateway.audience_of(&device, id).await?;
    let lock = gateway.group_lock(id);
    let _changing = lock.lock().await;
    // Again: the group may have changed while this waited.
    gateway.audience_of(&device, id).await?;
    if let Some(committed) = taken_before(&gateway, &device, id, &request).await? {
        return Ok(HttpResponse::Created().json(committed));
    }
    let mut group = load(&gateway, id).await?;
    let from_epoch = group.epoch();
    gateway.with_registry(|registry| group.rejoin(&request.commit.0, device.id, registry))?;
    group.check_group_info(&request.group_info.0)?;
    let state = gateway.directory.read(|directory| group.state(directory))?;
    let epoch = group.epoch();
    let payload = json!({ "audience": id, "device": device.id, "epoch": epoch, "rejoined": true });
    let change = GroupChange {
        audience: id,
        from_epoch: Some(from_epoch),
        state,
        item: Some(LogBody::Commit(request.commit.0)),
        welcome: None,
        group_info: Some(request.group_info.0),
        rejoined: Some(device.id),
        record: gateway.entry(Kind::Audience, Some(device.person), payload)?,
    };
    let sequence = gateway.relay.change(change).await?;
    Ok(HttpResponse::Created().json(Committed { epoch, sequence }))
}

/// A commit whose answer got lost comes again, and finds its place.
async fn taken_before(
    gateway: &Gateway,
    device: &Device,
    id: AudienceId,
    request: &ExternalCommit,
) -> Result<Option<Committed>, Fault> {
    let entering = gateway.store.entering_commit(id, device.id).await?;
    match entering {
        Some((sequence, commit)) if commit == request.commit.0 => Ok(Some(Committed {
            epoch: Group::epoch_after(&commit)?,
            sequence,
        })),
        Some(_) | None => Ok(None),
    }
}

/// For a device whose leaf key is lost too: its old leaf is removed by a member, who then adds it anew.
pub(in crate::http::v1) async fn readmission(
    gateway: Data<Arc<Gateway>>,
    device: Device,
    path: Path<String>,
) -> ApiResult {
    let id = group_id(&path)?;
    gateway.check_open()?;
    gateway.audience_of(&device, id).await?;
    let group = load(&gateway, id).await?;
    gateway.with_registry(|registry| group.check_may_rejoin(device.id, registry))?;
    gateway.propose_removal(id, device.id).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn load(gateway: &Gateway, id: AudienceId) -> Result<Group, Fault> {
    let state = gateway.store.audience_state(id).await?;
    Ok(Group::load(id, &state.ok_or_else(Fault::not_found)?)?)
}
