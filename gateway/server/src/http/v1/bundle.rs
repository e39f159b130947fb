//! `GET /v1/bundle`: the bundle in force, by ETag, as a long poll when asked (B9), with a fresh timestamp (K6, B4).

pub(super) mod ack;

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header;
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use gateway_api::bytes::Bytes;
use gateway_api::v1::bundle::TIMESTAMP_HEADER;
use policies::bundle::Timestamp;
use policies::terms::Digest;
use serde::Deserialize;
use tokio::time::Instant;

use crate::domain::fault::Fault;
use crate::domain::gateway::{Device, Gateway};
use crate::domain::policy::ActiveBundle;
use crate::http::device;
use crate::http::problem::ApiResult;
use crate::limits;

/// The query.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    #[serde(default)]
    wait_s: u32,
}

pub(super) async fn bundle(
    gateway: Data<Arc<Gateway>>,
    device: Device,
    request: HttpRequest,
    wait: Query<Wait>,
) -> ApiResult {
    let known = request
        .headers()
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let deadline = Instant::now() + Duration::from_secs(u64::from(wait.wait_s.min(limits::WAIT_S_MAX)));
    let bell = gateway.wake.bell(device.id, gateway.clock.now_s());
    loop {
        let rung = bell.notified();
        tokio::pin!(rung);
        rung.as_mut().enable();
        device::check_admitted(&gateway, &device)?;
        let current = gateway.policy.load().current.clone();
        if let Some(bundle) = current.as_ref().filter(|bundle| etag(bundle) != known) {
            return answer(&gateway, bundle, HttpResponse::Ok()).await;
        }
        let over = gateway.relay.is_closed() || tokio::time::timeout_at(deadline, rung).await.is_err();
        device::check_admitted(&gateway, &device)?;
        match current {
            Some(bundle) if over => return answer(&gateway, &bundle, HttpResponse::NotModified()).await,
            None if over => return Err(Fault::not_found().into()),
            Some(_) | None => {}
        }
    }
}

fn etag(bundle: &ActiveBundle) -> String {
    format!("\"{}\"", bundle.digest)
}

async fn answer(
    gateway: &Gateway,
    bundle: &ActiveBundle,
    mut response: actix_web::HttpResponseBuilder,
) -> ApiResult {
    if let Some(timestamp) = timestamp(gateway, bundle.digest).await? {
        response.insert_header((TIMESTAMP_HEADER, Bytes(timestamp).to_text()));
    }
    response
        .insert_header((header::ETAG, etag(bundle)))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_TYPE, "application/cbor"));
    let response = response.finish();
    if response.status() == actix_web::http::StatusCode::NOT_MODIFIED {
        return Ok(response);
    }
    Ok(response.set_body(actix_web::body::BoxBody::new(bundle.bytes.clone())))
}

/// The proof that this is the latest bundle. Agents keep a signed time for good (B5): a clock that jumped signs none (K19).
async fn timestamp(gateway: &Gateway, bundle: Digest) -> Result<Option<Vec<u8>>, Fault> {
    if !gateway.is_clock_settled().await? {
        return Ok(None);
    }
    let at_s = gateway.clock.now_s();
    let expires_s = at_s.saturating_add(gateway.config.policy.timestamp_lifetime_s);
    let timestamp = Timestamp {
        bundle,
        at_s,
        expires_s,
    };
    Ok(Some(timestamp.sign(&gateway.keys.timestamp)))
}

#[cfg(test)]
mod tests {
    use policies::keys::Ed25519PublicKey;

    use super::*;
    use crate::relay::tests::{START_S, World};

    /// B5, K19: a clock that has jumped since the last look signs no time, at once.
    #[tokio::test]
    async fn clock_that_jumped_signs_no_time() {
        let world = World::new().await;
        crate::jobs::round(&world.gateway).await;
        let bundle = Digest::of(b"bundle");
        let signed = timestamp(&world.gateway, bundle).await.unwrap().unwrap();
        let key = world.gateway.keys.timestamp.verifying_key().to_bytes();
        let key = Ed25519PublicKey::from_bytes(&key).unwrap();
        assert_eq!(Timestamp::parse_verify(&signed, &key).unwrap().at_s, START_S);

        world.gateway.clock.jump_to(START_S + 365 * 86_400);

        assert!(timestamp(&world.gateway, bundle).await.unwrap().is_none());
    }
}
