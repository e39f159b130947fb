//! Claimed files between the store and the folders (O7).
//!
//! ```text
//! recorded ─► renamed into processing/ ─► decided, durably ─► moved ─► recorded as placed
//!     │                │                        │               │
//!     crash: forgotten crash: back again        crash: moved     crash: found moved
//! ```
//! Every step may be the last before a crash, and each is safe to do again.

use std::path::Path;

use anyhow::Context as _;
use policies::terms::Digest;

use super::manifest;
use super::open::copy_once;
use super::places::{Places, reason_beside};
use crate::local::wire::OutboxState;
use crate::vault::claim::{self, Claim, ClaimId};
use crate::vault::{Vault, outgoing, pending};

/// What is written next to a file that was changed after it was sent.
const CHANGED_AFTER: &str = "it was changed in `processing/` after it was sent: this is not what was sent\n";

/// What is written next to a file of which nobody knows whether its story arrived.
const MAY_HAVE_ARRIVED: &str = "it was sealed when this device was unenrolled: it may have been sent\n";

/// The claims of one outbox.
pub(crate) struct Claims<'a> {
    pub vault: &'a Vault,
    pub places: &'a Places,
    /// Unix seconds.
    pub now_s: u64,
}

impl Claims<'_> {
    pub(crate) async fn save(&self, claim: &Claim) -> anyhow::Result<()> {
        let mut connection = self.vault.connection().await?;
        claim::put(&mut connection, &self.vault.cipher, self.now_s, claim).await
    }

    pub(crate) async fn read(&self, id: ClaimId) -> anyhow::Result<Option<Claim>> {
        let mut connection = self.vault.connection().await?;
        claim::by_id(&mut connection, &self.vault.cipher, id).await
    }

    /// Those without an end, and those whose file has to be moved.
    pub(crate) async fn open(&self) -> anyhow::Result<Vec<Claim>> {
        let mut connection = self.vault.connection().await?;
        let claims = claim::all(&mut connection, &self.vault.cipher).await?;
        let is_open = |claim: &Claim| claim.unplaced || claim.state == OutboxState::Processing;
        Ok(claims.into_iter().filter(is_open).collect())
    }

    /// Back to the audience's folder, to be taken again.
    pub(crate) async fn put_back(&self, claim: &Claim) -> anyhow::Result<()> {
        let claimed = self.places.claimed(claim.id);
        if claimed.exists() {
            let folder = self.places.of_audience(&claim.audience);
            let folder = folder.filter(|folder| folder.is_dir());
            let folder = folder.unwrap_or_else(|| self.places.error());
            let target = self.places.free_name(&claimed, &folder, &claim.name, None)?;
            std::fs::rename(&claimed, &target).context("the file cannot be moved within the outbox")?;
            move_manifest(&claimed, &target)?;
        }
        let mut connection = self.vault.connection().await?;
        claim::remove(&mut connection, claim.id).await
    }

    /// Moves a decided file to where it belongs; one that was moved before a crash is only recorded.
    pub(crate) async fn place(&self, claim: &mut Claim) -> anyhow::Result<()> {
        let claimed = self.places.claimed(claim.id);
        if claimed.exists() {
            if claim.state == OutboxState::Sent && self.was_changed(claim) {
                claim.state = OutboxState::Error;
                claim.reason = Some(CHANGED_AFTER.to_owned());
            }
            if let Some(folder) = self.places.of_state(claim.state) {
                let reason = claim.reason.as_deref();
                let target = self.places.free_name(&claimed, &folder, &claim.name, reason)?;
                // First the reason: a blocked file without one would be a riddle.
                if let Some(reason) = reason {
                    std::fs::write(reason_beside(&target), reason)?;
                }
                std::fs::rename(&claimed, &target)?;
                move_manifest(&claimed, &target)?;
            }
        }
        claim.unplaced = false;
        self.save(claim).await
    }

    /// Whether the claimed file is not what was sealed.
    fn was_changed(&self, claim: &Claim) -> bool {
        let Some(sealed) = claim.content else {
            return false;
        };
        let bytes = copy_once(&self.places.processing(), &hex::encode(claim.id));
        bytes.map_or(true, |bytes| Digest::of(&bytes) != sealed)
    }

    /// After a crash, or a look that failed half way: each claim goes on where it was. One that was sealed waits for its
    /// story's answer as a kept draft; one of which nothing was sealed, kept or decided goes back.
    pub(crate) async fn recover(&self) -> anyhow::Result<()> {
        let mut recovered = Ok(());
        for claim in self.open().await? {
            // One whose file cannot be moved does not stop the others.
            recovered = self.recover_one(&claim).await.and(recovered);
        }
        recovered
    }

    async fn recover_one(&self, claim: &Claim) -> anyhow::Result<()> {
        let waits = self.waits(claim).await?;
        // Read again after that: it may have been decided meanwhile, and then nothing waits for it any more.
        let Some(mut claim) = self.read(claim.id).await? else {
            return Ok(());
        };
        if claim.unplaced {
            self.place(&mut claim).await
        } else if !waits && claim.state == OutboxState::Processing {
            self.put_back(&claim).await
        } else {
            Ok(())
        }
    }

    /// The agent ends for good: each claimed file gets its name back. One that was sealed and not answered may have
    /// arrived, so it does not go back to where it would be sent from.
    pub(crate) async fn release(&self) -> anyhow::Result<()> {
        for mut claim in self.open().await? {
            if !claim.unplaced && claim.story.is_none() {
                self.put_back(&claim).await?;
                continue;
            }
            if !claim.unplaced {
                claim.state = OutboxState::Error;
                claim.reason = Some(MAY_HAVE_ARRIVED.to_owned());
            }
            self.place(&mut claim).await?;
        }
        Ok(())
    }

    /// Whether a kept draft stands for the claim.
    async fn waits(&self, claim: &Claim) -> anyhow::Result<bool> {
        let mut connection = self.vault.connection().await?;
        let known = pending::states(&mut connection).await?;
        let is_kept = known
            .iter()
            .any(|(id, ..)| claim.kept.as_deref() == Some(hex::encode(id).as_str()));
        let is_sealed = match claim.story {
            Some(story) => outgoing::by_cti(&mut connection, &self.vault.cipher, story)
                .await?
                .is_some(),
            None => false,
        };
        Ok(is_kept || is_sealed)
    }
}

/// A manifest stays beside its file.
pub(crate) fn move_manifest(file: &Path, target: &Path) -> std::io::Result<()> {
    match std::fs::rename(manifest::beside(file), manifest::beside(target)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use policies::terms::Cti;

    use super::*;
    use crate::config::paths::Paths;

    const ID: ClaimId = [9; 16];
    const STORY: Cti = Cti::from_bytes([3; 16]);

    struct Outbox {
        folder: tempfile::TempDir,
        vault: Vault,
        places: Places,
    }

    impl Outbox {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let vault = Vault::open(&Paths::new(folder.path())).await.unwrap();
            let places = Places::create(&folder.path().join("outbox")).unwrap();
            places.create_audiences(["team"].into_iter()).unwrap();
            Self {
                folder,
                vault,
                places,
            }
        }

        fn claims(&self) -> Claims<'_> {
            Claims {
                vault: &self.vault,
                places: &self.places,
                now_s: 1,
            }
        }

        fn write(&self, path: &str, text: &str) {
            std::fs::write(self.places.root().join(path), text).unwrap();
        }

        /// Every file of the outbox with its content, claimed ones as `processing/*`.
        fn files(&self) -> Vec<String> {
            let mut files = Vec::new();
            for folder in ["team", "processing", "sent", "blocked", "error"] {
                for entry in std::fs::read_dir(self.places.root().join(folder)).unwrap() {
                    let entry = entry.unwrap();
                    let name = entry.file_name().into_string().unwrap();
                    let shown = if folder == "processing" {
                        "*"
                    } else {
                        name.as_str()
                    };
                    let text = std::fs::read_to_string(entry.path()).unwrap();
                    files.push(format!("{folder}/{shown}: {}", text.trim()));
                }
            }
            files.sort();
            files
        }

        /// Opens the store again, as after a crash, and recovers twice: doing it again changes nothing.
        async fn recovered(self) -> (Vec<String>, Option<OutboxState>) {
            self.vault.close().await;
            let vault = Vault::open(&Paths::new(self.folder.path())).await.unwrap();
            let again = Self { vault, ..self };
            again.claims().recover().await.unwrap();
            let once = again.files();
            again.claims().recover().await.unwrap();
            assert_eq!(again.files(), once);
            let state = again.claims().read(ID).await.unwrap().map(|claim| claim.state);
            (once, state)
        }
    }

    fn claimed(state: OutboxState) -> Claim {
        Claim {
            id: ID,
            name: "plan.txt".to_owned(),
            audience: "team".to_owned(),
            state,
            story: None,
            reason: None,
            kept: None,
            content: None,
            unplaced: false,
        }
    }

    fn processing(name: ClaimId) -> String {
        format!("processing/{}", hex::encode(name))
    }

    /// O7: recorded, and not yet renamed: the file lies where it was.
    #[tokio::test]
    async fn crash_before_the_rename_leaves_the_file() {
        let outbox = Outbox::new().await;
        outbox.write("team/plan.txt", "the plan");
        outbox
            .claims()
            .save(&claimed(OutboxState::Processing))
            .await
            .unwrap();
        assert_eq!(
            outbox.recovered().await,
            (vec!["team/plan.txt: the plan".to_owned()], None)
        );
    }

    /// O7: renamed, and nothing sealed: it goes back, beside another of its name.
    #[tokio::test]
    async fn crash_before_the_sealing_puts_the_file_back() {
        let outbox = Outbox::new().await;
        outbox.write("team/plan.txt", "another");
        outbox.write(&processing(ID), "the plan");
        outbox
            .claims()
            .save(&claimed(OutboxState::Processing))
            .await
            .unwrap();
        let expected = vec![
            "team/plan (2).txt: the plan".to_owned(),
            "team/plan.txt: another".to_owned(),
        ];
        assert_eq!(outbox.recovered().await, (expected, None));
    }

    /// O7, K13: sealed, and not answered: it is not taken again, its story is asked for.
    #[tokio::test]
    async fn crash_after_the_sealing_does_not_take_the_file_again() {
        let outbox = Outbox::new().await;
        outbox.write(&processing(ID), "the plan");
        let sealed = Claim {
            story: Some(STORY),
            ..claimed(OutboxState::Processing)
        };
        outbox.claims().save(&sealed).await.unwrap();
        let mut connection = outbox.vault.connection().await.unwrap();
        outgoing::insert(&mut connection, &outbox.vault.cipher, STORY, 1, b"sealed")
            .await
            .unwrap();
        drop(connection);
        assert_eq!(
            outbox.recovered().await,
            (
                vec!["processing/*: the plan".to_owned()],
                Some(OutboxState::Processing)
            )
        );
    }

    /// O7: kept for later: it waits with its draft.
    #[tokio::test]
    async fn crash_with_a_kept_draft_leaves_the_file_with_it() {
        let outbox = Outbox::new().await;
        outbox.write(&processing(ID), "the plan");
        let kept = Claim {
            kept: Some(hex::encode(ID)),
            ..claimed(OutboxState::Processing)
        };
        outbox.claims().save(&kept).await.unwrap();
        let mut connection = outbox.vault.connection().await.unwrap();
        pending::insert(&mut connection, &outbox.vault.cipher, ID, 1, b"draft", None)
            .await
            .unwrap();
        drop(connection);
        assert_eq!(
            outbox.recovered().await,
            (
                vec!["processing/*: the plan".to_owned()],
                Some(OutboxState::Processing)
            )
        );
    }

    /// O7, O8: decided, and not moved: it is moved, with its reason.
    #[tokio::test]
    async fn crash_before_the_move_moves_the_file() {
        let outbox = Outbox::new().await;
        outbox.write(&processing(ID), "the plan");
        let blocked = Claim {
            reason: Some("a rule blocks it".to_owned()),
            unplaced: true,
            ..claimed(OutboxState::Blocked)
        };
        outbox.claims().save(&blocked).await.unwrap();
        let expected = vec![
            "blocked/plan.txt.reason.txt: a rule blocks it".to_owned(),
            "blocked/plan.txt: the plan".to_owned(),
        ];
        let (files, state) = outbox.recovered().await;
        assert_eq!((files, state), (expected, Some(OutboxState::Blocked)));
    }

    /// O7, O9: a file whose name is too long for what goes beside it, and one that cannot be moved, stop no other.
    #[tokio::test]
    async fn a_file_that_cannot_be_moved_stops_no_other() {
        let outbox = Outbox::new().await;
        let other = [4; 16];
        let decided = |id, name: String| Claim {
            id,
            name,
            reason: Some("a rule blocks it".to_owned()),
            unplaced: true,
            ..claimed(OutboxState::Blocked)
        };
        outbox.write(&processing(ID), "the plan");
        outbox.write(&processing(other), "the other plan");
        let claims = outbox.claims();
        // No folder has this one.
        claims.save(&decided(ID, "a/b".to_owned())).await.unwrap();
        claims
            .save(&decided(other, format!("{}.txt", "n".repeat(251))))
            .await
            .unwrap();

        assert!(claims.recover().await.is_err());

        let name = format!("{}.txt", "n".repeat(196));
        assert_eq!(
            outbox.files(),
            [
                format!("blocked/{name}.reason.txt: a rule blocks it"),
                format!("blocked/{name}: the other plan"),
                "processing/*: the plan".to_owned(),
            ]
        );
    }

    /// O7: moved, and not recorded: it is recorded, and not looked for.
    #[tokio::test]
    async fn crash_after_the_move_records_it() {
        let outbox = Outbox::new().await;
        outbox.write("sent/plan.txt", "the plan");
        let sent = Claim {
            unplaced: true,
            story: Some(STORY),
            ..claimed(OutboxState::Sent)
        };
        outbox.claims().save(&sent).await.unwrap();
        assert_eq!(
            outbox.recovered().await,
            (
                vec!["sent/plan.txt: the plan".to_owned()],
                Some(OutboxState::Sent)
            )
        );
    }

    /// O6, O7: what lies in `sent/` is what was sent.
    #[tokio::test]
    async fn a_file_changed_after_it_was_sent_is_not_shown_as_sent() {
        let outbox = Outbox::new().await;
        outbox.write(&processing(ID), "another plan");
        let sent = Claim {
            unplaced: true,
            content: Some(Digest::of(b"the plan")),
            ..claimed(OutboxState::Sent)
        };
        outbox.claims().save(&sent).await.unwrap();
        let (files, state) = outbox.recovered().await;
        assert_eq!(state, Some(OutboxState::Error));
        assert!(
            files.contains(&"error/plan.txt: another plan".to_owned()),
            "{files:?}"
        );
    }
}
