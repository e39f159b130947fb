//! The folders of the outbox, and moving a file between them without ever overwriting one (O7, O8).

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::manifest;
use crate::limits::{OUTBOX_NAME_BYTES_MAX, OUTBOX_SCAN_MAX};
use crate::local::wire::OutboxState;
use crate::vault::claim::ClaimId;
use crate::vault::files;

/// Folders of the outbox itself; an audience of such a name has no folder.
const OWN: [&str; 4] = ["processing", "sent", "blocked", "error"];
/// Tries for a free name; a folder with that many files of one name is left to its owner.
const NAMES_TRIED_MAX: u32 = 10_000;
/// Longer than any ending of a name that says a type.
const ENDING_BYTES_MAX: usize = 32;

/// The outbox folder.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    root: PathBuf,
}

/// A file that a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub path: PathBuf,
    /// None when the name is not UTF-8.
    pub name: Option<String>,
    pub audience: String,
}

impl Places {
    /// The folder as it is, to be looked at.
    pub(crate) fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Creates the folder and its own sub-folders, 0700 (O10).
    ///
    /// # Errors
    /// They cannot be created, or one is a link.
    pub(crate) fn create(root: &Path) -> anyhow::Result<Self> {
        files::private_folder(root)?;
        for name in OWN {
            files::private_folder(&root.join(name))?;
        }
        Ok(Self::at(root))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn processing(&self) -> PathBuf {
        self.root.join("processing")
    }

    /// Where a claimed file lies until it is decided.
    pub(crate) fn claimed(&self, id: ClaimId) -> PathBuf {
        self.processing().join(hex::encode(id))
    }

    /// Where a file of a state belongs; none while it is not decided.
    pub(crate) fn of_state(&self, state: OutboxState) -> Option<PathBuf> {
        match state {
            OutboxState::Pending | OutboxState::Processing => None,
            OutboxState::Sent => Some(self.root.join("sent")),
            OutboxState::Blocked => Some(self.root.join("blocked")),
            OutboxState::Error => Some(self.error()),
        }
    }

    pub(crate) fn error(&self) -> PathBuf {
        self.root.join("error")
    }

    /// The folder of an audience; none for a name that cannot be a folder's.
    pub(crate) fn of_audience(&self, name: &str) -> Option<PathBuf> {
        let fit =
            !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']) && !OWN.contains(&name);
        fit.then(|| self.root.join(name))
    }

    /// Creates the folders of the audiences; one that cannot be used does not stop the others.
    ///
    /// # Errors
    /// The last that could not be.
    pub(crate) fn create_audiences<'a>(&self, names: impl Iterator<Item = &'a str>) -> anyhow::Result<()> {
        let mut made = Ok(());
        for folder in names.filter_map(|name| self.of_audience(name)) {
            made = files::private_folder(&folder).and(made);
        }
        made
    }

    /// Folders of audiences, as they are on the disk.
    pub(crate) fn audience_folders(&self) -> anyhow::Result<Vec<(String, PathBuf)>> {
        let mut folders = Vec::new();
        for entry in std::fs::read_dir(&self.root).context("the outbox folder is gone")? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if entry.file_type()?.is_dir() && !OWN.contains(&name.as_str()) && !name.starts_with('.') {
                folders.push((name, entry.path()));
            }
        }
        folders.sort();
        Ok(folders)
    }

    /// Everything that lies in the audience folders, one level deep (O11), audiences in turn.
    pub(crate) fn scan(&self) -> anyhow::Result<Vec<Found>> {
        let mut by_audience = Vec::new();
        for (audience, folder) in self.audience_folders()? {
            let mut files = Vec::new();
            for entry in std::fs::read_dir(&folder)?.take(OUTBOX_SCAN_MAX) {
                let entry = entry?;
                // Gone since it was listed, or a folder: no candidate.
                if entry.file_type().map_or(true, |kind| kind.is_dir()) {
                    continue;
                }
                let name = entry.file_name().into_string().ok();
                files.push(Found {
                    path: entry.path(),
                    name,
                    audience: audience.clone(),
                });
            }
            files.sort_by(|a, b| a.path.cmp(&b.path));
            by_audience.push(files.into_iter());
        }
        Ok(in_turn(by_audience))
    }

    /// Where a file can be moved to with all that belongs to it, without a file being lost: by the name given, or that
    /// name with a number, cut where it is too long (O8). A reason that a crash left there is no other file's.
    pub(crate) fn free_name(
        &self,
        file: &Path,
        folder: &Path,
        name: &str,
        reason: Option<&str>,
    ) -> anyhow::Result<PathBuf> {
        let has_manifest = std::fs::symlink_metadata(manifest::beside(file)).is_ok();
        let is_free = |target: &Path| std::fs::symlink_metadata(target).is_err();
        (1..NAMES_TRIED_MAX)
            .map(|number| folder.join(numbered(name, number)))
            .find(|target| {
                let reason_is_free = reason.is_none_or(|reason| {
                    let beside = reason_beside(target);
                    is_free(&beside) || std::fs::read(&beside).is_ok_and(|found| found == reason.as_bytes())
                });
                is_free(target) && reason_is_free && (!has_manifest || is_free(&manifest::beside(target)))
            })
            .context("too many files of one name; tidy the outbox folder")
    }
}

/// Where it stands why a file was not sent.
pub(crate) fn reason_beside(file: &Path) -> PathBuf {
    let mut name = file.file_name().map(OsStr::to_owned).unwrap_or_default();
    name.push(".reason.txt");
    file.with_file_name(name)
}

/// A name with a number before its ending, from 2 on; cut so that a reason or a manifest fits beside it.
fn numbered(name: &str, number: u32) -> String {
    let (stem, end) = name
        .rsplit_once('.')
        .filter(|(_, end)| end.len() <= ENDING_BYTES_MAX)
        .map_or((name, String::new()), |(stem, end)| (stem, format!(".{end}")));
    let end = if number == 1 {
        end
    } else {
        format!(" ({number}){end}")
    };
    let room = OUTBOX_NAME_BYTES_MAX.saturating_sub(end.len());
    let stem = stem.get(..stem.floor_char_boundary(room)).unwrap_or(stem);
    format!("{stem}{end}")
}

/// One of each in turn, so that a full folder does not starve the others.
fn in_turn(mut queues: Vec<std::vec::IntoIter<Found>>) -> Vec<Found> {
    let mut found = Vec::new();
    loop {
        let round: Vec<Found> = queues.iter_mut().filter_map(Iterator::next).collect();
        if round.is_empty() {
            return found;
        }
        found.extend(round);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> (tempfile::TempDir, Places) {
        let folder = tempfile::tempdir().unwrap();
        let places = Places::create(&folder.path().join("outbox")).unwrap();
        (folder, places)
    }

    /// O8
    #[test]
    fn a_file_of_the_same_name_is_not_overwritten() {
        let (_folder, places) = places();
        for text in ["one", "two"] {
            let file = places.root().join("incoming");
            std::fs::write(&file, text).unwrap();
            let free = places.free_name(&file, &places.error(), "notes.txt", None);
            std::fs::rename(&file, free.unwrap()).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(places.error().join("notes.txt")).unwrap(),
            "one"
        );
        assert_eq!(
            std::fs::read_to_string(places.error().join("notes (2).txt")).unwrap(),
            "two"
        );
    }

    /// O8: nor is what lies where its reason or its manifest would be.
    #[test]
    fn nothing_beside_a_file_is_overwritten() {
        let (_folder, places) = places();
        let file = places.root().join("incoming");
        let blocked = places.root().join("blocked");
        let free = |reason| places.free_name(&file, &blocked, "plan.txt", reason).unwrap();
        std::fs::write(blocked.join("plan.txt.reason.txt"), "mine").unwrap();
        assert_eq!(free(Some("a rule")), blocked.join("plan (2).txt"));
        assert_eq!(free(Some("mine")), blocked.join("plan.txt"));
        assert_eq!(free(None), blocked.join("plan.txt"));
        std::fs::write(blocked.join("plan.txt.outbox.json"), "mine").unwrap();
        assert_eq!(free(None), blocked.join("plan.txt"));
        std::fs::write(manifest::beside(&file), "its own").unwrap();
        assert_eq!(free(None), blocked.join("plan (2).txt"));
    }

    /// O9: a name that leaves no room for a reason beside it is cut, between letters.
    #[test]
    fn long_names_are_cut() {
        let long = format!("{}.txt", "ä".repeat(120));
        assert_eq!(numbered(&long, 1), format!("{}.txt", "ä".repeat(98)));
        assert_eq!(numbered(&long, 2), format!("{} (2).txt", "ä".repeat(96)));
        assert_eq!(numbered("plan.txt", 1), "plan.txt");
        assert_eq!(
            numbered(&format!("a.{}", "b".repeat(250)), 1).len(),
            OUTBOX_NAME_BYTES_MAX
        );
    }

    /// O11
    #[test]
    fn audiences_take_turns() {
        let (_folder, places) = places();
        places
            .create_audiences(["a", "b", "sent", "x/y", ".."].into_iter())
            .unwrap();
        for file in ["a/1", "a/2", "b/1"] {
            std::fs::write(places.root().join(file), "x").unwrap();
        }
        let found = places.scan().unwrap();
        let order: Vec<_> = found
            .iter()
            .map(|found| (found.audience.as_str(), found.name.as_deref()))
            .collect();
        assert_eq!(order, [("a", Some("1")), ("b", Some("1")), ("a", Some("2"))]);
    }

    /// O10: a folder that is a link is not used, and does not stop the others.
    #[test]
    fn a_linked_folder_is_refused_alone() {
        let (folder, places) = places();
        let elsewhere = folder.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, places.root().join("a")).unwrap();
        assert!(places.create_audiences(["a", "b"].into_iter()).is_err());
        std::fs::write(elsewhere.join("file"), "x").unwrap();
        std::fs::write(places.root().join("b/file"), "x").unwrap();
        let found = places.scan().unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].audience, "b");
        let link = folder.path().join("outbox-link");
        std::os::unix::fs::symlink(places.root(), &link).unwrap();
        assert!(Places::create(&link).is_err());
    }

    /// O9: names that differ only in how a letter is composed are two files, and both are found.
    #[test]
    fn names_that_look_alike_are_two_files() {
        let (_folder, places) = places();
        places.create_audiences(["a"].into_iter()).unwrap();
        for name in ["Gr\u{fc}n.txt", "Gru\u{308}n.txt"] {
            std::fs::write(places.root().join("a").join(name), name).unwrap();
        }
        let found = places.scan().unwrap();
        assert_eq!(found.len(), 2);
        for file in found {
            assert_eq!(std::fs::read_to_string(&file.path).unwrap(), file.name.unwrap());
        }
    }

    #[test]
    fn an_audience_cannot_take_the_outboxs_own_folders() {
        let (_folder, places) = places();
        for name in ["sent", "blocked", "", "..", "a/b"] {
            assert_eq!(places.of_audience(name), None, "{name}");
        }
    }
}
