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

/// Digits that are rare enough together without looking at what stands before them.
const DIGITS_ENOUGH: usize = 6;
/// Bytes of a match in front of its literal; each costs one more attempt.
const BEFORE_MAX: usize = 2;
/// Longest head that is looked at.
const HEAD_MAX: usize = 6;

/// Bytes that may stand at one place.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ByteSet(Box<[bool; 256]>);

impl std::fmt::Debug for ByteSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries((0..=u8::MAX).filter(|b| self.has(*b)).map(char::from))
            .finish()
    }
}

impl ByteSet {
    fn of(holds: impl Fn(u8) -> bool) -> Self {
        let mut bytes = Box::new([false; 256]);
        for (byte, slot) in (0..=u8::MAX).zip(bytes.iter_mut()) {
            *slot = holds(byte);
        }
        Self(bytes)
    }

    fn has(&self, byte: u8) -> bool {
        self.0.get(usize::from(byte)).copied().unwrap_or(false)
    }

    fn or(&self, other: &Self) -> Self {
        Self::of(|byte| self.has(byte) || other.has(byte))
    }

    fn holds_digits_only(&self) -> bool {
        (0..=u8::MAX).all(|byte| !self.has(byte) || byte.is_ascii_digit())
    }
}

/// Where a pattern has to be tried.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Where one of these stands, with at most `before` bytes of the match in front. Lower case.
    Literals { literals: Vec<Vec<u8>>, before: usize },
    /// Where these sets of bytes hold one after the other: every match begins so. The digit at `digit` finds them.
    Head { sets: Vec<ByteSet>, digit: usize },
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
        if let Some(literals) = prefixes(&plain_case(&hir)) {
            return Self::Literals { literals, before: 0 };
        }
        if let Some((literals, before)) = literals_behind_the_first(&plain_case(&hir)) {
            return Self::Literals { literals, before };
        }
        let reach = hir
            .properties()
            .maximum_len()
            .unwrap_or(MATCH_BYTES)
            .min(MATCH_BYTES);
        let count = least(&hir, &|byte| byte.is_ascii_digit());
        if count < DIGITS_ENOUGH
            && let Some(head) = head_gate(&hir)
        {
            return head;
        }
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

/// Literals behind a short first part, such as `(?:\\b|_)`, and how long that may be.
fn literals_behind_the_first(hir: &Hir) -> Option<(Vec<Vec<u8>>, usize)> {
    let HirKind::Concat(parts) = hir.kind() else {
        return None;
    };
    let (first, rest) = parts.split_first()?;
    let before = first
        .properties()
        .maximum_len()
        .filter(|len| *len <= BEFORE_MAX)?;
    Some((prefixes(&Hir::concat(rest.to_vec()))?, before))
}

/// The pattern with every letter of either case made lower case, so that a word is one literal and not 2^n.
fn plain_case(hir: &Hir) -> Hir {
    match hir.kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Look(look) => Hir::look(*look),
        HirKind::Literal(literal) => Hir::literal(literal.0.to_ascii_lowercase()),
        HirKind::Class(class) => {
            either_case(class).map_or_else(|| Hir::class(class.clone()), |b| Hir::literal([b]))
        }
        HirKind::Repetition(repeated) => Hir::repetition(regex_syntax::hir::Repetition {
            sub: Box::new(plain_case(&repeated.sub)),
            ..repeated.clone()
        }),
        HirKind::Capture(capture) => plain_case(&capture.sub),
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(plain_case).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.iter().map(plain_case).collect()),
    }
}

/// The lower-case letter of a class of one letter in both cases.
fn either_case(class: &Class) -> Option<u8> {
    let has = |byte: u8| all_of(class, byte);
    let letter = (b'a'..=b'z').find(|b| has(*b) && has(b.to_ascii_uppercase()))?;
    (size(class) == 2).then_some(letter)
}

fn all_of(class: &Class, byte: u8) -> bool {
    match class {
        Class::Bytes(bytes) => bytes.iter().any(|r| (r.start()..=r.end()).contains(&byte)),
        Class::Unicode(chars) => chars
            .iter()
            .any(|r| (r.start()..=r.end()).contains(&char::from(byte))),
    }
}

fn size(class: &Class) -> usize {
    match class {
        Class::Bytes(bytes) => bytes.iter().map(|r| r.len()).sum(),
        Class::Unicode(chars) => chars.iter().map(|r| r.len()).sum(),
    }
}

fn head_gate(hir: &Hir) -> Option<Gate> {
    let (sets, _) = head(hir);
    let digit = sets.iter().position(ByteSet::holds_digits_only)?;
    (sets.len() >= 3).then_some(Gate::Head { sets, digit })
}

/// Sets of bytes that every match begins with, one after the other, and whether they are the whole of it.
fn head(hir: &Hir) -> (Vec<ByteSet>, bool) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => (Vec::new(), true),
        HirKind::Literal(literal) => {
            let sets = literal
                .0
                .iter()
                .take(HEAD_MAX)
                .map(|b| ByteSet::of(|byte| byte == *b))
                .collect();
            (sets, literal.0.len() <= HEAD_MAX)
        }
        HirKind::Class(Class::Bytes(class)) => {
            let class = Class::Bytes(class.clone());
            (vec![ByteSet::of(|byte| all_of(&class, byte))], true)
        }
        HirKind::Class(Class::Unicode(_)) => (Vec::new(), false),
        HirKind::Repetition(repeated) => {
            let fixed = repeated.max == Some(repeated.min);
            let times = usize::try_from(repeated.min).unwrap_or(0).min(HEAD_MAX);
            let (sets, whole) = chain((0..times).map(|_| repeated.sub.as_ref()));
            (sets, whole && fixed)
        }
        HirKind::Capture(capture) => head(&capture.sub),
        HirKind::Concat(parts) => chain(parts.iter()),
        HirKind::Alternation(parts) => {
            let heads: Vec<(Vec<ByteSet>, bool)> = parts.iter().map(head).collect();
            let shortest = heads.iter().map(|(sets, _)| sets.len()).min().unwrap_or(0);
            let even = heads.iter().all(|(sets, whole)| *whole && sets.len() == shortest);
            let union = (0..shortest).filter_map(|at| {
                heads
                    .iter()
                    .filter_map(|(sets, _)| sets.get(at).cloned())
                    .reduce(|a, b| a.or(&b))
            });
            (union.collect(), even)
        }
    }
}

fn chain<'h>(parts: impl Iterator<Item = &'h Hir>) -> (Vec<ByteSet>, bool) {
    let mut sets = Vec::new();
    for part in parts {
        let (more, whole) = head(part);
        sets.extend(more);
        if !whole || sets.len() >= HEAD_MAX {
            sets.truncate(HEAD_MAX);
            return (sets, false);
        }
    }
    (sets, true)
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
        let digits = self.digits(bytes);
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

    /// Where `sets` hold one after the other, the one at `digit` being of digits only.
    pub(crate) fn heads(&mut self, text: &str, sets: &[ByteSet], digit: usize) -> Vec<usize> {
        let bytes = text.as_bytes();
        let begins = |start: &usize| {
            let head = bytes.get(*start..*start + sets.len());
            head.is_some_and(|head| head.iter().zip(sets).all(|(byte, set)| set.has(*byte)))
        };
        self.digits(bytes)
            .iter()
            .filter_map(|at| at.checked_sub(digit))
            .filter(begins)
            .collect()
    }

    fn digits(&mut self, bytes: &[u8]) -> &[usize] {
        let find = || {
            bytes
                .iter()
                .enumerate()
                .filter(|(_, b)| b.is_ascii_digit())
                .map(|(at, _)| at)
                .collect()
        };
        self.digits.get_or_insert_with(find)
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

    fn starts(literals: &[&[u8]], before: usize) -> Gate {
        Gate::Literals {
            literals: literals.iter().map(|l| l.to_vec()).collect(),
            before,
        }
    }

    #[test]
    fn gates_are_what_every_match_contains() {
        assert_eq!(Gate::of("AKIA[A-Z0-9]{16}"), starts(&[b"akia"], 0));
        assert_eq!(
            Gate::of(r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b"),
            Gate::Digits { count: 9, reach: 11 }
        );
        let key = "-----BEGIN (?:(?:RSA|EC|PGP) )?PRIVATE KEY(?: BLOCK)?-----";
        let begins = |l: &Vec<u8>| b"-----begin private key-----".starts_with(l);
        assert!(
            matches!(Gate::of(key), Gate::Literals { literals, .. } if literals.iter().any(begins)),
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
        assert_eq!(Gate::of("(?i)password=[a-z]+"), starts(&[b"password="], 0));
        assert_eq!(Gate::of(r"(?i)[^a-z]secret=[a-z]+"), starts(&[b"secret="], 1));
        assert_eq!(Gate::of(r"[a-z]{40}"), Gate::Whole);
        assert_eq!(Gate::of(r"[0-9]{4}|x"), Gate::Whole);
    }

    #[test]
    fn a_head_is_found_by_its_digit() {
        let Gate::Head { sets, digit } =
            Gate::of(r"(?i)\b(?:DE[0-9]{2}(?: ?[0-9A-Z]){18}|NO[0-9]{2}(?: ?[0-9A-Z]){11})\b")
        else {
            panic!("a head was expected");
        };
        assert_eq!((sets.len(), digit), (4, 2));
        assert_eq!(
            Positions::default().heads("the 12 de89 x no12 and ab34", &sets, digit),
            [7, 14]
        );
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
