//! Metadata out, image data kept to the byte.

use img_parts::jpeg::Jpeg;
use img_parts::png::Png;
use img_parts::{Bytes, ImageEXIF};

use crate::extract::{jpeg, png};

/// Application segments and comments; what decoders need for the colours (JFIF, ICC, Adobe) stays.
const JFIF: u8 = 0xE0;
const APP1: u8 = 0xE1;
const ICC: u8 = 0xE2;
const ADOBE: u8 = 0xEE;
const APP15: u8 = 0xEF;
const COMMENT: u8 = 0xFE;
/// Chunks that hold texts, EXIF or a time.
const PNG_METADATA: [[u8; 4]; 5] = [*b"tEXt", *b"zTXt", *b"iTXt", *b"eXIf", *b"tIME"];
/// Tag of the orientation (CIPA DC-008, 4.6.4).
const ORIENTATION: u16 = 0x0112;

/// The JPEG without metadata and without what stands behind it. Its orientation stays, so that it is shown as before.
pub(super) fn jpeg_without_metadata(bytes: &[u8]) -> Option<Vec<u8>> {
    let image = bytes.get(..jpeg::image_end(bytes)?)?;
    let mut jpeg = Jpeg::from_bytes(Bytes::copy_from_slice(image)).ok()?;
    let orientation = jpeg.exif().and_then(|exif| orientation(&exif));
    jpeg.segments_mut().retain(|segment| match segment.marker() {
        JFIF => segment.contents().starts_with(b"JFIF\0"),
        ICC => segment.contents().starts_with(b"ICC_PROFILE\0"),
        ADOBE => segment.contents().starts_with(b"Adobe"),
        APP1..=APP15 | COMMENT => false,
        _ => true,
    });
    jpeg.set_exif(orientation.map(orientation_only));
    Some(jpeg.encoder().bytes().to_vec())
}

/// The PNG without metadata and without what stands behind it.
pub(super) fn png_without_metadata(bytes: &[u8]) -> Option<Vec<u8>> {
    let image = bytes.get(..png::image_end(bytes)?)?;
    let mut png = Png::from_bytes(Bytes::copy_from_slice(image)).ok()?;
    let orientation = png.exif().and_then(|exif| orientation(&exif));
    png.chunks_mut()
        .retain(|chunk| !PNG_METADATA.contains(&chunk.kind()));
    png.set_exif(orientation.map(orientation_only));
    Some(png.encoder().bytes().to_vec())
}

/// The orientation, unless it is upright.
fn orientation(exif: &[u8]) -> Option<u16> {
    let (fields, _) = exif::parse_exif(exif).ok()?;
    let field = fields
        .iter()
        .find(|field| field.tag == exif::Tag::Orientation && field.ifd_num == exif::In::PRIMARY)?;
    u16::try_from(field.value.get_uint(0)?)
        .ok()
        .filter(|value| (2..=8).contains(value))
}

/// A TIFF structure with this one tag.
fn orientation_only(orientation: u16) -> Bytes {
    let mut tiff = b"MM\0\x2A\0\0\0\x08\0\x01".to_vec();
    tiff.extend(ORIENTATION.to_be_bytes());
    // Type SHORT, one value, left-justified in four bytes; no further directory.
    tiff.extend(*b"\0\x03\0\0\0\x01");
    tiff.extend(orientation.to_be_bytes());
    tiff.extend([0; 6]);
    Bytes::from(tiff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_orientation_survives_alone() {
        let exif = orientation_only(6);
        assert_eq!(orientation(&exif), Some(6));
        let (fields, _) = exif::parse_exif(&exif).unwrap();
        assert_eq!(fields.len(), 1);
        assert_eq!(orientation(&orientation_only(1)), None);
    }
}
