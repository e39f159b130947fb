//! The manifest: what a story says, who says it to whom, and how its files are opened. It never leaves in clear.
//!
//! Canonical CBOR `{1: version, 2: cti, 3: audience, 4: author's device, 5: author's person, 6: epoch,
//! 7: audience's name, 8: created, 9: lifetime, 10: text, 11: [{1: name, 2: kind, 3: size, 4: SHA-256 of the
//! ciphertext}], 12: media key}`. The plaintext of the envelope is `length (4) || {1: salt, 2: manifest} || zeros`
//! up to a Padmé length (C6).

use std::fmt;

use ciborium::Value;
use policies::terms::{AudienceId, Cti, DeviceId, Digest, ItemKind, PersonId};
use zeroize::{Zeroize as _, Zeroizing};

use crate::cbor::{self, Fields, Malformed};
use crate::frank;
use crate::limits::{
    FILE_BYTES_MAX, FILES_MAX, MANIFEST_BYTES_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX, TTL_S_MAX,
};
use crate::media;

const VERSION: u64 = 1;
const LENGTH_BYTES: usize = 4;

/// A story's content and context.
///
/// No `Clone`, no `Serialize`; `Debug` prints sizes and identifiers only; text, names and the media key are
/// overwritten when dropped.
pub struct Manifest {
    pub(crate) cti: Cti,
    pub(crate) audience: AudienceId,
    pub(crate) author: DeviceId,
    pub(crate) author_person: PersonId,
    pub(crate) epoch: u64,
    pub(crate) audience_name: Zeroizing<String>,
    pub(crate) created_s: u64,
    pub(crate) ttl_s: u32,
    pub(crate) text: Zeroizing<String>,
    pub(crate) files: Vec<FileEntry>,
    pub(crate) media_key: Zeroizing<[u8; media::KEY_BYTES]>,
}

/// One file of a story.
pub struct FileEntry {
    pub(crate) name: Zeroizing<String>,
    pub(crate) kind: ItemKind,
    pub(crate) size_bytes: u64,
    pub(crate) digest: Digest,
}

/// The bytes are no manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the story's manifest is damaged, or of a version that this agent does not know\nhelp: update the agent"
)]
pub struct ManifestError;

impl From<Malformed> for ManifestError {
    fn from(_: Malformed) -> Self {
        Self
    }
}

impl Manifest {
    /// The story's id.
    #[must_use]
    pub fn cti(&self) -> Cti {
        self.cti
    }

    /// The audience that it was sealed to.
    #[must_use]
    pub fn audience(&self) -> AudienceId {
        self.audience
    }

    /// The name that the author's device gives the audience.
    #[must_use]
    pub fn audience_name(&self) -> &str {
        &self.audience_name
    }

    /// The device that sealed it.
    #[must_use]
    pub fn author(&self) -> DeviceId {
        self.author
    }

    /// The person of that device.
    #[must_use]
    pub fn author_person(&self) -> PersonId {
        self.author_person
    }

    /// The epoch in which it was sealed.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Unix seconds of its making, by the author's clock.
    #[must_use]
    pub fn created_s(&self) -> u64 {
        self.created_s
    }

    /// The lifetime that its author chose, in seconds.
    #[must_use]
    pub fn ttl_s(&self) -> u32 {
        self.ttl_s
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The files, in order.
    #[must_use]
    pub fn files(&self) -> &[FileEntry] {
        &self.files
    }

    /// Canonical bytes: what the franking tag commits to, and what an agent keeps encrypted until it expires.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let files = self.files.iter().map(FileEntry::to_value).collect();
        let mut value = cbor::map(vec![
            (1, Value::Integer(VERSION.into())),
            (2, Value::Bytes(self.cti.as_bytes().to_vec())),
            (3, Value::Bytes(self.audience.as_bytes().to_vec())),
            (4, Value::Bytes(self.author.as_bytes().to_vec())),
            (5, Value::Bytes(self.author_person.as_bytes().to_vec())),
            (6, Value::Integer(self.epoch.into())),
            (7, Value::Text(self.audience_name.to_string())),
            (8, Value::Integer(self.created_s.into())),
            (9, Value::Integer(self.ttl_s.into())),
            (10, Value::Text(self.text.to_string())),
            (11, Value::Array(files)),
            (12, Value::Bytes(self.media_key.to_vec())),
        ]);
        let bytes = Zeroizing::new(policies::cbor::canonical(&value));
        wipe(&mut value);
        bytes
    }

    /// Reads [`Manifest::to_bytes`], strictly and within the limits.
    ///
    /// # Errors
    /// [`ManifestError`] if anything is missing, left over, out of bounds or not canonical.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError);
        }
        let mut fields = Fields::parse(bytes)?;
        if fields.unsigned(1)? != VERSION {
            return Err(ManifestError);
        }
        let manifest = Self {
            cti: Cti::from_bytes(fields.array(2)?),
            audience: AudienceId::from_bytes(fields.array(3)?),
            author: DeviceId::from_bytes(fields.array(4)?),
            author_person: PersonId::from_bytes(fields.array(5)?),
            epoch: fields.unsigned(6)?,
            audience_name: Zeroizing::new(fields.text(7)?),
            created_s: fields.unsigned(8)?,
            ttl_s: u32::try_from(fields.unsigned(9)?).map_err(|_| ManifestError)?,
            text: Zeroizing::new(fields.text(10)?),
            files: read_files(fields.list(11)?)?,
            media_key: Zeroizing::new(fields.array(12)?),
        };
        fields.finish()?;
        manifest.within_limits()?;
        Ok(manifest)
    }

    fn within_limits(&self) -> Result<(), ManifestError> {
        let short = self.text.len() <= TEXT_BYTES_MAX && self.audience_name.len() <= NAME_BYTES_MAX;
        if short && self.ttl_s <= TTL_S_MAX {
            Ok(())
        } else {
            Err(ManifestError)
        }
    }
}

impl FileEntry {
    /// The file's name, to be shown and never trusted as a path.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the author's inspection took it for.
    #[must_use]
    pub fn kind(&self) -> ItemKind {
        self.kind
    }

    /// Bytes of the file itself.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// SHA-256 of the blob: its address at the gateway.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    fn to_value(&self) -> Value {
        cbor::map(vec![
            (1, Value::Text(self.name.to_string())),
            (2, Value::Integer(kind_code(self.kind).into())),
            (3, Value::Integer(self.size_bytes.into())),
            (4, Value::Bytes(self.digest.as_bytes().to_vec())),
        ])
    }

    fn from_value(value: Value) -> Result<Self, ManifestError> {
        let mut fields = Fields::from_value(value)?;
        let entry = Self {
            name: Zeroizing::new(fields.text(1)?),
            kind: kind_of(fields.unsigned(2)?)?,
            size_bytes: fields.unsigned(3)?,
            digest: Digest::from_bytes(fields.array(4)?),
        };
        fields.finish()?;
        if entry.name.len() > NAME_BYTES_MAX || entry.size_bytes > FILE_BYTES_MAX as u64 {
            return Err(ManifestError);
        }
        Ok(entry)
    }
}

impl fmt::Debug for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manifest")
            .field("cti", &self.cti)
            .field("audience", &self.audience)
            .field("author", &self.author)
            .field("epoch", &self.epoch)
            .field("text_bytes", &self.text.len())
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for FileEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileEntry")
            .field("kind", &self.kind)
            .field("size_bytes", &self.size_bytes)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

/// The plaintext of an envelope: salt and manifest, padded.
pub(crate) fn frame(salt: &[u8; frank::SALT_BYTES], manifest: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut value = cbor::map(vec![
        (1, Value::Bytes(salt.to_vec())),
        (2, Value::Bytes(manifest.to_vec())),
    ]);
    let body = Zeroizing::new(policies::cbor::canonical(&value));
    wipe(&mut value);
    let total = media::padme(LENGTH_BYTES + body.len());
    let mut framed = Zeroizing::new(Vec::with_capacity(total));
    // A manifest is far below 4 GiB by its limits; a longer one would fail to be read back.
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(&body);
    framed.resize(total, 0);
    framed
}

/// Salt and manifest bytes of an envelope's plaintext.
pub(super) type Unframed = ([u8; frank::SALT_BYTES], Zeroizing<Vec<u8>>);

/// Reads [`frame`].
pub(super) fn unframe(framed: &[u8]) -> Result<Unframed, ManifestError> {
    let (length, rest) = framed.split_first_chunk::<LENGTH_BYTES>().ok_or(ManifestError)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| ManifestError)?;
    let (body, padding) = rest.split_at_checked(length).ok_or(ManifestError)?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(ManifestError);
    }
    let mut fields = Fields::parse(body)?;
    let salt = fields.array(1)?;
    let manifest = Zeroizing::new(fields.bytes(2)?);
    fields.finish()?;
    Ok((salt, manifest))
}

fn read_files(list: Vec<Value>) -> Result<Vec<FileEntry>, ManifestError> {
    if list.len() > FILES_MAX {
        return Err(ManifestError);
    }
    list.into_iter().map(FileEntry::from_value).collect()
}

fn kind_code(kind: ItemKind) -> u8 {
    match kind {
        ItemKind::Text => 0,
        ItemKind::Html => 1,
        ItemKind::Image => 2,
        ItemKind::Document => 3,
        ItemKind::Archive => 4,
        ItemKind::Other => 5,
    }
}

fn kind_of(code: u64) -> Result<ItemKind, ManifestError> {
    match code {
        0 => Ok(ItemKind::Text),
        1 => Ok(ItemKind::Html),
        2 => Ok(ItemKind::Image),
        3 => Ok(ItemKind::Document),
        4 => Ok(ItemKind::Archive),
        5 => Ok(ItemKind::Other),
        _ => Err(ManifestError),
    }
}

/// Overwrites the strings and byte strings of a value tree.
fn wipe(value: &mut Value) {
    if let Value::Bytes(bytes) = value {
        bytes.zeroize();
    } else if let Value::Text(text) = value {
        text.zeroize();
    } else if let Value::Array(items) = value {
        items.iter_mut().for_each(wipe);
    } else if let Value::Map(entries) = value {
        entries.iter_mut().for_each(|(_, value)| wipe(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            cti: Cti::from_bytes([1; 16]),
            audience: AudienceId::from_bytes([2; 16]),
            author: DeviceId::from_bytes([3; 16]),
            author_person: PersonId::from_bytes([4; 16]),
            epoch: 7,
            audience_name: Zeroizing::new("board".to_owned()),
            created_s: 1_800_000_000,
            ttl_s: 3_600,
            text: Zeroizing::new("the plan".to_owned()),
            files: vec![FileEntry {
                name: Zeroizing::new("plan.pdf".to_owned()),
                kind: ItemKind::Document,
                size_bytes: 9,
                digest: Digest::of(b"blob"),
            }],
            media_key: Zeroizing::new([5; 32]),
        }
    }

    #[test]
    fn manifest_returns_from_its_bytes() {
        let bytes = manifest().to_bytes();
        let again = Manifest::from_bytes(&bytes).unwrap();
        assert_eq!(again.to_bytes(), bytes);
        assert_eq!((again.text(), again.files().len()), ("the plan", 1));
    }

    #[test]
    fn altered_length_or_padding_of_a_frame_is_refused() {
        let framed = frame(&[6; 32], &manifest().to_bytes());
        assert_eq!(framed.len(), media::padme(framed.len()));
        assert!(unframe(&framed).is_ok());
        let mut padding = framed.to_vec();
        *padding.last_mut().unwrap() = 1;
        assert!(unframe(&padding).is_err());
        let mut length = framed.to_vec();
        length[0] = 1;
        assert!(unframe(&length).is_err());
    }

    #[test]
    fn debug_of_a_manifest_shows_no_content() {
        let shown = format!("{:?} {:?}", manifest(), manifest().files);
        for secret in ["plan", "board", "pdf"] {
            assert!(!shown.contains(secret), "{secret}");
        }
        insta::assert_snapshot!(
            format!("{:?}", manifest()),
            @"Manifest { cti: Cti(01010101010101010101010101010101), audience: AudienceId(02020202020202020202020202020202), author: DeviceId(03030303030303030303030303030303), epoch: 7, text_bytes: 8, files: 1, .. }"
        );
    }
}
