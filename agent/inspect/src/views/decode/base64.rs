//! Base64 of both alphabets (RFC 4648), padded or not, wrapped at line ends (RFC 2045) or not.

use super::{Decoded, decoded};
use crate::place::Transform;
use crate::views::map::OffsetMap;

/// Shortest run worth a try: nine bytes.
const RUN_MIN: usize = 12;
/// Shortest line that may go on in the next one.
const LINE_MIN: usize = 16;

/// Adds a view for each run that decodes to a text or to a known type.
pub(super) fn steps(bytes: &[u8], steps: &mut Vec<Decoded>) {
    let mut at = 0;
    while let Some(start) = next_start(bytes, at) {
        let end = run_end(bytes, start);
        // Nearly every run is a word.
        if end - start < RUN_MIN {
            at = end;
            continue;
        }
        let run = pieces(bytes, start, end);
        at = run.last().map_or(end, |last| last.1);
        // Something may be glued in front, which shifts the quanta.
        steps.extend((0..4).find_map(|skip| decode(bytes, &run, skip)));
    }
}

fn next_start(bytes: &[u8], from: usize) -> Option<usize> {
    bytes
        .get(from..)?
        .iter()
        .position(|b| is_digit(*b))
        .map(|at| from + at)
}

/// Pieces of one run, a piece a line.
fn pieces(bytes: &[u8], start: usize, end: usize) -> Vec<(usize, usize)> {
    let mut run = vec![(start, end)];
    let mut whole_line = start == 0 || bytes.get(start - 1) == Some(&b'\n');
    while let Some((piece_start, end)) = run.last().copied() {
        let next = end
            + bytes
                .get(end..)
                .map_or(0, |rest| rest.iter().take_while(|b| b"\r\n".contains(b)).count());
        let breaks = bytes
            .get(end..next)
            .map_or(0, |gap| gap.iter().filter(|b| **b == b'\n').count());
        let first_may_follow_a_name = run.len() == 1;
        if breaks != 1 || end - piece_start < LINE_MIN || !(whole_line || first_may_follow_a_name) {
            break;
        }
        let next_end = run_end(bytes, next);
        let closes = bytes.get(next_end).is_none_or(|b| b"\r\n=".contains(b));
        if next_end == next || !closes {
            break;
        }
        whole_line = true;
        run.push((next, next_end));
    }
    run
}

fn run_end(bytes: &[u8], start: usize) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    start + rest.iter().position(|b| !is_digit(*b)).unwrap_or(rest.len())
}

/// Whether a byte is a digit of base64, by one look into a table: every byte of every text is asked.
fn is_digit(byte: u8) -> bool {
    static DIGITS: [bool; 256] = digits();
    DIGITS.get(usize::from(byte)).copied().unwrap_or(false)
}

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "INVARIANT: `byte` stays below 256"
)]
const fn digits() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = value(byte as u8).is_some();
        byte += 1;
    }
    table
}

fn decode(bytes: &[u8], run: &[(usize, usize)], skip: usize) -> Option<Decoded> {
    let mut out = Vec::new();
    let mut map = OffsetMap::default();
    let mut quantum: [(usize, u8); 4] = [(0, 0); 4];
    let mut held = 0;
    for at in run.iter().flat_map(|(start, end)| *start..*end).skip(skip) {
        *quantum.get_mut(held)? = (at, value(*bytes.get(at)?)?);
        held += 1;
        if held == 4 {
            flush(&quantum, 3, &mut out, &mut map);
            held = 0;
        }
    }
    if held >= 2 {
        let last = quantum.get(held - 1)?.0;
        for slot in quantum.iter_mut().skip(held) {
            *slot = (last, 0);
        }
        flush(&quantum, held - 1, &mut out, &mut map);
    }
    decoded(Transform::Base64, out, map)
}

fn flush(quantum: &[(usize, u8); 4], len: usize, out: &mut Vec<u8>, map: &mut OffsetMap) {
    let [(first, a), (_, b), (_, c), (last, d)] = *quantum;
    let joined = u32::from(a) << 18 | u32::from(b) << 12 | u32::from(c) << 6 | u32::from(d);
    out.extend(joined.to_be_bytes().into_iter().skip(1).take(len));
    map.unit(len, first..last + 1);
}

/// Both alphabets at once: `+` and `-`, `/` and `_` stand for the same values.
const fn value(character: u8) -> Option<u8> {
    match character {
        b'A'..=b'Z' => Some(character - b'A'),
        b'a'..=b'z' => Some(character - b'a' + 26),
        b'0'..=b'9' => Some(character - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
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
    fn padded_bare_wrapped_and_glued_base64_decode() {
        check("see NDUzOTMxOTUwMzQzNjQ2Nw== here", &["4539319503436467"]);
        check("see NDUzOTMxOTUwMzQzNjQ2Nw", &["4539319503436467"]);
        check("NDUzOTMxOTUwMzQz\r\nNjQ2Nw==", &["4539319503436467"]);
        check("k/NDUzOTMxOTUwMzQzNjQ2Nw", &["4539319503436467"]);
        check("a plain sentence with Identifikationsnummer", &[]);
    }

    #[test]
    fn offsets_lead_back_to_the_quanta() {
        let text = "xx: NDUzOTMxOTUwMzQz\nNjQ2Nw==";
        let mut found = Vec::new();
        steps(text.as_bytes(), &mut found);
        let map = &found.first().unwrap().map;
        assert_eq!(text.get(map.source(&(0..16))), Some("NDUzOTMxOTUwMzQz\nNjQ2Nw"));
        assert_eq!(text.get(map.source(&(3..6))), Some("OTMx"));
    }
}
