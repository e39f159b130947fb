//! Decoded views (V3). Each step finds what is encoded in a text and gives the decoded text with a map back.

mod base64;
mod entities;
mod escapes;
mod hex;

use std::ops::Range;

use super::map::OffsetMap;
use super::{Content, Decoded};
use crate::extract::text;
use crate::identify::{self, Encoding, Kind};
use crate::limits::EXCERPT_BYTES;
use crate::place::Transform;

/// Adds everything that `text` decodes to, by one step.
pub(super) fn steps(text: &str, steps: &mut Vec<Decoded>) {
    base64::steps(text.as_bytes(), steps);
    hex::steps(text.as_bytes(), steps);
    excerpts(text, b'%', Transform::Percent, escapes::percent, steps);
    excerpts(
        text,
        b'=',
        Transform::QuotedPrintable,
        escapes::quoted_printable,
        steps,
    );
    excerpts(text, b'\\', Transform::Escapes, escapes::backslash, steps);
    excerpts(text, b'&', Transform::Entities, entities::reference, steps);
}

/// An escape at the head of some bytes: what it stands for, and how long it is.
struct Escape {
    bytes: Vec<u8>,
    len: usize,
}

/// Decodes a text around its escapes, all of which begin with `lead`. Far from them the text is in another view already.
fn excerpts(
    text: &str,
    lead: u8,
    transform: Transform,
    escape: fn(&[u8]) -> Option<Escape>,
    steps: &mut Vec<Decoded>,
) {
    let bytes = text.as_bytes();
    let mut found: Vec<(usize, Escape)> = Vec::new();
    for at in memchr::memchr_iter(lead, bytes) {
        if found.last().is_none_or(|(last, escape)| last + escape.len <= at) {
            found.extend(bytes.get(at..).and_then(escape).map(|escape| (at, escape)));
        }
    }
    let mut found = found.into_iter().peekable();
    while let Some(first) = found.next() {
        let start = first.0.saturating_sub(EXCERPT_BYTES);
        let mut group = vec![first];
        let near = |last: &(usize, Escape), at: usize| at <= last.0 + last.1.len + 2 * EXCERPT_BYTES;
        while let Some(next) = found.next_if(|next| group.last().is_some_and(|last| near(last, next.0))) {
            group.push(next);
        }
        let end = group
            .last()
            .map_or(start, |(at, e)| (at + e.len + EXCERPT_BYTES).min(bytes.len()));
        steps.extend(excerpt(bytes, start..end, &group, transform));
    }
}

fn excerpt(
    bytes: &[u8],
    range: Range<usize>,
    escapes: &[(usize, Escape)],
    transform: Transform,
) -> Option<Decoded> {
    let mut out = Vec::with_capacity(range.len());
    let mut map = OffsetMap::default();
    let mut at = range.start;
    for (start, escape) in escapes {
        out.extend_from_slice(bytes.get(at..*start)?);
        map.copy(at..*start);
        at = start + escape.len;
        out.extend_from_slice(&escape.bytes);
        map.unit(escape.bytes.len(), *start..at);
    }
    out.extend_from_slice(bytes.get(at..range.end)?);
    map.copy(at..range.end);
    let text = text::same_length(out);
    Some(Decoded::text(transform, text, map))
}

/// Fewest decoded bytes that are taken for a file of a type that is not read: 64 digits of base64.
const FILE_MIN: usize = 48;
/// Heads of such files, four bytes at least: hashes and words decode to every shorter one.
const HEADS: &[(usize, &[u8])] = &[
    (0, b"\xD0\xCF\x11\xE0"),
    (0, b"{\\rtf"),
    (0, b"Rar!"),
    (0, b"MSCF"),
    (0, b"LZIP"),
    (0, b"7z\xBC\xAF"),
    (0, b"\xFD7zXZ"),
    (0, b"\x28\xB5\x2F\xFD"),
    (0, b"\x04\x22\x4D\x18"),
    (4, b"1AY&SY"),
    (257, b"ustar"),
    (0, b"GIF8"),
    (0, b"RIFF"),
    (0, b"II*\0"),
    (0, b"MM\0*"),
    (4, b"ftyp"),
    (0, b"OggS"),
    (0, b"fLaC"),
    (0, b"\x1A\x45\xDF\xA3"),
    (0, b"\x7FELF"),
    (0, b"SQLite"),
];

/// Whether decoded bytes are surely a file of a type that is not read.
fn is_file(bytes: &[u8]) -> bool {
    let has = |(at, head): &(usize, &[u8])| bytes.get(*at..).is_some_and(|rest| rest.starts_with(head));
    bytes.len() >= FILE_MIN && (HEADS.iter().any(has) || memchr::memmem::find(bytes, b"%PDF-").is_some())
}

/// Whether decoded bytes are a zlib stream: its head is two bytes, so that a short one must inflate.
fn is_stream(bytes: &[u8]) -> bool {
    let inflates = || std::io::copy(&mut flate2::read::ZlibDecoder::new(bytes), &mut std::io::sink()).is_ok();
    bytes.len() >= FILE_MIN || inflates()
}

/// Decoded bytes as a step, if they are a text or of a type that can be told by its content.
fn decoded(transform: Transform, bytes: Vec<u8>, map: OffsetMap) -> Option<Decoded> {
    match identify::identify(&bytes) {
        Kind::Html => Some(Decoded::text(transform, text::same_length(bytes), map)),
        // Any eight bytes may read as Western text.
        Kind::Empty | Kind::Unknown | Kind::Text(Encoding::Windows1252) => None,
        Kind::Text(encoding) => {
            let (text, inner) = text::decode(&bytes, encoding);
            Some(Decoded::text(transform, text, inner.through(&map)))
        }
        Kind::Zlib if !is_stream(&bytes) => None,
        Kind::Unreadable(_) if !is_file(&bytes) => None,
        Kind::Zip | Kind::Gzip | Kind::Zlib | Kind::Jpeg | Kind::Png | Kind::Unreadable(_) => Some(Decoded {
            transform,
            content: Content::Bytes(bytes),
            map,
        }),
    }
}
