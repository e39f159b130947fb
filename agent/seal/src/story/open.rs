//! Opening: a recipient believes nothing. Everything is checked, and only then anything is shown (K14).

use std::fmt;

use policies::clearance::{AudienceBinding, Binding, Claims, UnverifiedClearance, VerifiedClearance};
use policies::decide::VerdictCode;
use policies::device_list::DeviceListError;
use policies::directory::Directory;
use policies::terms::{AudienceId, Cti, DeviceId, Digest, Label};
use zeroize::Zeroizing;

use super::manifest::{Manifest, ManifestError, unframe};
use super::{PROTOCOL, media_context, read_associated};
use crate::frank;
use crate::identity::LeafRefused;
use crate::limits::{CLEARANCE_LIFETIME_S, CLOCK_SKEW_S, TTL_S_MAX};
use crate::media::{self, MediaError};
use crate::member::{Member, MemberError, ProcessError};

/// What the gateway's acceptance says; the caller verified its signature (K14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptanceFacts {
    /// The story.
    pub cti: Cti,
    /// SHA-256 of the envelope.
    pub env: Digest,
    /// SHA-256 of the clearance.
    pub clearance: Digest,
    /// The audience.
    pub group: AudienceId,
    /// Unix seconds of acceptance.
    pub at_s: u64,
    /// Unix seconds at which the story is gone.
    pub expires_s: u64,
}

/// A story as it was delivered.
#[derive(Debug)]
pub struct Delivery<'a> {
    /// The envelope's bytes.
    pub envelope: &'a [u8],
    /// The clearance's bytes.
    pub clearance: &'a [u8],
    /// The acceptance, verified.
    pub acceptance: &'a AcceptanceFacts,
}

/// A story that passed every check.
pub struct OpenedStory {
    manifest: Manifest,
    claims: Claims,
    salt: Zeroizing<[u8; frank::SALT_BYTES]>,
    tag: [u8; frank::TAG_BYTES],
    expires_s: u64,
}

/// What opens one file of a story.
pub struct FileKey {
    digest: Digest,
    size_bytes: u64,
    context: Vec<u8>,
    key: Zeroizing<[u8; media::KEY_BYTES]>,
}

/// Why a story is not shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The clearance is not one, or its signature does not verify with the logged key of its issuer.
    #[error("the story's clearance does not verify")]
    Clearance,
    /// Its issuer is not in the log as far as it is known here.
    #[error(transparent)]
    Issuer(LeafRefused),
    /// The bundle under which it was cleared is not in the log as far as it is known here.
    #[error(
        "the story was cleared under a policy that is not in the directory log\nhelp: fetch the log and try again"
    )]
    UnloggedPolicy,
    /// Clearance, acceptance and envelope do not name the same story.
    #[error("the story's clearance or acceptance is of another story")]
    OtherStory,
    /// The clearance is for another audience, epoch, set of devices or protocol.
    #[error("the story was cleared for another audience")]
    OtherAudience,
    /// It was accepted outside the time for which the clearance was made, or is to live for longer than any story.
    #[error("the story was accepted outside the time of its clearance")]
    Untimely,
    /// Its time is over.
    #[error("the story has expired")]
    Expired,
    /// The envelope cannot be decrypted here.
    #[error(transparent)]
    Envelope(#[from] ProcessError),
    /// The leaf that sealed it is of another device than the one that cleared it.
    #[error("the story was sealed by another device than the one that cleared it")]
    OtherSender,
    /// The list of devices is damaged, or not signed by the device that defined it.
    #[error(transparent)]
    List(#[from] DeviceListError),
    /// The device that cleared it was revoked. A group removes such a device; for a list only this check stands.
    #[error("the device that sent the story has been revoked")]
    RevokedSender,
    /// The manifest says something else than the envelope around it.
    #[error("the story's manifest contradicts its envelope")]
    Contradiction,
    /// The franking tag does not commit to the manifest: it could not be reported, so it is not shown.
    #[error("the story could not be reported and is therefore not shown")]
    Unreportable,
    /// The manifest is damaged.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl OpenError {
    /// Whether the reason may be that this device has not read the directory log far enough. Nothing was
    /// decrypted; the same delivery may be opened after fetching it.
    #[must_use]
    pub fn needs_log(&self) -> bool {
        matches!(
            self,
            Self::Issuer(LeafRefused::Unlogged(_)) | Self::UnloggedPolicy
        )
    }
}

/// Opens a delivered story, or says why not.
///
/// Checked before decrypting: the clearance's signature by the logged key of its issuer, the logged policy, that
/// envelope, clearance and acceptance are of one story, audience, epoch and tree of this very device, and the
/// times. After: the leaf that sealed it is the issuer's, the associated data names the story, the franking tag
/// commits to the manifest, and the manifest agrees on author, audience, epoch, lifetime and blobs.
///
/// Decrypting spends the message's key: keep what is opened, under a key that dies with the story (D4), and
/// persist [`Member::take_changes`].
///
/// # Errors
/// [`OpenError`]; nothing of the content is in it.
pub fn open_story(
    member: &mut Member,
    delivery: &Delivery<'_>,
    directory: &Directory,
    now_s: u64,
) -> Result<OpenedStory, OpenError> {
    let clearance = verified(delivery.clearance, directory)?;
    check_one_story(&clearance, delivery)?;
    let claims = clearance.claims();
    check_times(claims, delivery.acceptance, now_s)?;
    check_policy(claims, directory)?;
    let audience = delivery.acceptance.group;
    check_audience(member, claims, audience)?;

    let decrypted = member.decrypt(audience, delivery.envelope)?;
    if decrypted.sender != claims.iss {
        return Err(OpenError::OtherSender);
    }
    let (tag, cti) = read_associated(&decrypted.associated).map_err(|_| OpenError::Contradiction)?;
    if cti != claims.cti {
        return Err(OpenError::OtherStory);
    }
    let (salt, bytes) = unframe(&decrypted.plaintext)?;
    if !frank::verify(&salt, &bytes, &tag) {
        return Err(OpenError::Unreportable);
    }
    let manifest = Manifest::from_bytes(&bytes)?;
    check_manifest(&manifest, claims, directory)?;
    Ok(OpenedStory {
        manifest,
        claims: claims.clone(),
        salt: Zeroizing::new(salt),
        tag,
        expires_s: delivery.acceptance.expires_s,
    })
}

/// Opens one file: its digest first, then the key commitment, then the content, whole or not at all.
///
/// # Errors
/// [`MediaError::NotAuthentic`] if `bytes` are not the blob that the story names.
pub fn open_blob(key: &FileKey, bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, MediaError> {
    if Digest::of(bytes) != key.digest {
        return Err(MediaError::NotAuthentic);
    }
    let mut plaintext = media::open_chunked(&key.key, &key.context, bytes)?;
    let size = usize::try_from(key.size_bytes).map_err(|_| MediaError::NotAuthentic)?;
    if media::padme(size) != plaintext.len() {
        return Err(MediaError::NotAuthentic);
    }
    plaintext.truncate(size);
    Ok(plaintext)
}

impl OpenedStory {
    /// What the story says.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The device that sealed and cleared it.
    #[must_use]
    pub fn author(&self) -> DeviceId {
        self.claims.iss
    }

    /// The labels that its verdict set.
    #[must_use]
    pub fn labels(&self) -> &[Label] {
        &self.claims.labels
    }

    /// The verdict under which it was let go.
    #[must_use]
    pub fn verdict(&self) -> VerdictCode {
        self.claims.verdict
    }

    /// Unix seconds at which it is gone.
    #[must_use]
    pub fn expires_s(&self) -> u64 {
        self.expires_s
    }

    /// What a report discloses beside the manifest: salt and franking tag.
    #[must_use]
    pub fn franking(&self) -> (&[u8; frank::SALT_BYTES], &[u8; frank::TAG_BYTES]) {
        (&self.salt, &self.tag)
    }
}

impl Manifest {
    /// What opens the file at `index`, or `None` if there is none.
    #[must_use]
    pub fn file_key(&self, index: usize) -> Option<FileKey> {
        let file = self.files.get(index)?;
        Some(FileKey {
            digest: file.digest,
            size_bytes: file.size_bytes,
            context: media_context(self.cti, u16::try_from(index).ok()?),
            key: self.media_key.clone(),
        })
    }
}

impl fmt::Debug for OpenedStory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenedStory")
            .field("manifest", &self.manifest)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileKey")
            .field("digest", &self.digest)
            .field("size_bytes", &self.size_bytes)
            .finish_non_exhaustive()
    }
}

pub(super) fn verified(bytes: &[u8], directory: &Directory) -> Result<VerifiedClearance, OpenError> {
    let unverified = UnverifiedClearance::parse(bytes).map_err(|_| OpenError::Clearance)?;
    let issuer = unverified.issuer();
    let logged = directory
        .device(issuer)
        .ok_or(OpenError::Issuer(LeafRefused::Unlogged(issuer)))?;
    unverified.verify(&logged.key).map_err(|_| OpenError::Clearance)
}

pub(super) fn check_one_story(
    clearance: &VerifiedClearance,
    delivery: &Delivery<'_>,
) -> Result<(), OpenError> {
    let (claims, acceptance) = (clearance.claims(), delivery.acceptance);
    let env = Digest::of(delivery.envelope);
    let one = env == claims.env
        && env == acceptance.env
        && clearance.digest() == acceptance.clearance
        && claims.cti == acceptance.cti;
    if one { Ok(()) } else { Err(OpenError::OtherStory) }
}

pub(super) fn check_times(
    claims: &Claims,
    acceptance: &AcceptanceFacts,
    now_s: u64,
) -> Result<(), OpenError> {
    let from_s = claims.iat_s.saturating_sub(CLOCK_SKEW_S);
    let timely = (from_s..=claims.exp_s).contains(&acceptance.at_s)
        && claims.exp_s <= claims.iat_s.saturating_add(CLEARANCE_LIFETIME_S)
        && claims.ttl_s <= TTL_S_MAX
        && acceptance.expires_s <= acceptance.at_s.saturating_add(u64::from(claims.ttl_s));
    if !timely {
        return Err(OpenError::Untimely);
    }
    if now_s >= acceptance.expires_s {
        return Err(OpenError::Expired);
    }
    Ok(())
}

pub(super) fn check_policy(claims: &Claims, directory: &Directory) -> Result<(), OpenError> {
    let policy = &claims.policy;
    if directory.bundle(&policy.digest) == Some((policy.log_index, policy.version)) {
        Ok(())
    } else {
        Err(OpenError::UnloggedPolicy)
    }
}

fn check_audience(member: &Member, claims: &Claims, audience: AudienceId) -> Result<(), OpenError> {
    let state = member
        .audience_state(audience)
        .map_err(|error: MemberError| OpenError::Envelope(error.into()))?;
    let AudienceBinding::Mls {
        group,
        epoch,
        tree_hash,
    } = &claims.audience
    else {
        return Err(OpenError::OtherAudience);
    };
    let same =
        *group == audience && claims.protocol == PROTOCOL && matches!(claims.binding, Binding::AgentSealed);
    if !same {
        return Err(OpenError::OtherAudience);
    }
    if *epoch != state.epoch {
        return Err(OpenError::Envelope(ProcessError::WrongEpoch {
            found: *epoch,
            current: state.epoch,
        }));
    }
    if *tree_hash == state.tree_hash {
        Ok(())
    } else {
        Err(OpenError::OtherAudience)
    }
}

fn check_manifest(manifest: &Manifest, claims: &Claims, directory: &Directory) -> Result<(), OpenError> {
    let AudienceBinding::Mls { group, epoch, .. } = &claims.audience else {
        return Err(OpenError::OtherAudience);
    };
    let person = directory.device(claims.iss).map(|found| found.person);
    let blobs = manifest.files.iter().map(|file| file.digest);
    let agrees = manifest.cti == claims.cti
        && manifest.author == claims.iss
        && Some(manifest.author_person) == person
        && manifest.audience == *group
        && manifest.epoch == *epoch
        && manifest.ttl_s == claims.ttl_s
        && blobs.eq(claims.blobs.iter().copied());
    if agrees {
        Ok(())
    } else {
        Err(OpenError::Contradiction)
    }
}
