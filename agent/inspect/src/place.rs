//! Where something was found. It stays on the device.

use std::fmt;
use std::ops::Range;

/// One step that was taken before a value could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transform {
    /// Invisible characters removed, look-alikes and digits of other scripts made plain (V1).
    Fold,
    /// Separators between digits removed (V2).
    Digits,
    /// Base64, any alphabet, wrapped or not (RFC 4648).
    Base64,
    /// Hexadecimal pairs.
    Hex,
    /// Percent encoding (RFC 3986).
    Percent,
    /// HTML character references.
    Entities,
    /// `\u0041` and `\x41`.
    Escapes,
    /// Quoted-printable (RFC 2045).
    QuotedPrintable,
    /// UTF-16 of either order.
    Utf16,
    /// Windows-1252, for bytes that are no UTF-8.
    Windows1252,
    /// Markup left out.
    HtmlText,
    /// All items of the draft read as one (V7).
    Joined,
    /// The name of a file or of a member, which recipients get too.
    FileName,
}

impl fmt::Display for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fold => "replacing look-alike characters",
            Self::Digits => "joining separated digits",
            Self::Base64 => "decoding base64",
            Self::Hex => "decoding hexadecimal",
            Self::Percent => "decoding percent encoding",
            Self::Entities => "decoding HTML entities",
            Self::Escapes => "decoding escapes",
            Self::QuotedPrintable => "decoding quoted-printable",
            Self::Utf16 => "reading UTF-16",
            Self::Windows1252 => "reading Windows-1252",
            Self::HtmlText => "leaving out markup",
            Self::Joined => "joining the items",
            Self::FileName => "reading a file's name",
        })
    }
}

/// Where a value stands. `Debug` leaves out the names in the path.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    /// Bytes of the item, or of the innermost container member when `path` names one.
    pub span: Range<usize>,
    /// Name of the file and of the members inside it, outermost first; empty for the text of the draft.
    pub path: Vec<String>,
    /// Decoders, outermost first.
    pub chain: Vec<Transform>,
    /// Line of the text, from 1.
    pub line: u32,
}

impl Place {
    /// The place in words, for the author: `found after decoding base64 inside notes.zip / readme.txt, line 3`.
    #[must_use]
    pub fn sentence(&self) -> String {
        if self.chain.contains(&Transform::FileName) {
            return "found in the name of a file".to_owned();
        }
        let chain: Vec<String> = self.chain.iter().map(ToString::to_string).collect();
        let after = if chain.is_empty() {
            String::new()
        } else {
            format!(" after {}", chain.join(" and "))
        };
        let inside = if self.path.is_empty() {
            "in the text".to_owned()
        } else {
            format!("inside {}", self.path.join(" / "))
        };
        format!("found{after} {inside}, line {}", self.line)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("span", &self.span)
            .field("members", &self.path.len())
            .field("chain", &self.chain)
            .field("line", &self.line)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &[&str], chain: &[Transform], expected: &str) {
        let path = path.iter().map(|name| (*name).to_owned()).collect();
        let place = Place {
            span: 0..1,
            path,
            chain: chain.to_vec(),
            line: 3,
        };
        assert_eq!(place.sentence(), expected);
    }

    #[test]
    fn a_place_reads_as_a_sentence() {
        check(&[], &[], "found in the text, line 3");
        check(
            &["a.docx", "word/document.xml"],
            &[],
            "found inside a.docx / word/document.xml, line 3",
        );
        check(
            &["notes.zip", "readme.txt"],
            &[Transform::Base64],
            "found after decoding base64 inside notes.zip / readme.txt, line 3",
        );
    }

    #[test]
    fn debug_of_a_place_leaves_out_names() {
        let place = Place {
            span: 0..1,
            path: vec!["salary.txt".into()],
            chain: vec![],
            line: 1,
        };
        assert_eq!(
            format!("{place:?}"),
            "Place { span: 0..1, members: 1, chain: [], line: 1 }"
        );
    }
}
