//! EXIF (CIPA DC-008): where a picture was taken, who took it, and every text in it.

use std::fmt::Write as _;
use std::ops::Range;

use ::exif::{Context, Error, Exif, Field, Reader, Tag, Value};
use policies::terms::UnscannableReason;

use super::{Extractor, Origin, text};
use crate::detect::structural::{IMAGE_AUTHOR, IMAGE_LOCATION};

/// Name of the owner of the camera.
const CAMERA_OWNER: u16 = 0xA430;
/// Texts that Windows writes, in UTF-16: title, comment, author, keywords, subject.
const WINDOWS_TEXTS: Range<u16> = 0x9C9B..0x9CA0;

/// Adds what an EXIF block says; `span` is where it stands.
pub(crate) fn extract(extractor: &mut Extractor<'_>, block: &[u8], span: Range<usize>, origin: &Origin) {
    let exif = match Reader::new().continue_on_error(true).read_raw(block.to_vec()) {
        Ok(exif) => exif,
        Err(error) => {
            extractor.unread(origin, UnscannableReason::Broken);
            let Error::PartialResult(partial) = error else {
                return;
            };
            partial.into_inner().0
        }
    };
    if let Some(location) = location(&exif) {
        extractor.structural(origin, &IMAGE_LOCATION, span.clone(), location);
    }
    for author in exif
        .fields()
        .filter(|field| names_a_person(field))
        .filter_map(words)
    {
        extractor.structural(origin, &IMAGE_AUTHOR, span.clone(), author);
    }
    let texts: Vec<String> = exif.fields().filter_map(words).collect();
    extractor.metadata(origin, &texts.join("\n\u{1}\n"), span);
}

fn location(exif: &Exif) -> Option<String> {
    let tags = [
        Tag::GPSLatitude,
        Tag::GPSLongitude,
        Tag::GPSDestLatitude,
        Tag::GPSDestLongitude,
        Tag::GPSAreaInformation,
    ];
    let mut value = String::new();
    for field in exif.fields().filter(|field| tags.contains(&field.tag)) {
        let separator = if value.is_empty() { "" } else { ", " };
        write!(value, "{separator}{}", field.display_value().with_unit(exif)).ok()?;
    }
    (!value.is_empty()).then_some(value)
}

fn names_a_person(field: &Field) -> bool {
    field.tag == Tag::Artist || field.tag == Tag(Context::Exif, CAMERA_OWNER)
}

/// The words of a field that holds words.
fn words(field: &Field) -> Option<String> {
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let words = if let Value::Ascii(lines) = &field.value {
        lines
            .iter()
            .map(|line| lossy(line))
            .collect::<Vec<_>>()
            .join("\n")
    } else if let Value::Byte(bytes) = &field.value
        && WINDOWS_TEXTS.contains(&field.tag.number())
    {
        text::utf16(bytes, false).0
    } else if let Value::Undefined(bytes, _) = &field.value
        && field.tag == Tag::UserComment
    {
        // A comment has eight bytes of encoding in front.
        lossy(bytes.get(8..)?)
    } else {
        return None;
    };
    let words = words.trim_matches(['\0', ' ', '\n']).to_owned();
    (!words.is_empty()).then_some(words)
}
