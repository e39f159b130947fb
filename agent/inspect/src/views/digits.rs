//! Digits that were pulled apart (V2): `4 5 3 9`, `45.39.31.95`, one group a line.

use super::Decoded;
use super::map::OffsetMap;
use crate::place::Transform;

/// Fewest and most digits of a number worth joining: national numbers have nine and more, IBANs up to 32.
const DIGITS_MIN: usize = 8;
const DIGITS_MAX: usize = 34;
/// Longest separator between two groups.
const SEPARATOR_MAX: usize = 3;

/// Parts numbers so that nothing is read across them.
const APART: &str = "\n\u{1}\n";

/// Adds one view of all numbers whose groups are divided by one and the same separator.
pub(super) fn joined(text: &str, steps: &mut Vec<Decoded>) {
    let bytes = text.as_bytes();
    let mut numbers = String::new();
    let mut map = OffsetMap::default();
    let mut groups = groups(bytes).peekable();
    while let Some(first) = groups.next() {
        let mut run = Run {
            digits: first.1 - first.0,
            groups: vec![first],
            separator: None,
        };
        while let Some(next) = groups.peek().copied() {
            if !run.take(bytes, next) {
                break;
            }
            groups.next();
        }
        if run.is_number(bytes) {
            run.write(bytes, &mut numbers, &mut map);
        }
    }
    if !numbers.is_empty() {
        steps.push(Decoded::text(Transform::Digits, numbers, map));
    }
}

/// Maximal runs of digits.
fn groups(bytes: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + bytes.get(at..)?.iter().position(u8::is_ascii_digit)?;
        let rest = bytes.get(start..)?;
        at = start
            + rest
                .iter()
                .position(|b| !b.is_ascii_digit())
                .unwrap_or(rest.len());
        Some((start, at))
    })
}

struct Run {
    digits: usize,
    groups: Vec<(usize, usize)>,
    separator: Option<Vec<u8>>,
}

impl Run {
    /// Takes the next group if the same separator stands before it.
    fn take(&mut self, bytes: &[u8], next: (usize, usize)) -> bool {
        let Some(between) = self.groups.last().and_then(|last| bytes.get(last.1..next.0)) else {
            return false;
        };
        let plain: Vec<u8> = between
            .iter()
            .filter(|b| **b != b'\r')
            .map(|b| if *b == b'\t' { b' ' } else { *b })
            .collect();
        let known = plain.len() <= SEPARATOR_MAX && plain.iter().all(|b| b" \n.-_/,*|:;+~#'\"".contains(b));
        if !known || self.digits > DIGITS_MAX || self.separator.as_ref().is_some_and(|s| *s != plain) {
            return false;
        }
        self.separator.get_or_insert(plain);
        self.digits += next.1 - next.0;
        self.groups.push(next);
        true
    }

    /// Whether the groups are about as long as each other, as people group one number; versions and dates are not.
    fn is_even(&self) -> bool {
        let lengths = || self.groups.iter().map(|(start, end)| end - start);
        lengths().max().unwrap_or(0) <= 2 * lengths().min().unwrap_or(0) + 2
    }

    /// Whether the run is a part of something longer, such as an identifier with letters in other groups.
    fn continues(&self, bytes: &[u8]) -> bool {
        let (Some(first), Some(last)) = (self.groups.first(), self.groups.last()) else {
            return true;
        };
        let tight = |b: Option<&u8>| b.is_some_and(|b| b"-._/:+".contains(b));
        let letter = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
        let before = |n: usize| first.0.checked_sub(n).and_then(|at| bytes.get(at));
        let after = |n: usize| bytes.get(last.1 + n);
        letter(before(1))
            || letter(after(0))
            || (tight(before(1)) && letter(before(2)))
            || (tight(after(0)) && letter(after(1)))
    }

    fn is_number(&self, bytes: &[u8]) -> bool {
        self.groups.len() > 1
            && (DIGITS_MIN..=DIGITS_MAX).contains(&self.digits)
            && !self.continues(bytes)
            && self.is_even()
    }

    fn write(&self, bytes: &[u8], numbers: &mut String, map: &mut OffsetMap) {
        for (start, end) in &self.groups {
            let digits = bytes.get(*start..*end).unwrap_or_default();
            numbers.extend(digits.iter().map(|b| char::from(*b)));
            map.copy(*start..*end);
        }
        let end = self.groups.last().map_or(0, |last| last.1);
        numbers.push_str(APART);
        map.unit(APART.len(), end.saturating_sub(1)..end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::Content;

    fn check(text: &str, expected: &[&str]) {
        let mut steps = Vec::new();
        joined(text, &mut steps);
        let texts: Vec<&str> = steps
            .iter()
            .map(|step| match &step.content {
                Content::Text(text) => text.as_str(),
                Content::Bytes(_) => "",
            })
            .collect();
        let numbers: Vec<&str> = texts
            .iter()
            .flat_map(|text| text.split_terminator(APART))
            .collect();
        assert_eq!(numbers, expected, "{text}");
    }

    /// V2
    #[test]
    fn separated_digits_are_joined() {
        check("4 5 3 9 3 1 9 5", &["45393195"]);
        check("it is 45.39.31.95! or 1 2 3 4 5 6 7 8", &["45393195", "12345678"]);
        check("4539\r\n3195\r\n0343\r\n6467", &["4539319503436467"]);
        check("4539 - 3195 - 0343 - 6467", &["4539319503436467"]);
    }

    #[test]
    fn other_numbers_are_left_apart() {
        check("in 2024, 17 of 39", &[]);
        check("4539319503436467", &[]);
        check("10:30 and 11.45", &[]);
        check("build 0.0.1.20261123", &[]);
        check("build 45393195-0343-6467-a1b2", &[]);
    }
}
