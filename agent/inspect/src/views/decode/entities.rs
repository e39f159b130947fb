//! HTML character references: numbers, and the names that stand for what people write numbers and words with.

use super::Escape;

/// Longest reference: `&#x10FFFF;`, with room for leading zeros.
const REFERENCE_MAX: usize = 16;

const NAMES: &[(&[u8], &str)] = &[
    (b"amp", "&"),
    (b"lt", "<"),
    (b"gt", ">"),
    (b"quot", "\""),
    (b"apos", "'"),
    (b"nbsp", " "),
    (b"ensp", " "),
    (b"emsp", " "),
    (b"thinsp", " "),
    (b"Tab", "\t"),
    (b"NewLine", "\n"),
    (b"shy", ""),
    (b"zwj", ""),
    (b"zwnj", ""),
    (b"ZeroWidthSpace", ""),
    (b"hyphen", "-"),
    (b"dash", "-"),
    (b"ndash", "-"),
    (b"mdash", "-"),
    (b"minus", "-"),
    (b"period", "."),
    (b"comma", ","),
    (b"colon", ":"),
    (b"equals", "="),
    (b"plus", "+"),
    (b"sol", "/"),
    (b"bsol", "\\"),
    (b"lowbar", "_"),
    (b"commat", "@"),
    (b"num", "#"),
    (b"percnt", "%"),
    (b"auml", "ä"),
    (b"ouml", "ö"),
    (b"uuml", "ü"),
    (b"Auml", "Ä"),
    (b"Ouml", "Ö"),
    (b"Uuml", "Ü"),
    (b"szlig", "ß"),
    (b"eacute", "é"),
    (b"egrave", "è"),
    (b"ecirc", "ê"),
    (b"agrave", "à"),
    (b"aacute", "á"),
    (b"atilde", "ã"),
    (b"ccedil", "ç"),
    (b"iacute", "í"),
    (b"oacute", "ó"),
    (b"otilde", "õ"),
    (b"uacute", "ú"),
    (b"ntilde", "ñ"),
];

/// `&#52;`, `&#x34;`, `&nbsp;`; the semicolon of a number may be missing, as browsers allow.
pub(super) fn reference(bytes: &[u8]) -> Option<Escape> {
    let head = bytes.get(1..)?;
    match head {
        [b'#', b'x' | b'X', digits @ ..] => number(digits, 16, 3),
        [b'#', digits @ ..] => number(digits, 10, 2),
        _ => name(head),
    }
}

fn number(digits: &[u8], radix: u32, lead: usize) -> Option<Escape> {
    let count = digits
        .iter()
        .take(REFERENCE_MAX)
        .take_while(|b| char::from(**b).is_digit(radix))
        .count();
    let text = std::str::from_utf8(digits.get(..count)?).ok()?;
    let c = char::from_u32(u32::from_str_radix(text, radix).ok()?)?;
    let semicolon = usize::from(digits.get(count) == Some(&b';'));
    Some(Escape {
        bytes: c.to_string().into_bytes(),
        len: lead + count + semicolon,
    })
}

fn name(head: &[u8]) -> Option<Escape> {
    let len = head.iter().take(REFERENCE_MAX).position(|b| *b == b';')?;
    let wanted = head.get(..len)?;
    let (_, text) = NAMES.iter().find(|(name, _)| *name == wanted)?;
    Some(Escape {
        bytes: text.as_bytes().to_vec(),
        len: len + 2,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(&str, usize)>) {
        let found = reference(text.as_bytes()).map(|e| (String::from_utf8(e.bytes).unwrap(), e.len));
        assert_eq!(
            found,
            expected.map(|(text, len)| (text.to_owned(), len)),
            "{text}"
        );
    }

    /// V3
    #[test]
    fn references_stand_for_their_characters() {
        check("&#52;", Some(("4", 5)));
        check("&#x34;5", Some(("4", 6)));
        check("&#00052;", Some(("4", 8)));
        check("&#52 ", Some(("4", 4)));
        check("&nbsp;", Some((" ", 6)));
        check("&#x110000;", None);
        check("& co;", None);
        check("&", None);
    }
}
