//! From bytes to segments: texts with a map to the bytes that they came from.
//!
//! A container is taken apart as deep as the limits allow. What cannot be read is noted as unread, never left out.

pub(crate) mod document;
pub(crate) mod exif;
pub(crate) mod html;
pub(crate) mod inflate;
pub(crate) mod jpeg;
pub(crate) mod png;
pub(crate) mod text;
pub(crate) mod zip;

use std::ops::Range;

use policies::terms::{ItemKind, UnscannableReason};

use crate::detect::structural::Structural;
use crate::identify::{self, Encoding, Kind};
use crate::limits::Budget;
use crate::place::{Place, Transform};
use crate::report::Unread;
use crate::views::map::OffsetMap;

/// A text found in an item.
pub(crate) struct Segment {
    pub(crate) item: u16,
    pub(crate) path: Vec<String>,
    pub(crate) chain: Vec<Transform>,
    pub(crate) text: String,
    /// From the text to the bytes of the item or of the innermost member.
    pub(crate) map: OffsetMap,
    /// Whether people read it as the content, so that it takes part in the joined view.
    pub(crate) is_body: bool,
    pub(crate) depth: u8,
}

/// A finding that the structure of a file gives away, such as a location.
pub(crate) struct StructuralMatch {
    pub(crate) detector: &'static Structural,
    pub(crate) item: u16,
    pub(crate) path: Vec<String>,
    pub(crate) span: Range<usize>,
    pub(crate) value: String,
}

/// Where some bytes stand: the item, the names around them, how deep they are.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) item: u16,
    pub(crate) path: Vec<String>,
    pub(crate) depth: u8,
}

impl Origin {
    /// A member of this container.
    pub(crate) fn member(&self, name: &str) -> Self {
        let mut path = self.path.clone();
        path.push(printable(name));
        Self {
            item: self.item,
            path,
            depth: self.depth.saturating_add(1),
        }
    }
}

/// A name as it may be shown: no control or direction characters.
fn printable(name: &str) -> String {
    let shown = |c: char| {
        if c.is_control()
            || matches!(c, '\u{200E}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
        {
            '?'
        } else {
            c
        }
    };
    name.chars().map(shown).collect()
}

/// Takes bytes apart into segments.
pub(crate) struct Extractor<'b> {
    pub(crate) budget: &'b mut Budget,
    pub(crate) segments: Vec<Segment>,
    pub(crate) structural: Vec<StructuralMatch>,
    pub(crate) unread: Vec<Unread>,
}

impl<'b> Extractor<'b> {
    pub(crate) fn new(budget: &'b mut Budget) -> Self {
        Self {
            budget,
            segments: Vec::new(),
            structural: Vec::new(),
            unread: Vec::new(),
        }
    }

    /// Takes `bytes` apart and tells what they are.
    pub(crate) fn extract(&mut self, bytes: &[u8], origin: &Origin) -> ItemKind {
        if origin.depth > self.budget.depth_max() {
            self.unread(origin, UnscannableReason::TooDeep);
            return ItemKind::Other;
        }
        if let Err(reason) = self.budget.work(bytes.len()) {
            self.unread(origin, reason);
            return ItemKind::Other;
        }
        let kind = identify::identify(bytes);
        match kind {
            Kind::Empty => {}
            Kind::Text(encoding) => text::extract(self, bytes, encoding, origin),
            Kind::Html => text::extract(self, bytes, Encoding::Utf8, origin),
            Kind::Zip => return zip::extract(self, bytes, origin),
            Kind::Gzip => inflate::extract_gzip(self, bytes, origin),
            Kind::Zlib => inflate::extract_zlib(self, bytes, origin),
            Kind::Jpeg => jpeg::extract(self, bytes, origin),
            Kind::Png => png::extract(self, bytes, origin),
            Kind::Unreadable(reason) => {
                self.unread(origin, reason);
                return identify::foreign_kind(bytes);
            }
            Kind::Unknown => self.unread(origin, UnscannableReason::UnsupportedType),
        }
        kind.item_kind()
    }

    /// Takes a text for a text.
    pub(crate) fn extract_text(&mut self, text: &str, origin: &Origin) {
        text::extract(self, text.as_bytes(), Encoding::Utf8, origin);
    }

    pub(crate) fn unread(&mut self, origin: &Origin, reason: UnscannableReason) {
        let place = Place {
            span: 0..0,
            path: origin.path.clone(),
            chain: Vec::new(),
            line: 1,
        };
        self.unread.push(Unread {
            item: origin.item,
            place,
            reason,
        });
    }

    pub(crate) fn segment(
        &mut self,
        origin: &Origin,
        chain: &[Transform],
        text: String,
        map: OffsetMap,
        is_body: bool,
    ) {
        if text.is_empty() {
            return;
        }
        self.segments.push(Segment {
            item: origin.item,
            path: origin.path.clone(),
            chain: chain.to_vec(),
            text,
            map,
            is_body,
            depth: origin.depth,
        });
    }

    /// A name that recipients get. It stands in no bytes of the item.
    pub(crate) fn name(&mut self, origin: &Origin, name: &str) {
        let mut map = OffsetMap::default();
        map.copy(0..name.len());
        self.segment(origin, &[Transform::FileName], name.to_owned(), map, false);
    }

    /// Text of metadata that stands at `source` in the bytes.
    pub(crate) fn metadata(&mut self, origin: &Origin, text: &str, source: Range<usize>) {
        let mut map = OffsetMap::default();
        if text.len() == source.len() {
            map.copy(source);
        } else {
            map.unit(text.len(), source);
        }
        self.segment(origin, &[], text.to_owned(), map, false);
    }

    pub(crate) fn structural(
        &mut self,
        origin: &Origin,
        detector: &'static Structural,
        span: Range<usize>,
        value: String,
    ) {
        self.structural.push(StructuralMatch {
            detector,
            item: origin.item,
            path: origin.path.clone(),
            span,
            value,
        });
    }
}
