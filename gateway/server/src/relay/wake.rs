//! Wakes long polls, in process: after the commit, never before (H1).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use policies::terms::DeviceId;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::limits;

/// One bell per device that has ever polled, and one for whoever waits for a purge.
#[derive(Default)]
pub(crate) struct Wake {
    by_device: Mutex<HashMap<DeviceId, Place>>,
    purged: Notify,
}

#[derive(Default)]
struct Place {
    bell: Arc<Bell>,
    /// When the device polled last, Unix seconds.
    polled_s: u64,
}

/// What a waiting device hears.
#[derive(Default)]
pub(crate) struct Bell {
    notify: Notify,
    rung: Mutex<Option<Instant>>,
}

impl Bell {
    /// Rung from now on.
    pub(crate) fn notified(&self) -> Notified<'_> {
        self.notify.notified()
    }

    /// How long ago it was rung last.
    pub(crate) fn since(&self) -> Option<Duration> {
        let rung = *self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        rung.map(|rung| rung.elapsed())
    }

    fn ring(&self, now: Instant) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        self.notify.notify_waiters();
    }
}

impl Wake {
    /// The bell of a device that polls. Listen first, look second: what happens in between rings it.
    pub(crate) fn bell(&self, device: DeviceId, now_s: u64) -> Arc<Bell> {
        let mut by_device = self.by_device.lock().unwrap_or_else(PoisonError::into_inner);
        let place = by_device.entry(device).or_default();
        place.polled_s = now_s;
        Arc::clone(&place.bell)
    }

    /// Devices that wait.
    pub(crate) fn waiting(&self) -> usize {
        let by_device = self.by_device.lock().unwrap_or_else(PoisonError::into_inner);
        by_device.values().filter(|place| place.is_waiting()).count()
    }

    /// Whether the device polls, or did a moment ago.
    pub(crate) fn is_online(&self, device: DeviceId, now_s: u64) -> bool {
        let by_device = self.by_device.lock().unwrap_or_else(PoisonError::into_inner);
        by_device.get(&device).is_some_and(|place| {
            place.is_waiting() || now_s.saturating_sub(place.polled_s) <= limits::ONLINE_S
        })
    }

    pub(crate) fn devices<'a>(&self, devices: impl IntoIterator<Item = &'a DeviceId>) {
        let by_device = self.by_device.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        for place in devices.into_iter().filter_map(|device| by_device.get(device)) {
            place.bell.ring(now);
        }
    }

    /// For what concerns all: a bundle, a new entry of the directory log, shutdown.
    pub(crate) fn everyone(&self) {
        let by_device = self.by_device.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        by_device.values().for_each(|place| place.bell.ring(now));
    }

    /// Rung after each purge.
    pub(crate) fn purged(&self) -> &Notify {
        &self.purged
    }
}

impl Place {
    fn is_waiting(&self) -> bool {
        Arc::strong_count(&self.bell) > 1
    }
}
