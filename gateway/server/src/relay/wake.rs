//! Wakes long polls, in process: after the commit, never before (H1).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use policies::terms::DeviceId;
use tokio::sync::Notify;

use crate::limits;

/// One bell per device that has ever polled, and one for whoever waits for a purge.
#[derive(Default)]
pub(crate) struct Wake {
    by_device: Mutex<HashMap<DeviceId, Bell>>,
    purged: Notify,
}

#[derive(Default)]
struct Bell {
    notify: Arc<Notify>,
    /// When the device polled last, Unix seconds.
    polled_s: u64,
}

impl Wake {
    /// The bell of a device that polls. Listen first, look second: what happens in between rings it.
    pub(crate) fn bell(&self, device: DeviceId, now_s: u64) -> Arc<Notify> {
        let mut by_device = self.by_device.lock().unwrap_or_else(PoisonError::into_inner);
        let bell = by_device.entry(device).or_default();
        bell.polled_s = now_s;
        Arc::clone(&bell.notify)
    }

    /// Whether the device polls, or did a moment ago.
    pub(crate) fn is_online(&self, device: DeviceId, now_s: u64) -> bool {
        let by_device = self.by_device.lock().unwrap_or_else(PoisonError::into_inner);
        by_device.get(&device).is_some_and(|bell| {
            Arc::strong_count(&bell.notify) > 1 || now_s.saturating_sub(bell.polled_s) <= limits::ONLINE_S
        })
    }

    pub(crate) fn devices<'a>(&self, devices: impl IntoIterator<Item = &'a DeviceId>) {
        let by_device = self.by_device.lock().unwrap_or_else(PoisonError::into_inner);
        for bell in devices.into_iter().filter_map(|device| by_device.get(device)) {
            bell.notify.notify_waiters();
        }
    }

    /// For what concerns all: a bundle, a new entry of the directory log, shutdown.
    pub(crate) fn everyone(&self) {
        let by_device = self.by_device.lock().unwrap_or_else(PoisonError::into_inner);
        by_device.values().for_each(|bell| bell.notify.notify_waiters());
    }

    /// Rung after each purge.
    pub(crate) fn purged(&self) -> &Notify {
        &self.purged
    }
}
