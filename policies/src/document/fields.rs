//! Reading a TOML table key by key: every problem is collected with its place, and unknown keys are told.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Source;
use crate::limits;

/// A value with its place in the file.
#[derive(Clone, Debug)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) at: Range<usize>,
}

/// A TOML table that is being read.
pub(crate) struct Fields<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) at: Range<usize>,
    table: &'a DeTable<'a>,
    known: RefCell<BTreeSet<&'static str>>,
}

/// Parses a whole file; syntax errors are collected, all of them.
pub(crate) fn parse<'a>(source: Source<'a>) -> Option<Spanned<DeTable<'a>>> {
    let (table, errors) = DeTable::parse_recoverable(source.text);
    for error in &errors {
        let at = error.span().unwrap_or(0..0);
        source.problem(
            &at,
            error.message().to_owned(),
            "write it as TOML: key = value, texts in quotes (https://toml.io)",
        );
    }
    errors.is_empty().then_some(table)
}

impl<'a> Fields<'a> {
    pub(crate) fn new(source: Source<'a>, table: &'a DeTable<'a>, at: Range<usize>) -> Self {
        Self {
            source,
            at,
            table,
            known: RefCell::default(),
        }
    }

    fn find(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.borrow_mut().insert(key);
        self.table.get(key)
    }

    pub(crate) fn wrong(&self, at: &Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.source.problem(at, message, help);
    }

    fn wrong_type(&self, value: &Spanned<DeValue<'_>>, key: &str, wanted: &str) {
        let message = format!("`{key}` is of the type {}", value.get_ref().type_str());
        self.wrong(&value.span(), message, format!("give {wanted}"));
    }

    fn missing(&self, key: &str, wanted: &str) {
        self.wrong(
            &self.at,
            format!("`{key}` is missing"),
            format!("add `{key}` with {wanted}"),
        );
    }

    pub(crate) fn has(&self, key: &'static str) -> bool {
        self.find(key).is_some()
    }

    /// A text, if it is given.
    pub(crate) fn text(&self, key: &'static str) -> Option<Placed<String>> {
        let value = self.find(key)?;
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(value, key, "a text in quotes");
            return None;
        };
        Some(self.bounded(key, text, value.span()))
    }

    fn bounded(&self, key: &str, text: &str, at: Range<usize>) -> Placed<String> {
        if text.len() > limits::PATTERN_BYTES_MAX {
            let message = format!("`{key}` is longer than {} bytes", limits::PATTERN_BYTES_MAX);
            self.wrong(&at, message, "shorten it");
        }
        Placed {
            value: text.to_owned(),
            at,
        }
    }

    /// A text that must be given and not be empty.
    pub(crate) fn required_text(&self, key: &'static str) -> Placed<String> {
        if !self.has(key) {
            self.missing(key, "a text in quotes");
        }
        let Some(text) = self.text(key) else {
            return Placed {
                value: String::new(),
                at: self.at.clone(),
            };
        };
        if text.value.trim().is_empty() {
            self.wrong(&text.at, format!("`{key}` is empty"), "say something here");
        }
        text
    }

    fn word<T: FromStr>(&self, key: &str, text: &str, at: &Range<usize>, wanted: &str) -> Option<T> {
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.wrong(
                at,
                format!("`{key}` cannot be `{text}`"),
                format!("give {wanted}"),
            );
        }
        parsed
    }

    /// A name or word, if it is given.
    pub(crate) fn parsed<T: FromStr>(&self, key: &'static str, wanted: &str) -> Option<Placed<T>> {
        let text = self.text(key)?;
        let value = self.word(key, &text.value, &text.at, wanted)?;
        Some(Placed { value, at: text.at })
    }

    /// A name or word that must be given.
    pub(crate) fn required<T: FromStr>(&self, key: &'static str, wanted: &str) -> Option<Placed<T>> {
        if !self.has(key) {
            self.missing(key, wanted);
        }
        self.parsed(key, wanted)
    }

    fn items(&self, key: &'static str, wanted: &str) -> &'a [Spanned<DeValue<'a>>] {
        let Some(value) = self.find(key) else { return &[] };
        let Some(items) = value.get_ref().as_array() else {
            self.wrong_type(value, key, wanted);
            return &[];
        };
        if items.len() > limits::LIST_MAX {
            self.wrong(
                &value.span(),
                format!("`{key}` has more than {} entries", limits::LIST_MAX),
                "shorten the list",
            );
        }
        items
    }

    /// A list of texts.
    pub(crate) fn texts(&self, key: &'static str) -> Vec<Placed<String>> {
        let wanted = "a list of texts: [\"...\", \"...\"]";
        let items = self.items(key, wanted).iter();
        items
            .filter_map(|item| {
                let text = item.get_ref().as_str();
                if text.is_none() {
                    self.wrong_type(item, key, wanted);
                }
                Some(self.bounded(key, text?, item.span()))
            })
            .collect()
    }

    /// A list of names or words, or a single one without brackets.
    pub(crate) fn one_or_more<T: FromStr>(&self, key: &'static str, wanted: &str) -> Vec<Placed<T>> {
        if self.find(key).is_some_and(|value| value.get_ref().is_str()) {
            return self.parsed(key, wanted).into_iter().collect();
        }
        self.parsed_list(key, wanted)
    }

    /// A list of texts without their places.
    pub(crate) fn plain_texts(&self, key: &'static str) -> Vec<String> {
        self.texts(key).into_iter().map(|text| text.value).collect()
    }

    /// A list of names or words.
    pub(crate) fn parsed_list<T: FromStr>(&self, key: &'static str, wanted: &str) -> Vec<Placed<T>> {
        let texts = self.texts(key);
        let parsed = texts.into_iter().filter_map(|text| {
            let value = self.word(key, &text.value, &text.at, wanted)?;
            Some(Placed { value, at: text.at })
        });
        parsed.collect()
    }

    /// A whole number in a range, if it is given.
    pub(crate) fn number(&self, key: &'static str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let value = self.find(key)?;
        let number = value.get_ref().as_integer().and_then(|number| {
            u64::from_str_radix(number.as_str(), number.radix())
                .ok()
                .filter(|number| range.contains(number))
        });
        if number.is_none() {
            let wanted = format!("give a whole number from {} to {}", range.start(), range.end());
            self.wrong(
                &value.span(),
                format!("`{key}` is no number in its range"),
                wanted,
            );
        }
        number
    }

    /// The same in 32 bits.
    pub(crate) fn number_u32(&self, key: &'static str, range: std::ops::RangeInclusive<u32>) -> Option<u32> {
        let range = u64::from(*range.start())..=u64::from(*range.end());
        self.number(key, range)
            .and_then(|number| u32::try_from(number).ok())
    }

    /// A number with a fraction, not negative, if it is given.
    pub(crate) fn fraction(&self, key: &'static str) -> Option<f64> {
        let value = self.find(key)?;
        let text = value.get_ref().as_float().map(|float| float.as_str().to_owned());
        let text = text.or_else(|| {
            value
                .get_ref()
                .as_integer()
                .map(|integer| integer.as_str().to_owned())
        });
        let number = text
            .and_then(|text| text.parse::<f64>().ok())
            .filter(|number| (0.0..=64.0).contains(number));
        if number.is_none() {
            self.wrong(
                &value.span(),
                format!("`{key}` is no number in its range"),
                "give a number from 0.0 to 64.0",
            );
        }
        number
    }

    /// `true` or `false`, if it is given.
    pub(crate) fn flag(&self, key: &'static str) -> Option<bool> {
        let value = self.find(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.wrong_type(value, key, "`true` or `false`");
        }
        flag
    }

    /// A table, if it is given.
    pub(crate) fn table(&self, key: &'static str) -> Option<Fields<'a>> {
        let value = self.find(key)?;
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong_type(value, key, "a table: { key = value }");
        }
        Some(Fields::new(self.source, table?, value.span()))
    }

    /// A list of tables, `[[key]]`.
    pub(crate) fn tables(&self, key: &'static str) -> Vec<Fields<'a>> {
        let wanted = "a list of tables: [[...]]";
        let items = self.items(key, wanted).iter();
        items
            .filter_map(|item| {
                let table = item.get_ref().as_table();
                if table.is_none() {
                    self.wrong_type(item, key, wanted);
                }
                Some(Fields::new(self.source, table?, item.span()))
            })
            .collect()
    }

    /// Tells of every key that nobody asked for.
    pub(crate) fn finish(&self) {
        let known = self.known.borrow();
        for (key, _) in self.table {
            if !known.contains(key.get_ref().as_ref()) {
                let names: Vec<&str> = known.iter().copied().collect();
                let help = format!("known here: {}", names.join(", "));
                self.source.problem(
                    &key.span(),
                    format!("`{}` is not known here", key.get_ref()),
                    help,
                );
            }
        }
    }
}

/// Every word of a closed set, for help lines.
pub(crate) fn words_help<T: ToString>(all: &[T]) -> String {
    format!(
        "one of {}",
        all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )
}
