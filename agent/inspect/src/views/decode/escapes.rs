//! Percent encoding (RFC 3986), quoted-printable (RFC 2045), and the backslash escapes of programs.

use super::Escape;

fn hex(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn byte(digits: &[u8], len: usize) -> Option<Escape> {
    let value = u8::try_from(hex(digits)?).ok()?;
    Some(Escape {
        bytes: vec![value],
        len,
    })
}

fn character(code: u32, len: usize) -> Option<Escape> {
    char::from_u32(code).map(|c| Escape {
        bytes: c.to_string().into_bytes(),
        len,
    })
}

/// `%41`
pub(super) fn percent(bytes: &[u8]) -> Option<Escape> {
    byte(bytes.get(1..3)?, 3)
}

/// `=41`, and the soft line break.
pub(super) fn quoted_printable(bytes: &[u8]) -> Option<Escape> {
    match bytes {
        [_, b'\r', b'\n', ..] => Some(Escape {
            bytes: Vec::new(),
            len: 3,
        }),
        [_, b'\n', ..] => Some(Escape {
            bytes: Vec::new(),
            len: 2,
        }),
        _ => byte(bytes.get(1..3)?, 3),
    }
}

/// `\x41`, `\u0041`, `\u{41}`, `\U00000041`, surrogate pairs, and a line end that is escaped.
pub(super) fn backslash(bytes: &[u8]) -> Option<Escape> {
    match bytes.get(1)? {
        b'x' => byte(bytes.get(2..4)?, 4),
        b'u' if bytes.get(2) == Some(&b'{') => {
            let digits = bytes.get(3..)?.iter().take(7).position(|b| *b == b'}')?;
            character(hex(bytes.get(3..3 + digits)?)?, digits + 4)
        }
        b'u' => unicode(bytes),
        b'U' => character(hex(bytes.get(2..10)?)?, 10),
        b'\n' => Some(Escape {
            bytes: Vec::new(),
            len: 2,
        }),
        b'n' => Some(Escape {
            bytes: vec![b'\n'],
            len: 2,
        }),
        b't' => Some(Escape {
            bytes: vec![b'\t'],
            len: 2,
        }),
        b'/' => Some(Escape {
            bytes: vec![b'/'],
            len: 2,
        }),
        _ => None,
    }
}

fn unicode(bytes: &[u8]) -> Option<Escape> {
    let high = hex(bytes.get(2..6)?)?;
    if !(0xD800..0xDC00).contains(&high) {
        return character(high, 6);
    }
    let low = bytes
        .get(6..8)
        .filter(|lead| *lead == b"\\u")
        .and_then(|_| hex(bytes.get(8..12)?))?;
    if !(0xDC00..0xE000).contains(&low) {
        return None;
    }
    character(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00), 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(escape: fn(&[u8]) -> Option<Escape>, text: &str, expected: Option<(&str, usize)>) {
        let found = escape(text.as_bytes()).map(|e| (String::from_utf8(e.bytes).unwrap(), e.len));
        assert_eq!(
            found,
            expected.map(|(text, len)| (text.to_owned(), len)),
            "{text}"
        );
    }

    /// V3
    #[test]
    fn escapes_stand_for_their_characters() {
        check(percent, "%34x", Some(("4", 3)));
        check(percent, "%zz", None);
        check(percent, "%4", None);
        check(quoted_printable, "=34", Some(("4", 3)));
        check(quoted_printable, "=\r\n5", Some(("", 3)));
        check(backslash, r"\x34", Some(("4", 4)));
        check(backslash, r"\u0034", Some(("4", 6)));
        check(backslash, r"\u{34}", Some(("4", 6)));
        check(backslash, r"\U00000034", Some(("4", 10)));
        check(backslash, r"\ud835\udfd2", Some(("𝟒", 12)));
        check(backslash, r"\ud835", None);
        check(backslash, r"\q", None);
    }
}
