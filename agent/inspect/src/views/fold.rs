//! The folded view (V1): what a reader takes a text for.
//!
//! In this order: invisible characters go; compatibility forms are composed (NFKC, UAX #15); digits of any script
//! become ASCII; a character that looks like one ASCII letter becomes it (UTS #39). Look-alikes never touch digits,
//! because their table takes `1` for `l`. ASCII is copied; only the rest is looked up.

use std::ops::Range;
use std::sync::LazyLock;

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory};
use icu_properties::{
    CodePointMapData, CodePointMapDataBorrowed, CodePointSetData, CodePointSetDataBorrowed,
};

use super::Decoded;
use super::map::OffsetMap;
use crate::place::Transform;

/// Marks on one character that are kept; more are ornament.
const MARKS_MAX: usize = 4;

static IGNORABLE: CodePointSetDataBorrowed<'static> = CodePointSetData::new::<DefaultIgnorableCodePoint>();
static CATEGORY: CodePointMapDataBorrowed<'static, GeneralCategory> =
    CodePointMapData::<GeneralCategory>::new();
static NFKC: ComposingNormalizerBorrowed<'static> = ComposingNormalizerBorrowed::new_nfkc();
/// Ranges of decimal digits; each is a whole number of runs from zero to nine.
static DIGITS: LazyLock<Vec<Range<u32>>> = LazyLock::new(|| {
    CATEGORY
        .iter_ranges_for_value(GeneralCategory::DecimalNumber)
        .map(|r| *r.start()..r.end().saturating_add(1))
        .collect()
});

/// The folded text, unless it is the text itself.
pub(crate) fn fold(text: &str) -> Option<Decoded> {
    if text.is_ascii() {
        return None;
    }
    let mut folded = Folded {
        text: String::with_capacity(text.len()),
        map: OffsetMap::default(),
    };
    let mut rest = text.char_indices().peekable();
    while let Some((start, base)) = rest.next() {
        let mut cluster = String::from(base);
        let mut end = start + base.len_utf8();
        while let Some((at, mark)) = rest.next_if(|(_, c)| !c.is_ascii() && (is_mark(*c) || is_invisible(*c)))
        {
            end = at + mark.len_utf8();
            if is_mark(mark) && !is_invisible(mark) && cluster.chars().count() <= MARKS_MAX {
                cluster.push(mark);
            }
        }
        folded.cluster(base, &cluster, start..end);
    }
    (folded.text != text).then(|| Decoded::text(Transform::Fold, folded.text, folded.map))
}

/// One keyword, folded as the text around it will be.
pub(crate) fn folded(word: &str) -> String {
    match fold(word).map(|decoded| decoded.content) {
        Some(super::Content::Text(text)) => text,
        Some(super::Content::Bytes(_)) | None => word.to_owned(),
    }
}

struct Folded {
    text: String,
    map: OffsetMap,
}

impl Folded {
    fn cluster(&mut self, base: char, cluster: &str, source: Range<usize>) {
        let before = self.text.len();
        // A digit under a line or in a box is that digit.
        if base.is_ascii() && (base.is_ascii_digit() || cluster.len() == 1) {
            self.text.push(base);
        } else {
            for plain in NFKC.normalize(cluster).chars() {
                self.text.extend(plain_char(plain));
            }
        }
        let written = self.text.len() - before;
        if written == source.len() {
            self.map.copy(source)
        } else {
            self.map.unit(written, source)
        }
    }
}

fn plain_char(c: char) -> Option<char> {
    if c.is_ascii() {
        return Some(c);
    }
    if is_invisible(c) {
        return None;
    }
    Some(
        digit(c)
            .or_else(|| punctuation(c))
            .or_else(|| look_alike(c))
            .unwrap_or(c),
    )
}

fn is_mark(c: char) -> bool {
    matches!(
        CATEGORY.get(c),
        GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark | GeneralCategory::SpacingMark
    )
}

fn is_invisible(c: char) -> bool {
    !c.is_ascii() && (IGNORABLE.contains(c) || CATEGORY.get(c) == GeneralCategory::Format)
}

/// Decimal digits by their place in their run; ringed and boxed digits that NFKC leaves alone by table.
fn digit(c: char) -> Option<char> {
    let code = u32::from(c);
    let from = |zero: u32| char::from_digit(code.saturating_sub(zero) % 10, 10);
    let after = DIGITS.partition_point(|range| range.end <= code);
    if let Some(range) = DIGITS.get(after).filter(|range| range.contains(&code)) {
        return from(range.start);
    }
    match code {
        0x2776..=0x277E => from(0x2775),
        0x2780..=0x2788 => from(0x277F),
        0x278A..=0x2792 => from(0x2789),
        0x24F5..=0x24FD => from(0x24F4),
        0x24FF | 0x1F10B | 0x1F10C => Some('0'),
        _ => None,
    }
}

/// Dashes, spaces and dots of any kind, as separators are written.
fn punctuation(c: char) -> Option<char> {
    match (CATEGORY.get(c), c) {
        (_, '\u{2212}' | '\u{2043}' | '\u{2500}') => Some('-'),
        (_, '\u{B7}' | '\u{2022}' | '\u{2027}' | '\u{22C5}' | '\u{30FB}' | '\u{3002}') => Some('.'),
        (_, '\u{2044}' | '\u{2215}') => Some('/'),
        (GeneralCategory::DashPunctuation, _) => Some('-'),
        (GeneralCategory::SpaceSeparator, _) => Some(' '),
        (GeneralCategory::LineSeparator | GeneralCategory::ParagraphSeparator, _) => Some('\n'),
        _ => None,
    }
}

/// The ASCII letter that a character looks like.
fn look_alike(c: char) -> Option<char> {
    if !c.is_alphabetic() {
        return None;
    }
    let mut buffer = [0; 4];
    let mut skeleton = unicode_security::confusable_detection::skeleton(c.encode_utf8(&mut buffer));
    match (skeleton.next(), skeleton.next()) {
        (Some(letter), None) if letter.is_ascii_alphabetic() => Some(letter),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(folded(text), expected, "{text:?}");
    }

    /// V1
    #[test]
    fn digits_of_every_script_and_form_become_ascii() {
        check("٤٥٣٩", "4539");
        check("४५३९", "4539");
        check("４５３９", "4539");
        check("𝟒𝟓𝟑𝟗", "4539");
        check("④⑤③⑨", "4539");
        check("❹❺❸❾", "4539");
        check("4️⃣5️⃣", "45");
        check("4\u{336}5\u{336}", "45");
    }

    #[test]
    fn invisible_characters_go() {
        check("45\u{200B}39\u{2060}31\u{AD}95\u{FEFF}", "45393195");
        check("pass\u{202E}word", "password");
    }

    #[test]
    fn look_alike_letters_become_ascii_and_digits_stay() {
        check("сard", "card");
        check("ΑΒ 10", "AB 10");
        check("l1O0", "l1O0");
        check("über", "über");
        check("u\u{308}ber", "über");
    }

    #[test]
    fn dashes_and_spaces_become_plain() {
        check("4539–3195—0343−6467", "4539-3195-0343-6467");
        check("4539\u{A0}3195\u{3000}0343\u{202F}6467", "4539 3195 0343 6467");
    }

    #[test]
    fn offsets_lead_back_to_the_original() {
        let text = "é 45\u{200B}39";
        let decoded = fold(text).unwrap();
        let super::super::Content::Text(plain) = decoded.content else {
            panic!("text expected")
        };
        let at = plain.find("4539").unwrap();
        let source = decoded.map.source(&(at..at + 4));
        assert_eq!(text.get(source), Some("45\u{200B}39"));
    }
}
