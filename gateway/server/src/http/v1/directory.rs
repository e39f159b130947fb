//! People, and the directory log as C2SP tlog-tiles, for devices (K27: tiles need an authenticated reader).

use std::collections::BTreeSet;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{Data, Path, Payload};
use gateway_api::v1::directory::{People, Person};
use policies::terms::{AudienceClass, PersonId};

use crate::domain::fault::Fault;
use crate::domain::gateway::{Device, Gateway};
use crate::domain::restored;
use crate::http::body;
use crate::http::problem::ApiResult;
use crate::limits;

pub(super) async fn people(gateway: Data<Arc<Gateway>>, device: Device) -> ApiResult {
    let people = gateway.store.people().await?;
    let visible = visible_people(&gateway, &device).await?;
    let people = people.into_iter().filter(|person| person.revoked_s.is_none());
    let people = people.filter(|person| {
        visible
            .as_ref()
            .is_none_or(|visible| visible.contains(&person.id))
    });
    let people = people
        .map(|person| Person {
            person: person.id,
            name: person.name,
        })
        .collect();
    let groups = gateway.store.groups().await?;
    let your_groups = groups
        .into_iter()
        .filter(|(_, people)| people.contains(&device.person))
        .map(|(name, _)| name)
        .collect();
    Ok(HttpResponse::Ok().json(People {
        people,
        you: Some(device.person),
        your_groups,
    }))
}

/// Whom a guest's device sees: its own person, and those who share an audience with it. None for staff, who see all.
async fn visible_people(gateway: &Gateway, device: &Device) -> Result<Option<BTreeSet<PersonId>>, Fault> {
    if gateway
        .directory
        .device(device.id)
        .is_some_and(|logged| logged.class == AudienceClass::Internal)
    {
        return Ok(None);
    }
    let mut visible = BTreeSet::from([device.person]);
    for audience in gateway.store.audiences_of(device.id).await? {
        let members = gateway.store.members(audience).await?;
        visible.extend(
            members
                .into_iter()
                .filter_map(|member| gateway.directory.device(member))
                .map(|member| member.person),
        );
    }
    Ok(Some(visible))
}

pub(super) async fn checkpoint(gateway: Data<Arc<Gateway>>, _: Device) -> ApiResult {
    let checkpoint = gateway
        .directory
        .file("checkpoint")
        .await?
        .ok_or_else(Fault::not_found)?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/plain; charset=utf-8"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(checkpoint))
}

/// A device shows the checkpoint that it holds, since ours is smaller: a gateway that was put back to an earlier state
/// must not go on beside what its agents have followed (K4).
pub(super) async fn shown(gateway: Data<Arc<Gateway>>, _: Device, mut payload: Payload) -> ApiResult {
    let note: String = body::json(&gateway, &mut payload, limits::METADATA_BYTES_MAX).await?;
    restored::shown(&gateway, &note).await?;
    Ok(HttpResponse::NoContent().finish())
}

pub(super) async fn tile(gateway: Data<Arc<Gateway>>, _: Device, path: Path<String>) -> ApiResult {
    if !is_tile(&path) {
        return Err(Fault::not_found().into());
    }
    let tile = gateway
        .directory
        .file(&format!("tile/{path}"))
        .await?
        .ok_or_else(Fault::not_found)?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "application/octet-stream"))
        .body(tile))
}

/// `<level>|entries` then groups of three digits, the last with `.p/<width>` for a partial tile: nothing that could
/// leave the folder.
fn is_tile(path: &str) -> bool {
    let segment = |segment: &str| {
        !segment.is_empty()
            && segment
                .bytes()
                .all(|b| b.is_ascii_digit() || b == b'x' || b == b'.' || b == b'p')
            && !segment.contains("..")
    };
    let mut segments = path.split('/');
    let first = segments.next().is_some_and(|first| {
        first == "entries" || first.bytes().all(|b| b.is_ascii_digit()) && !first.is_empty()
    });
    first && segments.clone().next().is_some() && segments.all(segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tile_paths_reach_the_folder() {
        for path in ["0/000", "entries/x001/234.p/17", "1/000.p/3"] {
            assert!(is_tile(path), "{path}");
        }
        for path in [
            "",
            "0",
            "../keys/ca.key",
            "0/..",
            "0//1",
            "entries/../../gateway.db",
            "/etc/passwd",
            "0/0%2e%2e",
        ] {
            assert!(!is_tile(path), "{path}");
        }
    }
}
