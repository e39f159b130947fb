//! Wakes long polls, in process: after the commit, never before (H1).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use policies::terms::DeviceId;
use tokio::sync::Notify;

/// One bell per device that has ever polled, and one for whoever waits for a purge.
#[derive(Default)]
pub(crate) struct Wake {
    by_device: Mutex<HashMap<DeviceId, Arc<Notify>>>,
    purged: Notify,
}

impl Wake {
    /// The device's bell. Listen first, look second: what happens in between rings it.
    pub(crate) fn bell(&self, device: DeviceId) -> Arc<Notify> {
        let mut by_device = self.by_device.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(by_device.entry(device).or_default())
    }

    pub(crate) fn devices<'a>(&self, devices: impl IntoIterator<Item = &'a DeviceId>) {
        let by_device = self.by_device.lock().unwrap_or_else(PoisonError::into_inner);
        for bell in devices.into_iter().filter_map(|device| by_device.get(device)) {
            bell.notify_waiters();
        }
    }

    /// For what concerns all: a bundle, a new entry of the directory log, shutdown.
    pub(crate) fn everyone(&self) {
        let by_device = self.by_device.lock().unwrap_or_else(PoisonError::into_inner);
        by_device.values().for_each(|bell| bell.notify_waiters());
    }

    /// Rung after each purge.
    pub(crate) fn purged(&self) -> &Notify {
        &self.purged
    }
}
