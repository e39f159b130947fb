//! `POST /v1/events`: what agents report, each a ledger entry, once (K25, S2, S3).

use std::collections::BTreeSet;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::{Data, Payload};
use gateway_api::v1::events::{Acknowledged, BATCH_MAX, Event, EventKind, Upload};
use policies::terms::EventId;
use serde_json::json;

use crate::domain::fault::Fault;
use crate::domain::gateway::{Device, Gateway};
use crate::domain::record::{Kind, Record};
use crate::http::body;
use crate::http::problem::ApiResult;
use crate::limits;

pub(super) async fn upload(gateway: Data<Arc<Gateway>>, device: Device, mut payload: Payload) -> ApiResult {
    let upload: Upload = body::json(&mut payload, limits::EVENTS_BYTES_MAX).await?;
    if upload.events.len() > BATCH_MAX {
        return Err(Fault::bad_request(format!("upload at most {BATCH_MAX} events")).into());
    }
    // Before anything is written: an entry too large for the ledger is the caller's error.
    if !upload.events.iter().all(Event::is_within_bounds) {
        return Err(Fault::bad_request("an event has a list or a sealed part that is too long").into());
    }
    gateway.check_open()?;
    let ids: Vec<EventId> = upload.events.iter().map(|event| event.id).collect();
    let mut seen = BTreeSet::new();
    let mut records = Vec::new();
    let mut recorded = Vec::new();
    let mut last = gateway.store.last_event_sequence(device.id).await?.unwrap_or(0);
    for event in upload.events {
        if !seen.insert(event.id) || gateway.store.has_event(event.id).await? {
            continue;
        }
        if event.sequence > last.saturating_add(1) {
            records.push(gap(&gateway, &device, last, event.sequence)?);
        }
        last = last.max(event.sequence);
        let record = record(&device, &event)?;
        recorded.push((event.id, event.sequence, record.entry));
        records.push(record);
    }
    if !records.is_empty() {
        gateway
            .ledger
            .append(records)
            .await
            .map_err(|error| gateway.storage_fault(&error))?;
        gateway
            .store
            .add_events(device.id, &recorded, gateway.clock.now_s())
            .await?;
    }
    Ok(HttpResponse::Ok().json(Acknowledged { ids }))
}

fn record(device: &Device, event: &Event) -> Result<Record, Fault> {
    let payload = json!({ "device": device.id, "person": device.person, "event": event });
    let kind = match event.kind {
        EventKind::Blocked | EventKind::Shared | EventKind::Refused => Kind::Event,
        EventKind::FalsePositive => Kind::FalsePositive,
    };
    Ok(Record::new(
        kind,
        Some(device.person),
        event.policy_version,
        payload,
    )?)
}

/// Missing numbers are lost or removed events: the auditor sees it (S3).
fn gap(gateway: &Gateway, device: &Device, last: u64, next: u64) -> Result<Record, Fault> {
    let payload = json!({ "device": device.id, "person": device.person, "after": last, "before": next });
    gateway.entry(Kind::EventGap, Some(device.person), payload)
}
