//! What agents report becomes ledger entries, each once (K25, S2, S3).
//!
//! The order is that of stories (K12): the events are held, their entries are durable, the events are known; only then
//! is the agent told. A crash leaves held events, which the next start settles.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context as _;
use gateway_api::error::ErrorCode;
use gateway_api::v1::events::{Event, EventKind, Upload};
use policies::terms::{Digest, EventId};
use serde::Serialize;
use serde_json::{Value, json};

use super::fault::Fault;
use super::gateway::{Device, Gateway};
use super::record::{Kind, Record};
use crate::seam::Point;
use crate::store::events::{self, Known, Last};
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
        // In the ledger and not known here: only the next start can tell.
        let released = release(&gateway, &ids).await;
        released.map_err(|error| {
            gateway
                .health
                .stop("what was reported cannot be settled", &error.into())
        })
    });
    recording.await.map_err(anyhow::Error::from)?
}

async fn release(gateway: &Gateway, ids: &[EventId]) -> sqlx::Result<()> {
    let mut write = gateway.store.write().await?;
    for id in ids {
        events::release(&mut write, *id).await?;
    }
    write.commit().await
}

/// First transaction: the events that are new, held, and the entries that they become.
async fn hold(
    gateway: &Gateway,
    device: &Device,
    upload: Upload,
) -> Result<(Vec<EventId>, Vec<Record>), Fault> {
    let (mut ids, mut records) = (Vec::new(), Vec::new());
    let mut write = gateway.store.write().await?;
    let held_from = gateway.ledger.size();
    let now_s = gateway.clock.now_s();
    let mut last = events::last(&mut write, device.id).await?.unwrap_or_default();
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
        let digest = event.digest().context("an event has no digest")?;
        if let Some(breach) = Breach::between(&last, &event) {
            records.push(breach.record(gateway, device, last.sequence, event.sequence)?);
        }
        last = Last {
            place: last.place.saturating_add(1),
            sequence: event.sequence,
            digest: event.link.is_some().then_some(digest),
        };
        let record = entry(device, &event, &times)?;
        events::hold(
            &mut write,
            &events::NewEvent {
                id: event.id,
                device: device.id,
                last,
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

/// How an event does not follow from the one that came before it: the auditor sees it, and what follows is taken (S3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Breach {
    /// Numbers between the two were lost or removed.
    Missing,
    /// Its number is not above that of the one before: moved, or of a device whose state was put back.
    OutOfOrder,
    /// It names another event before it than the one that was reported under that number.
    Altered,
    /// It begins a chain anew: the device lost its spool.
    BegunAnew,
    /// It has no link, and the one before had one.
    Unchained,
}

impl Breach {
    fn between(last: &Last, event: &Event) -> Option<Self> {
        let named: Option<Digest> = match (&event.link, last.digest) {
            (None, Some(_)) => return Some(Self::Unchained),
            (Some(link), Some(_)) if link.before.is_none() => return Some(Self::BegunAnew),
            (None, None) => None,
            (Some(link), _) => link.before,
        };
        if event.sequence <= last.sequence {
            Some(Self::OutOfOrder)
        } else if event.sequence > last.sequence.saturating_add(1) {
            Some(Self::Missing)
        } else if named != last.digest {
            Some(Self::Altered)
        } else {
            None
        }
    }

    fn record(self, gateway: &Gateway, device: &Device, last: u64, next: u64) -> Result<Record, Fault> {
        let payload = json!({
            "device": device.id, "person": device.person, "what": self, "after": last, "before": next,
        });
        gateway.entry(Kind::EventGap, Some(device.person), payload)
    }
}
