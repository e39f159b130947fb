//! What stands at one value at a time, read from where it stands.

use opentelemetry::KeyValue;

use crate::domain::gateway::Gateway;
use crate::{limits, status};

/// Sets every gauge.
pub(crate) async fn observe(gateway: &Gateway) {
    let gauges = &gateway.metrics.gauges;
    let now_s = gateway.clock.now_s();
    gauges
        .build
        .record(1, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))]);
    for (part, trouble) in status::parts(gateway).await {
        let labels = [KeyValue::new("part", part.as_str())];
        gauges.ready.record(u64::from(trouble.is_none()), &labels);
    }
    gauges.queue_depth.record(count(gateway.relay.depth()), &[]);
    gauges.queue_limit.record(count(limits::RELAY_QUEUE_MAX), &[]);
    observe_devices(gateway);
    gauges.ledger_entries.record(gateway.ledger.size(), &[]);
    gauges.directory_entries.record(gateway.directory.size(), &[]);
    if let Ok(free_bytes) = gateway.space.free_bytes() {
        gauges.disk_free.record(free_bytes, &[]);
    }
    gauges
        .clock_settled
        .record(u64::from(!gateway.clock.is_unsettled()), &[]);
    let policy = gateway.policy.load();
    gauges.policy_version.record(policy.version(), &[]);
    if let Some(bundle) = &policy.current {
        gauges
            .policy_age
            .record(now_s.saturating_sub(bundle.activated_s), &[]);
        gauges.policy_end.record(bundle.expires_s, &[]);
    }
    let certificate = |name| [KeyValue::new("certificate", name)];
    gauges
        .certificate_end
        .record(gateway.server_certificate.ends_s(), &certificate("server"));
    if let Some(ends_s) = gateway.keys.authority.ends_s() {
        gauges.certificate_end.record(ends_s, &certificate("authority"));
    }
    if let Ok(oldest_s) = gateway.store.oldest_end().await {
        let lag_s = oldest_s.map_or(0, |oldest_s| now_s.saturating_sub(oldest_s));
        gauges.purge_lag.record(lag_s, &[]);
    }
}

fn observe_devices(gateway: &Gateway) {
    let (mut enrolled, mut revoked, mut quarantined) = (0_u64, 0_u64, 0_u64);
    gateway.directory.read(|directory| {
        for device in directory.devices() {
            let state = match (device.revoked, gateway.quarantine.cause(device.device)) {
                (true, _) => &mut revoked,
                (false, Some(_)) => &mut quarantined,
                (false, None) => &mut enrolled,
            };
            *state = state.saturating_add(1);
        }
    });
    let gauges = &gateway.metrics.gauges;
    for (state, devices) in [
        ("enrolled", enrolled),
        ("revoked", revoked),
        ("quarantined", quarantined),
    ] {
        gauges.devices.record(devices, &[KeyValue::new("state", state)]);
    }
    gauges.waiting.record(count(gateway.wake.waiting()), &[]);
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
