//! What agents report becomes ledger entries, each once (K25, S2, S3).
//!
//! The order is that of stories (K12): the events are held, their entries are durable, the events are known; only then
//! is the agent told. A crash leaves held events, which the next start settles.

use std::collections::BTreeSet;
use std::sync::Arc;

use gateway_api::error::ErrorCode;
use gateway_api::v1::events::{Event, EventKind, Upload};
use serde_json::{Value, json};

use super::fault::Fault;
use super::gateway::{Device, Gateway};
use super::record::{Kind, Record};
use crate::seam::Point;
use crate::store::events::{self, Known};
use crate::store::logs::NotWritten;

/// Records what is not known yet. Goes on to its end when the caller does not wait for it any more.
///
/// The record has the gateway's time and how far the device's clock is off; the order is the sequence's (S7).
pub(crate) async fn record(gateway: &Arc<Gateway>, device: Device, upload: Upload) -> Result<(), Fault> {
    let gateway = Arc::clone(gateway);
    let recording = tokio::spawn(async move {
        let lock = gateway.reports.of(device.id);
        let _one_at_a_time = lock.lock().await;
        let (ids, records) = hold(&gateway, &device, upload).await?;
        if ids.is_empty() {
            return Ok(());
        }
        gateway.seams.reach(Point::EventsHeld).await;
        let recorded = gateway.ledger.append(records).await;
        if let Err(error) = &recorded
            && error.is::<NotWritten>()
        {
            let mut write = gateway.store.write().await?;
            for id in &ids {
                events::drop_held(&mut write, *id).await?;
            }
            write.commit().await?;
        }
        recorded.map_err(|error| gateway.storage_fault(&error))?;
        gateway.seams.reach(Point::EventsRecorded).await;
        let mut write = gateway.store.write().await?;
        for id in &ids {
            events::release(&mut write, *id).await?;
        }
        Ok(write.commit().await?)
    });
    recording.await.map_err(anyhow::Error::from)?
}

/// First transaction: the events that are new, held, and the entries that they become.
async fn hold(
    gateway: &Gateway,
    device: &Device,
    upload: Upload,
) -> Result<(Vec<policies::terms::EventId>, Vec<Record>), Fault> {
    let (mut ids, mut records) = (Vec::new(), Vec::new());
    let mut write = gateway.store.write().await?;
    let held_from = gateway.ledger.size();
    let now_s = gateway.clock.now_s();
    let mut last = events::last_sequence(&mut write, device.id).await?.unwrap_or(0);
    let mut seen = BTreeSet::new();
    let times = json!({
        "received_s": now_s,
        "device_clock_ahead_s": upload.sent_s.map(|sent_s| i128::from(sent_s) - i128::from(now_s)),
    });
    for event in upload.events {
        if !seen.insert(event.id) {
            continue;
        }
        match events::known(&mut write, event.id).await? {
            Some(Known::Recorded) => continue,
            Some(Known::Held) => {
                return Err(Fault::new(ErrorCode::Busy, "this event is being recorded"));
            }
            None => {}
        }
        if event.sequence > last.saturating_add(1) {
            records.push(gap(gateway, device, last, event.sequence)?);
        }
        last = last.max(event.sequence);
        let record = entry(device, &event, &times)?;
        events::hold(
            &mut write,
            &events::NewEvent {
                id: event.id,
                device: device.id,
                sequence: event.sequence,
                received_s: now_s,
                entry: record.entry,
                held_from,
            },
        )
        .await?;
        ids.push(event.id);
        records.push(record);
    }
    write.commit().await?;
    Ok((ids, records))
}

fn entry(device: &Device, event: &Event, times: &Value) -> Result<Record, Fault> {
    let payload = json!({ "device": device.id, "person": device.person, "event": event, "times": times });
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
