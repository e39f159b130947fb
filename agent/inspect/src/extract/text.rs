//! Plain text in the encodings that people save it in, and the text of markup.

use super::{Extractor, Origin, html};
use crate::identify::Encoding;
use crate::place::Transform;
use crate::views::map::OffsetMap;

/// What 0x80 to 0x9F stand for in Windows-1252 (WHATWG Encoding Standard).
const WINDOWS_1252_HIGH: [char; 32] = [
    '\u{20AC}', '\u{81}', '\u{201A}', '\u{192}', '\u{201E}', '\u{2026}', '\u{2020}', '\u{2021}', '\u{2C6}',
    '\u{2030}', '\u{160}', '\u{2039}', '\u{152}', '\u{8D}', '\u{17D}', '\u{8F}', '\u{90}', '\u{2018}',
    '\u{2019}', '\u{201C}', '\u{201D}', '\u{2022}', '\u{2013}', '\u{2014}', '\u{2DC}', '\u{2122}', '\u{161}',
    '\u{203A}', '\u{153}', '\u{9D}', '\u{17E}', '\u{178}',
];

/// Adds the text, and the text without its markup where there is markup.
pub(crate) fn extract(extractor: &mut Extractor<'_>, bytes: &[u8], encoding: Encoding, origin: &Origin) {
    let (text, map) = decode(bytes, encoding);
    let chain = match encoding {
        Encoding::Utf8 => Vec::new(),
        Encoding::Utf16Le | Encoding::Utf16Be => vec![Transform::Utf16],
        Encoding::Windows1252 => vec![Transform::Windows1252],
    };
    if let Some((inner, inner_map)) = html::text(&text, &map) {
        let mut inner_chain = chain.clone();
        inner_chain.push(Transform::HtmlText);
        extractor.segment(origin, &inner_chain, inner, inner_map, false);
    }
    extractor.segment(origin, &chain, text, map, true);
}

/// The text of bytes in this encoding.
pub(crate) fn decode(bytes: &[u8], encoding: Encoding) -> (String, OffsetMap) {
    match encoding {
        Encoding::Utf8 => (same_length(bytes.to_vec()), OffsetMap::identity(bytes.len())),
        Encoding::Utf16Le => utf16(bytes, false),
        Encoding::Utf16Be => utf16(bytes, true),
        Encoding::Windows1252 => windows_1252(bytes),
    }
}

/// The bytes as text of the same length: what is no UTF-8 becomes a substitute, byte by byte.
pub(crate) fn same_length(bytes: Vec<u8>) -> String {
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let bytes = error.into_bytes();
            let mut text = String::with_capacity(bytes.len());
            for chunk in bytes.utf8_chunks() {
                text.push_str(chunk.valid());
                text.extend(chunk.invalid().iter().map(|_| '\u{1A}'));
            }
            text
        }
    }
}

/// UTF-16 of the given order; a lone surrogate becomes a substitute.
pub(crate) fn utf16(bytes: &[u8], big_endian: bool) -> (String, OffsetMap) {
    let unit = |pair: &[u8]| match *pair {
        [a, b] if big_endian => u16::from_be_bytes([a, b]),
        [a, b] => u16::from_le_bytes([a, b]),
        _ => u16::from(b'?'),
    };
    let mut text = String::with_capacity(bytes.len() / 2);
    let mut map = OffsetMap::default();
    let mut at = 0;
    for decoded in char::decode_utf16(bytes.chunks(2).map(unit)) {
        let c = decoded.unwrap_or('\u{1A}');
        let len = c.len_utf16() * 2;
        if !(at == 0 && c == '\u{FEFF}') {
            text.push(c);
            map.unit(c.len_utf8(), at..(at + len).min(bytes.len()));
        }
        at += len;
    }
    (text, map)
}

fn windows_1252(bytes: &[u8]) -> (String, OffsetMap) {
    let mut text = String::with_capacity(bytes.len() + bytes.len() / 8);
    let mut map = OffsetMap::default();
    for (at, byte) in bytes.iter().enumerate() {
        let high = byte
            .checked_sub(0x80)
            .and_then(|n| WINDOWS_1252_HIGH.get(usize::from(n)));
        let c = high.copied().unwrap_or(char::from(*byte));
        text.push(c);
        map.unit(c.len_utf8(), at..at + 1);
    }
    (text, map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf16_maps_back_to_its_units() {
        let bytes: Vec<u8> = "\u{FEFF}aé𝟒z".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let (text, map) = utf16(&bytes, false);
        assert_eq!(text, "aé𝟒z");
        assert_eq!(map.source(&(0..1)), 2..4);
        assert_eq!(map.source(&(1..3)), 4..6);
        assert_eq!(map.source(&(3..7)), 6..10);
        assert_eq!(map.source(&(7..8)), 10..12);
    }

    #[test]
    fn western_bytes_map_one_by_one() {
        let (text, map) = windows_1252(b"\x80 4\xE9");
        assert_eq!(text, "€ 4é");
        assert_eq!(map.source(&(4..5)), 2..3);
    }

    #[test]
    fn bytes_that_are_no_utf8_keep_their_length() {
        let bytes = b"a\xFFb\xE2\x82c".to_vec();
        let text = same_length(bytes.clone());
        assert_eq!(text.len(), bytes.len());
    }
}
