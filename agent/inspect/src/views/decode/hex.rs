//! Hexadecimal pairs, run together or divided by one separator, with or without `0x`.

use super::{Decoded, decoded};
use crate::place::Transform;
use crate::views::map::OffsetMap;

/// Fewest pairs worth a try.
const PAIRS_MIN: usize = 8;

/// Adds a view for each run of pairs that decodes to a text or to a known type.
pub(super) fn steps(bytes: &[u8], steps: &mut Vec<Decoded>) {
    let mut at = 0;
    while let Some(start) = bytes
        .get(at..)
        .and_then(|rest| rest.iter().position(u8::is_ascii_hexdigit))
        .map(|n| at + n)
    {
        // Nearly every run is a part of a word, so that nothing is kept at first.
        let (mut count, mut last) = (0, None);
        pairs(bytes, start, |pair| {
            count += 1;
            last = Some(pair);
        });
        at = last.map_or(start + 1, |last| last + 2);
        if count >= PAIRS_MIN {
            let mut run = Vec::with_capacity(count);
            pairs(bytes, start, |pair| run.push(pair));
            steps.extend(decode(bytes, &run));
        }
    }
}

/// Tells the starts of the pairs of one run.
fn pairs(bytes: &[u8], start: usize, mut each: impl FnMut(usize)) {
    let mut at = start;
    let mut count = 0_usize;
    let mut separator: Option<&[u8]> = None;
    loop {
        let prefix = usize::from(matches!(bytes.get(at..at + 2), Some([b'0', b'x' | b'X']))) * 2;
        if byte_at(bytes, at + prefix).is_none() {
            return;
        }
        at += prefix;
        each(at);
        count += 1;
        at += 2;
        let rest = bytes.get(at..).unwrap_or_default();
        let gap = rest
            .iter()
            .take(3)
            .take_while(|b| b" :,-;\n\r\t".contains(b))
            .count();
        let between = rest.get(..gap);
        if count > 1 && separator != between {
            return;
        }
        separator = between;
        at += gap;
    }
}

fn byte_at(bytes: &[u8], at: usize) -> Option<u8> {
    let [high, low] = *bytes.get(at..at + 2)? else {
        return None;
    };
    let nibble = |b: u8| char::from(b).to_digit(16);
    u8::try_from(nibble(high)? << 4 | nibble(low)?).ok()
}

fn decode(bytes: &[u8], run: &[usize]) -> Option<Decoded> {
    let mut map = OffsetMap::default();
    let mut out = Vec::with_capacity(run.len());
    for at in run {
        out.push(byte_at(bytes, *at)?);
        map.unit(1, *at..*at + 2);
    }
    decoded(Transform::Hex, out, map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::Content;

    fn check(text: &str, expected: &[&str]) {
        let mut found = Vec::new();
        steps(text.as_bytes(), &mut found);
        let texts: Vec<&str> = found
            .iter()
            .map(|step| match &step.content {
                Content::Text(text) => text.as_str(),
                Content::Bytes(_) => "bytes",
            })
            .collect();
        assert_eq!(texts, expected, "{text}");
    }

    /// V3
    #[test]
    fn pairs_decode_run_together_or_apart() {
        check("34353339333139353033343336343637", &["4539319503436467"]);
        check("34 35 33 39 33 31 39 35", &["45393195"]);
        check("0x34, 0x35, 0x33, 0x39, 0x33, 0x31, 0x39, 0x35", &["45393195"]);
        check("34:35:33:39:33:31:39:35.", &["45393195"]);
        check("deadbeefdeadbeef", &[]);
    }
}
