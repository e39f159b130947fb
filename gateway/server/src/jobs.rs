//! Work that nobody asks for: expiry, old rows, the clocks.

mod purge;
mod receipts;

use std::sync::Arc;
use std::time::Instant;

use policies::clock;
use tokio::sync::watch;

use crate::domain::gateway::Gateway;
use crate::domain::record::Kind;
use crate::domain::{space, warm_up};
use crate::{limits, metrics};

/// Runs until `stop` changes.
pub(crate) async fn run(gateway: Arc<Gateway>, mut stop: watch::Receiver<bool>) {
    let mut tick = tokio::time::interval(limits::PURGE_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut observed: Option<Instant> = None;
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            _ = tick.tick() => {}
        }
        round(&gateway).await;
        let interval = gateway.config.telemetry.interval();
        let is_due = observed.is_none_or(|observed| observed.elapsed() >= interval);
        if gateway.metrics.is_exported() && is_due {
            metrics::observe(&gateway).await;
            observed = Some(Instant::now());
        }
    }
}

/// What is due.
pub(crate) async fn round(gateway: &Arc<Gateway>) {
    let authority = &gateway.keys.authority;
    gateway
        .server_certificate
        .look(&gateway.layout, authority, gateway.clock.now_s());
    if gateway.health.check_writable().is_err() {
        return;
    }
    if let Err(error) = space::look(gateway).await {
        tracing::error!(
            error = format!("{error:#}"),
            "room on the disk cannot be made sure of"
        );
    }
    let checked = check_clock(gateway).await;
    let now_s = match checked {
        Ok(now_s) => now_s,
        // A clock that cannot be checked is not trusted to shred by (K19).
        Err(error) => {
            tracing::error!(
                error = format!("{error:#}"),
                "the clocks cannot be compared; nothing is purged"
            );
            return;
        }
    };
    // After a jump nothing is shredded until an operator confirms or the clocks agree again (K19).
    if gateway.clock.is_unsettled() || gateway.health.check_writable().is_err() {
        return;
    }
    if let Err(fault) = purge::run(gateway, now_s).await {
        tracing::error!(%fault, "the purge failed; it is tried again");
    }
    if let Err(fault) = warm_up::go_on(gateway).await {
        tracing::error!(%fault, "a warm-up could not go on; it is tried again");
    }
    if let Err(error) = gateway.ledger.publish().await {
        drop(
            gateway
                .health
                .stop("the ledger's checkpoint cannot be published", &error),
        );
    }
}

/// Compares the wall clock with the boot clock (K19): the wall clock's time.
async fn check_clock(gateway: &Gateway) -> anyhow::Result<u64> {
    let now = gateway.clock.reading()?;
    let before = gateway.store.last_reading().await?;
    let jumped = before
        .as_ref()
        .is_some_and(|before| clock::has_jumped(before, &now));
    if jumped == gateway.clock.is_unsettled() {
        // The reference stays while the clock is unsettled; otherwise it follows slewing, now and then.
        let stale = before.is_none_or(|before| now.wall_s.abs_diff(before.wall_s) >= clock::JUMP_S);
        if !jumped && stale {
            gateway.store.set_last_reading(&now).await?;
        }
        return Ok(now.wall_s);
    }
    gateway.clock.set_unsettled(jumped);
    let what = if jumped { "jumped" } else { "agrees again" };
    tracing::error!(what, "the wall clock against the boot clock");
    gateway
        .record(Kind::Clock, None, serde_json::json!({ "clock": what }))
        .await?;
    Ok(now.wall_s)
}
