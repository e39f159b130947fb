//! Sealing: steps 1 to 4 of the order of operations (sealing.md), over the very buffers that were inspected.

use std::fmt;

use policies::decide::Permit;
use policies::directory::Directory;
use policies::terms::{AudienceId, Cti, DeviceId, Digest, ItemKind, draft_digest};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::manifest::{FileEntry, Manifest, frame};
use super::{associated, media_context};
use crate::frank;
use crate::limits::{FILE_BYTES_MAX, FILES_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX, TTL_S_MAX};
use crate::media::{self, MediaError};
use crate::member::{AudienceState, Member, MemberError};

/// The inspected draft, borrowed: nothing is read again from disk.
pub struct DraftParts<'a> {
    /// The text, item 0.
    pub text: &'a str,
    /// The files, items 1 and on, in the order in which they were inspected.
    pub files: Vec<DraftFile<'a>>,
}

/// One file of a draft.
pub struct DraftFile<'a> {
    /// Its name, for the recipients alone (K26).
    pub name: &'a str,
    /// What the inspection took it for.
    pub kind: ItemKind,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// What else a story says besides the draft.
pub struct Composition {
    /// The audience's name as recipients shall see it.
    pub audience_name: String,
    /// Unix seconds.
    pub created_s: u64,
    /// Seconds until the story is gone, 1 to 86,400.
    pub ttl_s: u32,
}

/// A sealed story. Only [`clear`](super::clear) makes it one that can be submitted (K1).
///
/// No `Clone`: a permit is spent once.
pub struct Sealed {
    pub(super) cti: Cti,
    pub(crate) envelope: Vec<u8>,
    pub(crate) blobs: Vec<SealedBlob>,
    pub(super) audience: AudienceId,
    pub(super) epoch: u64,
    pub(super) tree_hash: Vec<u8>,
    pub(super) author: DeviceId,
    pub(super) permit: Permit,
    pub(super) ttl_s: u32,
    pub(super) manifest: Manifest,
}

/// One file's ciphertext, to be uploaded under its digest.
pub struct SealedBlob {
    /// SHA-256 of `bytes`.
    pub digest: Digest,
    /// Salt, commitment and chunks.
    pub bytes: Vec<u8>,
}

/// Why a draft was not sealed. Nothing left the device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The state is the matter.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// The buffers are not those that the permit was given for.
    #[error("the draft changed after it was inspected\nhelp: inspect it again")]
    ContentChanged,
    /// The permit was given under a policy that the log does not hold, such as an author's draft.
    #[error(
        "the policy that let the draft through is not in the directory log\nhelp: fetch the policy and the log, and inspect again"
    )]
    UnloggedPolicy,
    /// Revoked devices, or devices of persons no longer listed, are still in the audience.
    #[error("the audience still holds {} device(s) that must go first\nhelp: commit their removal", .0.len())]
    DevicesToRemove(Vec<DeviceId>),
    /// The gateway or a leaving member asked for a removal that nobody committed yet.
    #[error("a removal from this audience waits for a commit\nhelp: commit it, then seal again")]
    RemovalPending,
    /// A commit of this device is still unanswered: the epoch is about to change.
    #[error("a commit of this device still awaits the gateway's answer\nhelp: merge or discard it first")]
    Unanswered,
    /// A bound of the story was passed.
    #[error("the story is too large: {what} is limited to {max}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// No lifetime, or one beyond a day.
    #[error("a story lives for 1 to {max} seconds")]
    Lifetime {
        /// The bound.
        max: u32,
    },
    /// The cipher refused.
    #[error(transparent)]
    Media(#[from] MediaError),
}

/// Seals the draft that `permit` was given for to the permit's audience.
///
/// Before anything is encrypted, the digest of these very buffers is compared with the permit, and the permit's
/// policy and every device of the audience with the log: logged, unrevoked, of a listed person. Persist
/// [`Member::take_changes`] before the envelope leaves (M6).
///
/// # Errors
/// [`SealError`] says what to do; the permit is spent all the same, since inspecting again is cheap.
pub fn seal(
    member: &mut Member,
    permit: Permit,
    draft: &DraftParts<'_>,
    composition: Composition,
    directory: &Directory,
    rng: &mut dyn CryptoRng,
) -> Result<Sealed, SealError> {
    check_bounds(draft, &composition)?;
    if draft_digest(draft.text.as_bytes(), draft.files.iter().map(|file| file.bytes)) != permit.content() {
        return Err(SealError::ContentChanged);
    }
    let policy = permit.policy();
    if directory.bundle(&policy.digest) != Some((policy.log_index, policy.version)) {
        return Err(SealError::UnloggedPolicy);
    }
    let audience = permit.audience();
    let state = ready_audience(member, audience, directory)?;
    let author = member.device();
    let author_person = directory.device(author).ok_or(MemberError::OwnDevice)?.person;

    let mut cti = [0u8; 16];
    rng.fill_bytes(&mut cti);
    let cti = Cti::from_bytes(cti);
    let mut media_key = Zeroizing::new([0u8; media::KEY_BYTES]);
    rng.fill_bytes(media_key.as_mut());
    let (files, blobs) = seal_files(cti, &media_key, &draft.files, rng)?;
    let ttl_s = composition.ttl_s;
    let manifest = Manifest {
        cti,
        audience,
        author,
        author_person,
        epoch: state.epoch,
        audience_name: Zeroizing::new(composition.audience_name),
        created_s: composition.created_s,
        ttl_s,
        text: Zeroizing::new(draft.text.to_owned()),
        files,
        media_key,
    };
    let bytes = manifest.to_bytes();
    let mut salt = Zeroizing::new([0u8; frank::SALT_BYTES]);
    rng.fill_bytes(salt.as_mut());
    let tag = frank::tag(&salt, &bytes);
    let envelope = member.encrypt(audience, associated(&tag, cti), &frame(&salt, &bytes))?;
    Ok(Sealed {
        cti,
        envelope,
        blobs,
        audience,
        epoch: state.epoch,
        tree_hash: state.tree_hash,
        author,
        permit,
        ttl_s,
        manifest,
    })
}

impl Sealed {
    /// The story's id.
    #[must_use]
    pub fn cti(&self) -> Cti {
        self.cti
    }

    /// What the story says.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The epoch in which it was sealed; it is refused in any other (M3).
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed")
            .field("cti", &self.cti)
            .field("audience", &self.audience)
            .field("epoch", &self.epoch)
            .field("envelope_bytes", &self.envelope.len())
            .field("blobs", &self.blobs)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SealedBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedBlob")
            .field("digest", &self.digest)
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

impl fmt::Debug for DraftParts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DraftParts")
            .field("text_bytes", &self.text.len())
            .field("files", &self.files.len())
            .finish()
    }
}

fn check_bounds(draft: &DraftParts<'_>, composition: &Composition) -> Result<(), SealError> {
    let at_most = |what, size, max| {
        if size <= max {
            Ok(())
        } else {
            Err(SealError::TooLarge { what, max })
        }
    };
    at_most("the text in bytes", draft.text.len(), TEXT_BYTES_MAX)?;
    at_most("the number of files", draft.files.len(), FILES_MAX)?;
    for file in &draft.files {
        at_most("a file's name in bytes", file.name.len(), NAME_BYTES_MAX)?;
        at_most("a file in bytes", file.bytes.len(), FILE_BYTES_MAX)?;
    }
    at_most(
        "the audience's name in bytes",
        composition.audience_name.len(),
        NAME_BYTES_MAX,
    )?;
    if composition.ttl_s == 0 || composition.ttl_s > TTL_S_MAX {
        return Err(SealError::Lifetime { max: TTL_S_MAX });
    }
    Ok(())
}

/// The audience's state, if it holds nobody who must go and nothing that must be answered first.
fn ready_audience(
    member: &Member,
    audience: AudienceId,
    directory: &Directory,
) -> Result<AudienceState, SealError> {
    let state = member.audience_state(audience)?;
    if state.staged {
        return Err(SealError::Unanswered);
    }
    if !state.pending_removals.is_empty() {
        return Err(SealError::RemovalPending);
    }
    let stale = state.stale_devices(directory);
    if stale.is_empty() {
        Ok(state)
    } else {
        Err(SealError::DevicesToRemove(stale))
    }
}

fn seal_files(
    cti: Cti,
    media_key: &[u8; media::KEY_BYTES],
    files: &[DraftFile<'_>],
    rng: &mut dyn CryptoRng,
) -> Result<(Vec<FileEntry>, Vec<SealedBlob>), SealError> {
    let mut entries = Vec::with_capacity(files.len());
    let mut blobs = Vec::with_capacity(files.len());
    for (index, file) in (0u16..).zip(files) {
        let padded_bytes = media::padme(file.bytes.len());
        let mut padded = Zeroizing::new(Vec::with_capacity(padded_bytes));
        padded.extend_from_slice(file.bytes);
        padded.resize(padded_bytes, 0);
        let bytes = media::seal_chunked(media_key, &media_context(cti, index), &padded, rng)?;
        let digest = Digest::of(&bytes);
        entries.push(FileEntry {
            name: Zeroizing::new(file.name.to_owned()),
            kind: file.kind,
            size_bytes: file.bytes.len() as u64,
            digest,
        });
        blobs.push(SealedBlob { digest, bytes });
    }
    Ok((entries, blobs))
}
