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
    // Agents keep a signed time for good (B5): a clock that jumped signs none (K19).
    if gateway.is_clock_settled().await.map_err(Fault::from)? {
        let at_s = gateway.clock.now_s();
        let timestamp = Timestamp {
            bundle: bundle.digest,
            at_s,
            expires_s: at_s.saturating_add(gateway.config.policy.timestamp_lifetime_s),
        };
        let timestamp = timestamp.sign(&gateway.keys.timestamp);
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
