//! JPEG (ITU-T T.81): metadata segments, comments, and what stands behind the image.

use std::ops::Range;

use policies::terms::UnscannableReason;

use super::{Extractor, Origin, exif, text};
use crate::detect::structural::IMAGE_LOCATION;

const SOS: u8 = 0xDA;
const EOI: u8 = 0xD9;
const APP0: u8 = 0xE0;
const APP15: u8 = 0xEF;
const COMMENT: u8 = 0xFE;
const EXIF: &[u8] = b"Exif\0\0";
const ICC: &[u8] = b"ICC_PROFILE\0";

/// A marker segment and the bytes of its payload.
struct Part {
    marker: u8,
    payload: Range<usize>,
}

/// Adds what the metadata says, and the data behind the image as an item of its own.
pub(crate) fn extract(extractor: &mut Extractor<'_>, bytes: &[u8], origin: &Origin) {
    let Some((parts, end)) = parts(bytes) else {
        extractor.unread(origin, UnscannableReason::Broken);
        return;
    };
    for part in &parts {
        let payload = bytes.get(part.payload.clone()).unwrap_or_default();
        match part.marker {
            APP0..=APP15 if payload.starts_with(EXIF) => {
                exif::extract(
                    extractor,
                    payload.get(EXIF.len()..).unwrap_or_default(),
                    part.payload.clone(),
                    origin,
                );
            }
            APP0..=APP15 if payload.starts_with(ICC) => {}
            APP0..=APP15 | COMMENT => describe(extractor, payload, part.payload.clone(), origin),
            _ => {}
        }
    }
    let behind = bytes.get(end..).unwrap_or_default();
    if behind.iter().any(|b| *b != 0) {
        extractor.extract(behind, &origin.member("data behind the image"));
    }
}

/// Adds the readable text of a metadata block, and the location that XMP may hold.
pub(crate) fn describe(extractor: &mut Extractor<'_>, payload: &[u8], span: Range<usize>, origin: &Origin) {
    if memchr::memmem::find(payload, b"GPSLatitude").is_some() {
        extractor.structural(
            origin,
            &IMAGE_LOCATION,
            span.clone(),
            "location in XMP".to_owned(),
        );
    }
    extractor.metadata(origin, &text::same_length(payload.to_vec()), span);
}

/// Offset behind the end marker; none if the bytes are no whole JPEG.
pub(crate) fn image_end(bytes: &[u8]) -> Option<usize> {
    parts(bytes).map(|(_, end)| end)
}

/// Segments with their payloads, and the offset behind the end marker.
fn parts(bytes: &[u8]) -> Option<(Vec<Part>, usize)> {
    let mut parts = Vec::new();
    let mut at = 2;
    loop {
        at += bytes.get(at..)?.iter().position(|b| *b == 0xFF)?;
        at += bytes.get(at..)?.iter().position(|b| *b != 0xFF)?;
        let marker = *bytes.get(at)?;
        at += 1;
        match marker {
            EOI => return Some((parts, at)),
            // Stuffed bytes, restarts and temporary markers have no payload.
            0x00 | 0x01 | 0xD0..=0xD8 => {}
            _ => {
                let [high, low] = *bytes.get(at..at + 2)? else {
                    return None;
                };
                let len = usize::from(u16::from_be_bytes([high, low]));
                let payload = at + 2..(at + len).max(at + 2);
                bytes.get(payload.clone())?;
                at = payload.end;
                parts.push(Part { marker, payload });
                if marker == SOS {
                    at = scan_end(bytes, at)?;
                }
            }
        }
    }
}

/// Where the next marker follows the entropy-coded data.
fn scan_end(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    memchr::memchr_iter(0xFF, rest)
        .find(|at| {
            rest.get(at + 1)
                .is_some_and(|next| !matches!(next, 0x00 | 0xD0..=0xD7 | 0xFF))
        })
        .map(|at| from + at)
}
