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
            // A read is no news, nor is a change of rights; a lost event (`need_rescan`) and an error are.
            let is_quiet = event
                .as_ref()
                .is_ok_and(|event| !event.need_rescan() && leaves_content(event));
            if !is_quiet {
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

/// Whether an event leaves every file's content and name as they were.
fn leaves_content(event: &notify::Event) -> bool {
    use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
    let closes_after_writing = event.kind == EventKind::Access(AccessKind::Close(AccessMode::Write));
    let is_metadata = matches!(event.kind, EventKind::Modify(ModifyKind::Metadata(_)));
    is_metadata || event.kind.is_access() && !closes_after_writing
}

#[cfg(test)]
mod tests {
    use notify::event::{
        AccessKind, AccessMode, CreateKind, DataChange, EventKind, MetadataKind, ModifyKind, RenameMode,
    };

    use super::*;

    fn check(kind: EventKind, quiet: bool) {
        assert_eq!(leaves_content(&notify::Event::new(kind)), quiet, "{kind:?}");
    }

    /// O1: a look at the outbox, which reads its folders and sets their rights, must not ask for another look.
    #[test]
    fn reads_and_changes_of_rights_are_no_hints() {
        check(EventKind::Access(AccessKind::Open(AccessMode::Any)), true);
        check(EventKind::Access(AccessKind::Close(AccessMode::Read)), true);
        check(EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)), true);
        check(EventKind::Access(AccessKind::Close(AccessMode::Write)), false);
        check(EventKind::Create(CreateKind::File), false);
        check(EventKind::Modify(ModifyKind::Name(RenameMode::To)), false);
        check(EventKind::Modify(ModifyKind::Data(DataChange::Any)), false);
    }
}
