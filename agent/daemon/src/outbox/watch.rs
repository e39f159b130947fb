//! Hints from the file system (O1, O2): any event only says "look now".

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// A running watch; dropping it ends the hints, not the scans.
pub(crate) struct Watch {
    watcher: RecommendedWatcher,
}

impl Watch {
    /// Wakes `hurry` whenever something happens. The callback does nothing else, so that a burst
    /// cannot overflow anything: many hints are one hint.
    ///
    /// # Errors
    /// The system gives no watch; the message names the limit to raise.
    pub(crate) fn start(hurry: Arc<Notify>) -> anyhow::Result<Self> {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // A read of ours is no news; a lost event (`need_rescan`) and an error are.
            let is_read = event.as_ref().is_ok_and(|event| {
                !event.need_rescan() && event.kind.is_access() && !closes_after_writing(event)
            });
            if !is_read {
                hurry.notify_one();
            }
        })
        .context("the file system gives no watch; on Linux raise fs.inotify.max_user_instances")?;
        Ok(Self { watcher })
    }

    /// Watches a folder, not what is below it. Watching one twice is harmless.
    pub(crate) fn add(&mut self, folder: &Path) -> anyhow::Result<()> {
        self.watcher
            .watch(folder, RecursiveMode::NonRecursive)
            .context("a folder cannot be watched; on Linux raise fs.inotify.max_user_watches")
    }
}

fn closes_after_writing(event: &notify::Event) -> bool {
    use notify::event::{AccessKind, AccessMode, EventKind};
    event.kind == EventKind::Access(AccessKind::Close(AccessMode::Write))
}
