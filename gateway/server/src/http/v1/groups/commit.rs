//! `POST /v1/groups/{group}/commits`: one winner per epoch, 409 for the rest (M2).

use std::collections::BTreeSet;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::{Data, Path, Payload};
use gateway_api::v1::groups::{Commit, Committed};
use policies::terms::DeviceId;
use serde_json::json;

use super::group_id;
use crate::domain::fault::Fault;
use crate::domain::gateway::{Device, Gateway};
use crate::domain::membership::Group;
use crate::domain::record::{Kind, listed};
use crate::domain::warm_up;
use crate::http::body;
use crate::http::problem::ApiResult;
use crate::limits;
use crate::relay::{GroupChange, Welcome};
use crate::store::audiences::LogBody;

pub(in crate::http::v1) async fn commit(
    gateway: Data<Arc<Gateway>>,
    device: Device,
    path: Path<String>,
    mut payload: Payload,
) -> ApiResult {
    let id = group_id(&path)?;
    let request: Commit = body::json(&gateway, &mut payload, limits::GROUP_BYTES_MAX).await?;
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
    let from_epoch = group.epoch();
    let done = gateway.with_registry(|registry| group.commit(&request.commit.0, device.id, registry))?;
    group.check_group_info(&request.group_info.0)?;
    let welcome = welcome(&group, &device, &request, &done.added)?;
    let state = gateway.directory.read(|directory| group.state(directory))?;
    let epoch = group.epoch();
    let payload = json!({
        "audience": id, "device": device.id, "epoch": epoch,
        "added": listed(&done.added), "removed": listed(&done.removed),
    });
    let record = gateway.entry(Kind::Audience, Some(device.person), payload)?;
    let item = Some(LogBody::Commit(request.commit.0));
    let change = GroupChange {
        audience: id,
        from_epoch: Some(from_epoch),
        state,
        item,
        welcome,
        group_info: Some(request.group_info.0),
        rejoined: None,
        record,
    };
    let sequence = gateway.relay.change(change).await?;
    if let Err(fault) = warm_up::after_commit(&gateway, &group, device.id, done.added.len()).await {
        // The commit stands; what fails here makes posts larger and nothing else.
        tracing::error!(%fault, "nobody could be asked to renew keys");
    }
    Ok(HttpResponse::Created().json(Committed { epoch, sequence }))
}

/// The Welcome goes to exactly those whom the commit adds, with the tree as the gateway itself follows it.
fn welcome(
    group: &Group,
    device: &Device,
    request: &Commit,
    added: &BTreeSet<DeviceId>,
) -> Result<Option<Welcome>, Fault> {
    let joiners: BTreeSet<DeviceId> = request.joiners.iter().copied().collect();
    if joiners != *added {
        return Err(Fault::bad_request(
            "the joiners named are not those whom the commit adds",
        ));
    }
    match (&request.welcome, added.is_empty()) {
        (None, true) => Ok(None),
        (Some(welcome), false) => Ok(Some(Welcome {
            joiners: joiners.into_iter().collect(),
            welcome: welcome.0.clone(),
            ratchet_tree: group.ratchet_tree()?,
            by: device.id,
        })),
        (Some(_), true) | (None, false) => Err(Fault::bad_request(
            "a Welcome goes with additions, and only with them",
        )),
    }
}
