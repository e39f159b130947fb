//! Gates: what every match of a pattern must contain, so that the pattern itself runs only there (N1, N2).

use std::ops::Range;

use regex_syntax::ParserBuilder;
use regex_syntax::hir::literal::{ExtractKind, Extractor};
use regex_syntax::hir::{Class, Hir, HirKind};

use crate::limits::MATCH_BYTES;

/// Shortest literal worth a place in the shared pass; two bytes are everywhere.
const LITERAL_MIN: usize = 3;
/// Most literals of one pattern.
const LITERALS_MAX: usize = 64;
/// Fewest digits that make a region worth telling from the rest.
const DIGITS_MIN: usize = 2;

/// Where a pattern has to be tried.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Where one of these stands: every match begins with one. Lower case.
    Literals(Vec<Vec<u8>>),
    /// Within `reach` bytes of `count` digits that are no further apart.
    Digits { count: usize, reach: usize },
    /// Within `reach` bytes of this byte.
    Byte { byte: u8, reach: usize },
    /// Everywhere.
    Whole,
}

impl Gate {
    /// The narrowest gate that no match escapes.
    pub(crate) fn of(pattern: &str) -> Self {
        let parse = |unicode| {
            ParserBuilder::new()
                .unicode(unicode)
                .utf8(false)
                .build()
                .parse(pattern)
                .ok()
        };
        let Some(hir) = parse(false).or_else(|| parse(true)) else {
            return Self::Whole;
        };
        if let Some(literals) = prefixes(&hir) {
            return Self::Literals(literals);
        }
        let reach = hir
            .properties()
            .maximum_len()
            .unwrap_or(MATCH_BYTES)
            .min(MATCH_BYTES);
        let count = least(&hir, &|byte| byte.is_ascii_digit());
        if count >= DIGITS_MIN {
            return Self::Digits { count, reach };
        }
        match b"@:=".iter().find(|byte| least(&hir, &|b| b == **byte) > 0) {
            Some(byte) => Self::Byte { byte: *byte, reach },
            None => Self::Whole,
        }
    }
}

/// Literals of which every match begins with one, in lower case.
fn prefixes(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    let mut extractor = Extractor::new();
    extractor.kind(ExtractKind::Prefix).limit_total(LITERALS_MAX * 4);
    let found = extractor.extract(hir);
    let mut literals: Vec<Vec<u8>> = found
        .literals()?
        .iter()
        .map(|l| l.as_bytes().to_ascii_lowercase())
        .collect();
    literals.sort();
    literals.dedup();
    let worth = !literals.is_empty()
        && literals.len() <= LITERALS_MAX
        && literals.iter().all(|l| l.len() >= LITERAL_MIN);
    worth.then_some(literals)
}

/// The least number of bytes for which `is` holds in any match.
fn least(hir: &Hir, is: &dyn Fn(u8) -> bool) -> usize {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 0,
        HirKind::Literal(literal) => literal.0.iter().filter(|b| is(**b)).count(),
        HirKind::Class(class) => usize::from(all(class, is)),
        HirKind::Repetition(repeated) => usize::try_from(repeated.min)
            .unwrap_or(0)
            .saturating_mul(least(&repeated.sub, is)),
        HirKind::Capture(capture) => least(&capture.sub, is),
        HirKind::Concat(parts) => parts
            .iter()
            .map(|part| least(part, is))
            .fold(0, usize::saturating_add),
        HirKind::Alternation(parts) => parts.iter().map(|part| least(part, is)).min().unwrap_or(0),
    }
}

fn all(class: &Class, is: &dyn Fn(u8) -> bool) -> bool {
    match class {
        Class::Bytes(bytes) => {
            bytes.iter().next().is_some() && bytes.iter().all(|r| (r.start()..=r.end()).all(is))
        }
        Class::Unicode(chars) => {
            let ascii = |r: &regex_syntax::hir::ClassUnicodeRange| r.end().is_ascii();
            chars.iter().next().is_some()
                && chars
                    .iter()
                    .all(|r| ascii(r) && (r.start()..=r.end()).all(|c| u8::try_from(c).is_ok_and(is)))
        }
    }
}

/// Offsets of digits and of rare bytes in one text, found once and shared by all detectors.
#[derive(Default)]
pub(crate) struct Positions {
    digits: Option<Vec<usize>>,
}

impl Positions {
    /// Regions around runs of at least `count` digits within `reach` bytes.
    pub(crate) fn dense(&mut self, text: &str, count: usize, reach: usize) -> Vec<Range<usize>> {
        let bytes = text.as_bytes();
        let find = || {
            bytes
                .iter()
                .enumerate()
                .filter(|(_, b)| b.is_ascii_digit())
                .map(|(at, _)| at)
                .collect()
        };
        let digits = self.digits.get_or_insert_with(find);
        let lasts = digits.iter().skip(count.saturating_sub(1));
        let near = digits
            .iter()
            .zip(lasts)
            .filter(|(first, last)| **last - **first < reach);
        merge(
            near.map(|(first, last)| last.saturating_sub(reach)..first + reach),
            bytes.len(),
        )
    }

    /// Regions around each `byte`.
    pub(crate) fn around(&self, text: &str, byte: u8, reach: usize) -> Vec<Range<usize>> {
        let places = memchr::memchr_iter(byte, text.as_bytes());
        merge(places.map(|at| at.saturating_sub(reach)..at + reach), text.len())
    }
}

/// Joins ranges that touch. One byte more on each side leaves room for what stands around a match.
fn merge(ranges: impl Iterator<Item = Range<usize>>, len: usize) -> Vec<Range<usize>> {
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        let range = range.start.saturating_sub(1)..(range.end + 1).min(len);
        match merged.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            Some(_) | None => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_what_every_match_contains() {
        assert_eq!(
            Gate::of("AKIA[A-Z0-9]{16}"),
            Gate::Literals(vec![b"akia".to_vec()])
        );
        assert_eq!(
            Gate::of(r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b"),
            Gate::Digits { count: 9, reach: 11 }
        );
        let key = "-----BEGIN (?:(?:RSA|EC|PGP) )?PRIVATE KEY(?: BLOCK)?-----";
        let begins = |l: &Vec<u8>| b"-----begin private key-----".starts_with(l);
        assert!(
            matches!(Gate::of(key), Gate::Literals(l) if l.iter().any(begins)),
            "{:?}",
            Gate::of(key)
        );
        assert_eq!(
            Gate::of(r"[a-z]+@[a-z]+"),
            Gate::Byte {
                byte: b'@',
                reach: MATCH_BYTES
            }
        );
        assert_eq!(Gate::of(r"[a-z]{40}"), Gate::Whole);
        assert_eq!(Gate::of(r"[0-9]{4}|x"), Gate::Whole);
    }

    #[test]
    fn dense_regions_hold_every_match() {
        let text = format!("{}536-90-4399{}", "x ".repeat(100), " y".repeat(100));
        let regions = Positions::default().dense(&text, 9, 11);
        assert!(regions.iter().any(|r| r.start <= 200 && r.end >= 211));
        assert!(regions.iter().map(|r| r.len()).sum::<usize>() < 40);
        assert!(Positions::default().dense("1 2 3 4", 9, 11).is_empty());
    }
}
