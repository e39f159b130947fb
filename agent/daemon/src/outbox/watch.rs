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
    /// Wakes `hurry` whenever something happens in or to `root`. The callback does nothing else, and
    /// many hints are one hint: a channel of one place, which is full when a look is due anyway, so
    /// that a burst overflows nothing and a lost event costs nothing (O2).
    ///
    /// # Errors
    /// The system gives no watch; the message names the limit to raise.
    pub(crate) fn start(root: &Path, hurry: Arc<Notify>) -> anyhow::Result<Self> {
        // Events name absolute paths, however the folder was named.
        let root = std::path::absolute(root)?;
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| is_hint(&event, &root)) {
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

/// Whether an event asks for a look: first whether events were lost, which names no path (O2), then whether it is
/// about the outbox, since its parent is watched too (O12). A read is no news, nor is a change of rights.
fn is_hint(event: &notify::Event, root: &Path) -> bool {
    let concerns = || event.paths.iter().any(|path| path.starts_with(root));
    event.need_rescan() || concerns() && !leaves_content(event)
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
    use crate::outbox::places::Places;

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

    /// O2: lost events come without a path; O12: what happens beside the outbox is no hint.
    #[test]
    fn lost_events_are_a_hint_and_strange_files_are_none() {
        let root = Path::new("/a/outbox");
        let lost = notify::Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
        assert!(is_hint(&lost, root));
        let at = |path: &str| notify::Event::new(EventKind::Create(CreateKind::File)).add_path(path.into());
        assert!(is_hint(&at("/a/outbox/team/plan.txt"), root));
        assert!(is_hint(&at("/a/outbox"), root));
        assert!(!is_hint(&at("/a/state.db-wal"), root));
        assert!(!is_hint(&notify::Event::new(EventKind::Other), root));
    }

    /// O1: an outbox that is named from where the agent was started is watched as well.
    #[tokio::test]
    async fn a_relative_folder_gives_hints() {
        let folder = tempfile::tempdir_in(".").unwrap();
        let here = std::env::current_dir().unwrap();
        let relative = folder
            .path()
            .strip_prefix(&here)
            .unwrap_or(folder.path())
            .to_owned();
        assert!(relative.is_relative());
        let hurry = Arc::new(Notify::new());
        let mut watch = Watch::start(&relative, Arc::clone(&hurry)).unwrap();
        watch.add(&relative).unwrap();
        std::fs::write(relative.join("plan.txt"), "the plan").unwrap();
        hinted(&hurry).await;
    }

    /// Awaits a hint; the limit is against hanging.
    async fn hinted(hurry: &Notify) {
        let limit = std::time::Duration::from_secs(60);
        tokio::time::timeout(limit, hurry.notified()).await.unwrap();
    }

    struct Watched {
        folder: tempfile::TempDir,
        places: Places,
        hurry: Arc<Notify>,
        watch: Watch,
    }

    fn watched() -> Watched {
        let folder = tempfile::tempdir().unwrap();
        let places = Places::create(&folder.path().join("outbox")).unwrap();
        let hurry = Arc::new(Notify::new());
        let mut watch = Watch::start(places.root(), Arc::clone(&hurry)).unwrap();
        watch.add(folder.path()).unwrap();
        watch.add(places.root()).unwrap();
        Watched {
            folder,
            places,
            hurry,
            watch,
        }
    }

    /// O1, as measured: a folder made with a file at once, or moved in with one, gives no event for the file; the look
    /// that the folder's own event asks for finds it.
    #[tokio::test]
    async fn files_of_folders_that_just_came_are_found() {
        let watched = watched();
        std::fs::create_dir(watched.places.root().join("made")).unwrap();
        std::fs::write(watched.places.root().join("made/file"), "x").unwrap();
        hinted(&watched.hurry).await;
        let moved = watched.folder.path().join("elsewhere");
        std::fs::create_dir(&moved).unwrap();
        std::fs::write(moved.join("file"), "x").unwrap();
        std::fs::rename(&moved, watched.places.root().join("moved")).unwrap();
        hinted(&watched.hurry).await;
        let found = watched.places.scan().unwrap();
        let audiences: Vec<_> = found.iter().map(|found| found.audience.as_str()).collect();
        assert_eq!(audiences, ["made", "moved"]);
    }

    /// O2: however many events come while nobody looks, one look finds every file.
    #[tokio::test]
    async fn a_burst_is_one_hint_and_loses_no_file() {
        const FILES: usize = 3_000;
        let mut watched = watched();
        watched.places.create_audiences(["team"].into_iter()).unwrap();
        let team = watched.places.root().join("team");
        watched.watch.add(&team).unwrap();
        for number in 0..FILES {
            std::fs::write(team.join(number.to_string()), "x").unwrap();
        }
        hinted(&watched.hurry).await;
        assert_eq!(watched.places.scan().unwrap().len(), FILES);
    }

    /// O12: the outbox itself is renamed away: that is a hint, and a look at the parent sees that it is gone.
    #[tokio::test]
    async fn an_outbox_that_is_renamed_is_noticed() {
        let watched = watched();
        let root = watched.places.root();
        std::fs::rename(root, watched.folder.path().join("away")).unwrap();
        hinted(&watched.hurry).await;
        assert!(!root.exists());
        Places::create(root).unwrap();
        hinted(&watched.hurry).await;
    }
}
