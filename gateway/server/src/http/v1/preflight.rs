//! `POST /v1/preflight`: what the sharing rules would say (P12).

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::{Data, Payload};
use gateway_api::error::ErrorCode;
use gateway_api::v1::preflight::PreflightRequest;
use policies::terms::Binding;

use crate::domain::admission::{self, Asked};
use crate::domain::device_lists;
use crate::domain::fault::Fault;
use crate::domain::gateway::{Device, Gateway};
use crate::http::body;
use crate::http::problem::ApiResult;
use crate::limits;

pub(super) async fn preflight(
    gateway: Data<Arc<Gateway>>,
    device: Device,
    mut payload: Payload,
) -> ApiResult {
    let request: PreflightRequest = body::json(&gateway, &mut payload, limits::METADATA_BYTES_MAX).await?;
    let audience_class = match request.binding {
        Binding::AgentSealed => gateway.audience_of(&device, request.group).await?.class,
        Binding::AppAsserted => {
            device_lists::list_of(&gateway, &device, request.group)
                .await?
                .class
        }
    };
    let bundle = gateway.policy.load().current.clone();
    let bundle = bundle.ok_or_else(|| Fault::new(ErrorCode::PolicyNotAccepted, "no bundle is in force"))?;
    let now_s = gateway.clock.now_s();
    let PreflightRequest {
        labels,
        app,
        tier,
        binding,
        ..
    } = request;
    let asked = Asked {
        labels,
        audience_class,
        app,
        tier,
        binding,
    };
    let decision = admission::decide(&bundle, &device, asked, now_s)?;
    Ok(HttpResponse::Ok().json(decision))
}
