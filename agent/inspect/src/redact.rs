//! Redaction (F1, F3): a draft in which the chosen matches are masked or stripped, and nothing else is changed.
//!
//! Text is masked in place, in the bytes and the encoding of the original. Pictures lose their metadata and keep
//! their image data to the byte. Anything else is [`NotRedactable`]. The caller inspects the outcome again (F2).

mod image;
mod text;

use std::collections::BTreeMap;

use policies::terms::DetectorId;

use crate::draft::{Draft, DraftFile};
use crate::identify::{Encoding, Kind, identify};
use crate::place::Transform;
use crate::report::{Located, Report};

/// A redacted draft and what was done to it.
#[derive(Debug)]
pub struct Redacted {
    /// The draft. It has not been inspected.
    pub draft: Draft,
    /// What was done, item by item.
    pub changes: Vec<Change>,
}

/// One thing that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The item: 0 is the text of the draft, files follow.
    pub item: u16,
    /// What was done.
    pub kind: ChangeKind,
}

/// What was done to an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// A value was masked.
    Masked {
        /// The detector that found it.
        detector: DetectorId,
        /// What stands there instead.
        mask: String,
    },
    /// Location and other metadata were taken out of a picture; its image data is unchanged.
    MetadataStripped,
}

/// Why a draft cannot be redacted.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotRedactable {
    /// The match is inside an archive or a document.
    #[error("item {item} holds it inside a container: remove it there and add the file again")]
    InsideContainer {
        /// The item.
        item: u16,
    },
    /// The match is spread over several items.
    #[error("item {item} holds only a part of it: remove the parts by hand")]
    SpreadOverItems {
        /// The item.
        item: u16,
    },
    /// The match is in the name of a file.
    #[error("item {item} holds it in a file's name: rename the file and add it again")]
    InName {
        /// The item.
        item: u16,
    },
    /// The type of the item cannot be rewritten.
    #[error("item {item} is of a type that cannot be rewritten: remove the item")]
    Type {
        /// The item.
        item: u16,
    },
    /// The report is of another draft.
    #[error("the report is of another draft: inspect this one first")]
    OtherDraft,
}

/// Redacts every match for which `chosen` holds.
///
/// # Errors
/// [`NotRedactable`] if one of them cannot be redacted; nothing is half done.
pub fn redact(
    draft: &Draft,
    report: &Report,
    chosen: impl Fn(&Located) -> bool,
) -> Result<Redacted, NotRedactable> {
    if report.evidence().content != draft.digest() {
        return Err(NotRedactable::OtherDraft);
    }
    let mut by_item: BTreeMap<u16, Vec<&Located>> = BTreeMap::new();
    for found in report.matches().iter().filter(|found| chosen(found)) {
        by_item.entry(found.item).or_default().push(found);
    }
    let mut changes = Vec::new();
    let mut contents = Vec::new();
    for (item, _, bytes) in draft.items() {
        contents.push(match by_item.get(&item) {
            Some(found) => item_without(item, bytes, found, &mut changes)?,
            None => bytes.to_vec(),
        });
    }
    let mut contents = contents.into_iter();
    let text = String::from_utf8(contents.next().unwrap_or_default())
        .map_err(|_| NotRedactable::Type { item: 0 })?;
    let files = draft.files().iter().zip(contents).map(|(file, bytes)| DraftFile {
        name: file.name.clone(),
        bytes,
    });
    Ok(Redacted {
        draft: Draft::new(text, files.collect()),
        changes,
    })
}

fn item_without(
    item: u16,
    bytes: &[u8],
    found: &[&Located],
    changes: &mut Vec<Change>,
) -> Result<Vec<u8>, NotRedactable> {
    let own_path = usize::from(item > 0);
    for one in found {
        if one.place.chain.contains(&Transform::Joined) {
            return Err(NotRedactable::SpreadOverItems { item });
        }
        if one.place.chain.contains(&Transform::FileName) {
            return Err(NotRedactable::InName { item });
        }
        if one.place.path.len() > own_path {
            return Err(NotRedactable::InsideContainer { item });
        }
    }
    let kind = if item == 0 {
        Kind::Text(Encoding::Utf8)
    } else {
        identify(bytes)
    };
    match kind {
        Kind::Jpeg => {
            changes.push(Change {
                item,
                kind: ChangeKind::MetadataStripped,
            });
            image::jpeg_without_metadata(bytes).ok_or(NotRedactable::Type { item })
        }
        Kind::Png => {
            changes.push(Change {
                item,
                kind: ChangeKind::MetadataStripped,
            });
            image::png_without_metadata(bytes).ok_or(NotRedactable::Type { item })
        }
        Kind::Text(encoding) => text::masked(item, bytes, encoding, found, changes),
        Kind::Html => text::masked(item, bytes, Encoding::Utf8, found, changes),
        Kind::Empty | Kind::Zip | Kind::Gzip | Kind::Zlib | Kind::Unreadable(_) | Kind::Unknown => {
            Err(NotRedactable::Type { item })
        }
    }
}
