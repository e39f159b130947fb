//! The text of markup as a browser's reader gets it, whether shown or hidden. Attributes and comments are in the raw
//! text, which is scanned as well.

use std::collections::BTreeSet;

use html5gum::emitters::default::DefaultEmitter;
use html5gum::{Token, Tokenizer};

use crate::views::map::OffsetMap;

/// Elements that do not end a line: a number may run on through them.
const INLINE: &[&[u8]] = &[
    b"a", b"abbr", b"b", b"bdi", b"bdo", b"big", b"cite", b"code", b"data", b"del", b"dfn", b"em", b"font",
    b"i", b"ins", b"kbd", b"label", b"mark", b"nobr", b"q", b"s", b"samp", b"small", b"span", b"strike",
    b"strong", b"sub", b"sup", b"time", b"tt", b"u", b"var", b"wbr",
];

/// The text outside tags, with a map through `outer`; none where there is no tag.
pub(crate) fn text(source: &str, outer: &OffsetMap) -> Option<(String, OffsetMap)> {
    memchr::memchr(b'<', source.as_bytes())?;
    let inline: BTreeSet<&[u8]> = INLINE.iter().copied().collect();
    let mut text = String::with_capacity(source.len());
    let mut map = OffsetMap::default();
    let mut tags = 0_usize;
    let tokens = Tokenizer::new_with_emitter(source, DefaultEmitter::<usize>::new_with_span());
    for token in tokens {
        let Ok(token) = token;
        match token {
            Token::String(string) => {
                let range = string.span.start..string.span.end.min(source.len());
                if let Some(plain) = source.get(range.clone()) {
                    text.push_str(plain);
                    map.copy(range);
                }
            }
            Token::StartTag(tag) => {
                tags += 1;
                break_line(&inline, &tag.name, tag.span.start, &mut text, &mut map);
            }
            Token::EndTag(tag) => {
                tags += 1;
                break_line(&inline, &tag.name, tag.span.start, &mut text, &mut map);
            }
            Token::Comment(_) => tags += 1,
            Token::Doctype(_) | Token::Error(_) => {}
        }
    }
    (tags > 0).then(|| (text, map.through(outer)))
}

fn break_line(inline: &BTreeSet<&[u8]>, name: &[u8], at: usize, text: &mut String, map: &mut OffsetMap) {
    if !inline.contains(name) {
        text.push('\n');
        map.unit(1, at..at + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: Option<&str>) {
        let found = text(source, &OffsetMap::identity(source.len()));
        assert_eq!(found.map(|(text, _)| text).as_deref(), expected, "{source}");
    }

    /// V5
    #[test]
    fn inline_elements_and_comments_do_not_part_a_number() {
        check("45<b>39</b><!-- x -->31<span hidden>95</span>", Some("45393195"));
        check("<p>45</p><p>39</p>", Some("\n45\n\n39\n"));
        check("<p style='display:none'>hidden</p>", Some("\nhidden\n"));
        check("no markup", None);
        check("1 < 2", None);
    }

    #[test]
    fn offsets_lead_back_to_the_source() {
        let source = "<p>é 45<b>39</b></p>";
        let (plain, map) = text(source, &OffsetMap::identity(source.len())).unwrap();
        let at = plain.find("4539").unwrap();
        assert_eq!(source.get(map.source(&(at..at + 4))), Some("45<b>39"));
    }
}
