//! Audiences: MLS groups, followed without a key.

pub(super) mod commit;
pub(super) mod create;
pub(super) mod propose;
pub(super) mod rejoin;
pub(super) mod show;

use gateway_api::bytes::Bytes;
use gateway_api::v1::groups::GroupState;
use policies::terms::AudienceId;

use crate::domain::fault::Fault;
use crate::domain::gateway::Gateway;
use crate::http::server::bad_id;

/// The group as members see it.
async fn state(gateway: &Gateway, id: AudienceId) -> Result<GroupState, Fault> {
    let audience = gateway.store.audience(id).await?.ok_or_else(Fault::not_found)?;
    Ok(GroupState {
        group: id,
        epoch: audience.epoch,
        tree_hash: Bytes(audience.tree_hash),
        class: audience.class,
        devices: gateway.store.members(id).await?,
        removal_pending: audience.removal_pending,
        sequence: audience.sequence,
    })
}

pub(super) fn group_id(text: &str) -> Result<AudienceId, Fault> {
    text.parse().map_err(|_| bad_id())
}
