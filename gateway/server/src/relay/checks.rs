//! What a batch of stories is checked against inside its transaction: looked up at once, since each look is a hand-over
//! to the database's thread. Nothing else writes meanwhile, so it holds until the commit.

use std::collections::{BTreeMap, BTreeSet};

use gateway_api::error::ErrorCode;
use gateway_api::v1::rejoin::StateMark;
use policies::terms::{AudienceId, Cti, DeviceId, Digest};

use super::{Submission, lists};
use crate::domain::fault::Fault;
use crate::store::audiences::{self, Audience, AudienceKind};
use crate::store::logs::DirectoryLog;
use crate::store::stories::{self, Story};
use crate::store::{Write, blobs, rejoin};

/// How a story enters the batch.
pub(super) enum Entry {
    Held,
    /// Accepted before: the original receipt.
    Known(Vec<u8>),
}

/// What there is, the batch's own stories so far included.
pub(super) struct Seen {
    stories: BTreeMap<Cti, Story>,
    audiences: BTreeMap<AudienceId, Audience>,
    members: BTreeSet<(AudienceId, DeviceId)>,
    marks: BTreeMap<DeviceId, StateMark>,
    risen: BTreeSet<DeviceId>,
    /// Blobs that the batch's stories took.
    blobs: BTreeSet<Digest>,
}

impl Seen {
    pub(super) async fn load<'a>(
        write: &mut Write,
        batch: impl Iterator<Item = &'a Submission> + Clone,
    ) -> sqlx::Result<Self> {
        let stories = batch.clone().map(|submission| &submission.story);
        let ctis = stories.clone().map(|story| story.cti).collect();
        let ids = stories.clone().map(|story| story.audience).collect();
        let devices = stories.map(|story| story.device).collect();
        let marked: BTreeSet<DeviceId> = batch
            .filter(|submission| submission.mark.is_some())
            .map(|submission| submission.story.device)
            .collect();
        let marks = if marked.is_empty() {
            BTreeMap::new()
        } else {
            rejoin::state_marks(write, &marked).await?
        };
        Ok(Self {
            stories: stories::known(write, &ctis).await?,
            audiences: audiences::by_id(write, &ids).await?,
            members: audiences::stays_in(write, &ids, Some(&devices))
                .await?
                .into_iter()
                .collect(),
            marks,
            risen: BTreeSet::new(),
            blobs: BTreeSet::new(),
        })
    }

    /// Checks again what may have changed since the handler looked. A story that passes is held from here on.
    pub(super) async fn enter(
        &mut self,
        write: &mut Write,
        directory: &DirectoryLog,
        submission: &Submission,
    ) -> Result<Entry, Fault> {
        let story = &submission.story;
        if let Some(known) = self.stories.get(&story.cti) {
            return known_story(known, story);
        }
        let audience = self.audiences.get(&story.audience).ok_or_else(Fault::not_found)?;
        if directory.device(story.device).is_none_or(|device| device.revoked) {
            return Err(Fault::new(
                ErrorCode::DeviceRevoked,
                "this device has been revoked",
            ));
        }
        match audience.kind {
            AudienceKind::Group => self.check_group(story, audience)?,
            AudienceKind::DeviceList => lists::check(write, directory, story, audience).await?,
        }
        for (digest, _) in &submission.blobs {
            let free = !self.blobs.contains(digest)
                && blobs::blob(write, *digest)
                    .await?
                    .is_some_and(|blob| blob.cti.is_none());
            if !free {
                return Err(Fault::new(
                    ErrorCode::BlobMissing,
                    "a blob is not here, or not free",
                ));
            }
        }
        if let Some(mark) = submission.mark {
            self.raise(story.device, mark)?;
        }
        self.blobs
            .extend(submission.blobs.iter().map(|(digest, _)| *digest));
        self.stories.insert(story.cti, story.clone());
        Ok(Entry::Held)
    }

    /// Marks that the batch's stories raised.
    pub(super) fn risen_marks(&self) -> Vec<(DeviceId, StateMark)> {
        self.risen
            .iter()
            .filter_map(|device| Some((*device, *self.marks.get(device)?)))
            .collect()
    }

    fn raise(&mut self, device: DeviceId, mark: StateMark) -> Result<(), Fault> {
        match self.marks.get(&device) {
            Some(known) if *known > mark => return Err(crate::domain::rejoin::behind()),
            Some(known) if *known == mark => return Ok(()),
            Some(_) | None => {}
        }
        self.marks.insert(device, mark);
        self.risen.insert(device);
        Ok(())
    }

    /// The group is as the story was sealed for, and its author is in it.
    fn check_group(&self, story: &Story, audience: &Audience) -> Result<(), Fault> {
        if audience.epoch != story.epoch {
            return Err(Fault::new(
                ErrorCode::EpochMoved,
                format!("the group is in epoch {}", audience.epoch),
            ));
        }
        if audience.removal_pending {
            return Err(Fault::new(
                ErrorCode::RemovalPending,
                "a device of this group has been revoked",
            ));
        }
        if !self.members.contains(&(story.audience, story.device)) {
            return Err(Fault::new(
                ErrorCode::NotAMember,
                "the device is not in this audience",
            ));
        }
        Ok(())
    }
}

/// The same story twice in one batch, or twice at the door at once (K13).
fn known_story(known: &Story, story: &Story) -> Result<Entry, Fault> {
    let same = known.device == story.device
        && known.envelope_digest == story.envelope_digest
        && known.clearance_digest == story.clearance_digest;
    match (&known.acceptance, same) {
        (Some(acceptance), true) => Ok(Entry::Known(acceptance.clone())),
        (None, true) => Err(Fault::new(ErrorCode::Busy, "this story is being recorded")),
        (_, false) => Err(Fault::new(
            ErrorCode::ReplayRefused,
            "this id was used before, for something else",
        )),
    }
}
