//! `POST /v1/groups/{group}/stories`: an envelope with its clearance (K12-K14).

use std::sync::Arc;

use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use gateway_api::bytes::Bytes;
use gateway_api::v1::rejoin::{STATE_HEADER, StateMark};
use gateway_api::v1::stories::{Accepted, CLEARANCE_HEADER};

use crate::domain::admission::{self, Posted};
use crate::domain::clearance::Target;
use crate::domain::fault::Fault;
use crate::domain::gateway::{Device, Gateway};
use crate::http::body;
use crate::http::problem::ApiResult;
use crate::http::v1::groups::group_id;
use crate::limits;

pub(in crate::http::v1) async fn post(
    gateway: Data<Arc<Gateway>>,
    device: Device,
    path: Path<String>,
    request: HttpRequest,
    mut payload: Payload,
) -> ApiResult {
    let group = group_id(&path)?;
    let envelope = body::read(&gateway, &mut payload, limits::ENVELOPE_BYTES_MAX).await?;
    let posted = Posted {
        to: Target::Group(group),
        envelope: &envelope,
        clearance: clearance(&request),
        mark: state_mark(&request)?,
    };
    submit(&gateway, &device, posted).await
}

/// `POST /v1/device-lists/{list}/stories`: what an app sealed, byte for byte, with its clearance (A12, K17).
pub(in crate::http::v1) async fn post_to_list(
    gateway: Data<Arc<Gateway>>,
    device: Device,
    path: Path<String>,
    request: HttpRequest,
    mut payload: Payload,
) -> ApiResult {
    let list = group_id(&path)?;
    let envelope = body::read(&gateway, &mut payload, limits::ENVELOPE_BYTES_MAX).await?;
    let posted = Posted {
        to: Target::DeviceList(list),
        envelope: &envelope,
        clearance: clearance(&request),
        mark: None,
    };
    submit(&gateway, &device, posted).await
}

async fn submit(gateway: &Gateway, device: &Device, posted: Posted<'_>) -> ApiResult {
    let acceptance = admission::submit(gateway, device, posted).await?;
    Ok(HttpResponse::Created().json(Accepted {
        acceptance: Bytes(acceptance),
    }))
}

/// A header that is not base64url is a clearance that cannot be read: no bytes parse as one.
fn clearance(request: &HttpRequest) -> Option<Vec<u8>> {
    let header = request.headers().get(CLEARANCE_HEADER);
    header.map(|value| {
        value
            .to_str()
            .ok()
            .and_then(|text| Bytes::from_text(text).ok())
            .unwrap_or_default()
            .0
    })
}

/// How far the sender's MLS state has come; a device of an earlier version does not say (M7).
fn state_mark(request: &HttpRequest) -> Result<Option<StateMark>, Fault> {
    let header = request.headers().get(STATE_HEADER);
    header
        .map(|value| {
            let text = value.to_str().ok();
            text.and_then(|text| text.parse().ok())
                .ok_or_else(|| Fault::bad_request("the state mark cannot be read"))
        })
        .transpose()
}
