//! Office documents of the zip kind (ECMA-376, ODF): every XML part is read, so that headers, footers, comments,
//! tracked changes, hidden text and properties are content like the rest. Other members are items of their own.

use policies::terms::UnscannableReason;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::{Extractor, Origin, text};
use crate::detect::structural::DOCUMENT_AUTHOR;
use crate::identify::{Encoding, Kind, identify};
use crate::limits::{XML_ATTRIBUTES_MAX, XML_DEPTH_MAX};
use crate::views::map::OffsetMap;

/// Elements that end a line: paragraphs, rows, cells' values, shared strings.
const LINE_ENDS: &[&str] = &[
    "p",
    "h",
    "tr",
    "row",
    "si",
    "v",
    "is",
    "br",
    "cr",
    "instrText",
    "comment",
    "list-item",
];
/// Elements that end a column.
const COLUMN_ENDS: &[&str] = &["tc", "ta", "table-cell"];
/// Properties that name a person.
const AUTHORS: &[&str] = &["creator", "lastModifiedBy", "initial-creator"];
/// Attributes that editors number things with.
const NUMBERING: &[&str] = &[
    "paraId",
    "textId",
    "id",
    "Id",
    "anchorId",
    "editId",
    "uri",
    "durableId",
];
/// Parts values so that nothing is read across them.
const APART: &str = "\n\u{1}\n";

/// Whether these member names are those of a document.
pub(crate) fn is_document<'n>(names: impl Iterator<Item = &'n str>) -> bool {
    let mut names = names;
    names.any(|name| name == "[Content_Types].xml" || name == "mimetype" || name == "content.xml")
}

/// Whether a member is an XML part.
pub(crate) fn is_part(name: &str) -> bool {
    let ending = name.rsplit('.').next().unwrap_or_default();
    ["xml", "rels", "vml"]
        .iter()
        .any(|known| ending.eq_ignore_ascii_case(known))
}

/// Adds the text of a part, and its attributes and comments.
pub(crate) fn extract(extractor: &mut Extractor<'_>, bytes: &[u8], origin: &Origin) {
    if let Err(reason) = extractor.budget.work(bytes.len()) {
        extractor.unread(origin, reason);
        return;
    }
    let name = origin.path.last().map(String::as_str).unwrap_or_default();
    let mut part = Part {
        properties: name.starts_with("docProps/") || name == "meta.xml",
        ..Part::default()
    };
    let Some(encoding) = encoding(bytes) else {
        extractor.unread(origin, UnscannableReason::Broken);
        return;
    };
    let (source, outer) = text::decode(bytes, encoding);
    if part.read(&source).is_none() {
        let reason = if part.crowded {
            UnscannableReason::TooManyEntries
        } else {
            UnscannableReason::Broken
        };
        extractor.unread(origin, reason);
    }
    for (author, span) in std::mem::take(&mut part.authors) {
        extractor.structural(origin, &DOCUMENT_AUTHOR, outer.source(&span), author);
    }
    let is_body = !part.properties;
    let (map, aside_map) = match encoding {
        Encoding::Utf8 => (part.map, part.aside_map),
        Encoding::Utf16Le | Encoding::Utf16Be | Encoding::Windows1252 => {
            (part.map.through(&outer), part.aside_map.through(&outer))
        }
    };
    extractor.segment(origin, &[], part.text, map, is_body);
    extractor.segment(origin, &[], part.aside, aside_map, false);
}

/// How a part is written down, by its bytes; none if it is no text that is read here.
fn encoding(bytes: &[u8]) -> Option<Encoding> {
    match identify(bytes) {
        Kind::Text(encoding) => Some(encoding),
        Kind::Html | Kind::Empty => Some(Encoding::Utf8),
        Kind::Zip
        | Kind::Gzip
        | Kind::Zlib
        | Kind::Jpeg
        | Kind::Png
        | Kind::Unreadable(_)
        | Kind::Unknown => None,
    }
}

#[derive(Default)]
struct Part {
    /// Whether every element is a property, on a line of its own.
    properties: bool,
    text: String,
    map: OffsetMap,
    aside: String,
    aside_map: OffsetMap,
    authors: Vec<(String, std::ops::Range<usize>)>,
    /// Start of the text of the property that names a person, while inside it.
    author_from: Option<(usize, usize)>,
    depth: usize,
    /// Whether a tag has more attributes than are read.
    crowded: bool,
}

impl Part {
    /// Reads the part; none if it is no well-formed XML or brings its own entities.
    fn read(&mut self, source: &str) -> Option<()> {
        let mut reader = Reader::from_str(source);
        loop {
            let start = usize::try_from(reader.buffer_position()).ok()?;
            let event = reader.read_event().ok()?;
            let end = usize::try_from(reader.buffer_position()).ok()?;
            match event {
                Event::Start(tag) => {
                    self.depth += 1;
                    self.open(&tag, source, end)?;
                }
                Event::Empty(tag) => {
                    self.open(&tag, source, end)?;
                    self.close(tag.local_name().as_ref(), start);
                }
                Event::End(tag) => {
                    self.depth = self.depth.saturating_sub(1);
                    self.close(tag.local_name().as_ref(), start);
                }
                Event::Text(_) => self.copy(source, start..end)?,
                Event::CData(content) => {
                    let from = start + "<![CDATA[".len();
                    self.copy(source, from..from + content.len())?;
                }
                Event::GeneralRef(_) => self.reference(source, start..end)?,
                Event::Comment(_) | Event::PI(_) => self.put_aside(source, start..end),
                Event::Decl(_) => {}
                Event::DocType(_) => return None,
                Event::Eof => return Some(()),
            }
            if self.depth > XML_DEPTH_MAX {
                return None;
            }
        }
    }

    fn open(&mut self, tag: &BytesStart<'_>, source: &str, end: usize) -> Option<()> {
        let name = tag.local_name();
        if AUTHORS.contains(&name.as_ref()) {
            self.author_from = Some((self.text.len(), end));
        }
        let mut attributes = tag.attributes();
        // Looking for doubles compares every attribute with every other.
        for (count, attribute) in attributes.with_checks(false).enumerate() {
            if count >= XML_ATTRIBUTES_MAX {
                self.crowded = true;
                return None;
            }
            let attribute = attribute.ok()?;
            let key = attribute.key.local_name();
            let value = attribute.value.as_ref();
            if !says_something(attribute.key.as_ref(), key.as_ref(), value) {
                continue;
            }
            // The value is a part of the source, not a copy of it.
            let at = value.as_ptr().addr().checked_sub(source.as_ptr().addr())?;
            let span = at..at.checked_add(value.len())?;
            if source.get(span.clone()) != Some(value) {
                return None;
            }
            if key.as_ref() == "author" {
                self.authors.push((value.to_owned(), span.clone()));
            }
            self.put_aside(source, span);
        }
        Some(())
    }

    fn close(&mut self, name: &str, at: usize) {
        if AUTHORS.contains(&name) {
            let from = self.author_from.take();
            let author =
                from.and_then(|(text, source)| Some((self.text.get(text..)?.trim().to_owned(), source..at)));
            self.authors.extend(author.filter(|(name, _)| !name.is_empty()));
        }
        let mark = match name {
            "noBreakHyphen" => '-',
            "s" if !self.properties => ' ',
            _ if COLUMN_ENDS.contains(&name) => '\t',
            _ if self.properties || LINE_ENDS.contains(&name) => '\n',
            _ => return,
        };
        self.text.push(mark);
        self.map.unit(1, at..at + 1);
    }

    fn copy(&mut self, source: &str, range: std::ops::Range<usize>) -> Option<()> {
        self.text.push_str(source.get(range.clone())?);
        self.map.copy(range);
        Some(())
    }

    /// `&amp;` and `&#52;`; anything else would be an entity of the document's own.
    fn reference(&mut self, source: &str, range: std::ops::Range<usize>) -> Option<()> {
        let name = source
            .get(range.clone())?
            .trim_start_matches('&')
            .trim_end_matches(';');
        let number = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
        let c = match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => match name.strip_prefix("#x") {
                Some(digits) => number(digits, 16)?,
                None => number(name.strip_prefix('#')?, 10)?,
            },
        };
        self.text.push(c);
        self.map.unit(c.len_utf8(), range);
        Some(())
    }

    fn put_aside(&mut self, source: &str, range: std::ops::Range<usize>) {
        let Some(value) = source.get(range.clone()) else {
            return;
        };
        self.aside.push_str(value);
        self.aside_map.copy(range.clone());
        self.aside.push_str(APART);
        self.aside_map.unit(APART.len(), range.end..range.end + 1);
    }
}

/// Whether an attribute may hold something that a person wrote.
fn says_something(key: &str, local: &str, value: &str) -> bool {
    let machine = key.starts_with("xmlns") || local.starts_with("rsid") || NUMBERING.contains(&local);
    let short_number = value.len() < 9 && value.bytes().all(|b| b.is_ascii_digit() || b"-.,%".contains(&b));
    !machine && !short_number && value.len() >= 3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(source: &str) -> Part {
        let mut part = Part::default();
        part.read(source).unwrap();
        part
    }

    /// V5
    #[test]
    fn runs_of_a_paragraph_are_one_line_with_their_offsets() {
        let source =
            "<w:p><w:r><w:t>4539 31</w:t></w:r><w:del><w:delText>95 &amp; 0343</w:delText></w:del></w:p>";
        let part = part(source);
        assert_eq!(part.text, "4539 3195 & 0343\n");
        assert_eq!(
            source.get(part.map.source(&(5..9))),
            Some("31</w:t></w:r><w:del><w:delText>95")
        );
        assert_eq!(source.get(part.map.source(&(10..11))), Some("&amp;"));
    }

    #[test]
    fn attributes_and_comments_are_read_aside() {
        let source = "<x rsidR=\"00A77B3E\" descr=\"card of Ana\" author=\"Ana\"/><!-- hidden -->";
        let part = part(source);
        assert!(part.aside.contains("card of Ana"));
        assert!(part.aside.contains("hidden"));
        assert!(!part.aside.contains("00A77B3E"));
        assert_eq!(part.authors.len(), 1);
    }

    /// X4
    #[test]
    fn a_part_with_entities_of_its_own_is_not_read() {
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaa\">]><x>&a;</x>";
        assert!(Part::default().read(bomb).is_none());
        assert!(Part::default().read("<x>&a;</x>").is_none());
        assert!(Part::default().read("<x><y></x>").is_none());
    }
}
