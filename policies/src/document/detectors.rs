//! Packs and the tenant's own detectors.

use super::fields::{Fields, Placed, parse, words_help};
use super::problem::Source;
use crate::detector::{Detector, KeywordRole};
use crate::limits;
use crate::terms::{Confidence, FAMILIES, Family, Validator};

/// One file of detectors.
pub(super) struct Pack {
    pub(super) id: String,
    pub(super) version: u64,
    pub(super) detectors: Vec<Placed<Detector>>,
}

/// Reads one file. Problems are collected; what could be read comes back.
pub(super) fn read(source: Source<'_>) -> Option<Pack> {
    let table = parse(source)?;
    let fields = Fields::new(source, table.get_ref(), 0..0);
    let id = fields.required_text("id").value;
    let version = fields.number("version", 1..=u64::from(u32::MAX));
    if version.is_none() && !fields.has("version") {
        fields.wrong(
            &(0..0),
            "`version` is missing",
            "add `version = 1`, and raise it when what is found changes",
        );
    }
    fields.required_text("title");
    let tables = fields.tables("detector");
    if tables.is_empty() {
        fields.wrong(
            &(0..0),
            "there is no `[[detector]]` in this file",
            "add one, or remove the file",
        );
    }
    let detectors = tables
        .into_iter()
        .filter_map(|table| detector(&id, table))
        .collect();
    fields.finish();
    Some(Pack {
        id,
        version: version?,
        detectors,
    })
}

fn detector(pack: &str, fields: Fields<'_>) -> Option<Placed<Detector>> {
    let at = fields.at.clone();
    let name_help = "a name: lower-case letters, digits, `.`, `_`, `-`";
    let id = fields.required::<crate::terms::DetectorId>("id", name_help);
    let family = family(&fields);
    let keyword = fields.parsed("keyword", &words_help(KeywordRole::ALL));
    let confidence = fields.required::<Confidence>("confidence", &words_help(Confidence::ALL));
    let with_keyword = fields.parsed::<Confidence>("confidence_with_keyword", &words_help(Confidence::ALL));
    let (pattern, group) = pattern(&fields);
    let keywords = fields.plain_texts("keywords");
    let keyword = keyword.map_or(KeywordRole::None, |keyword| keyword.value);
    check_keywords(&fields, keyword, &keywords);
    let found = Detector {
        id: id.as_ref()?.value.clone(),
        pack: pack.to_owned(),
        family: family?,
        name: fields.required_text("name").value,
        finds: fields.required_text("finds").value,
        locale: fields.plain_texts("locale"),
        pattern,
        group,
        validators: values(fields.parsed_list::<Validator>("validators", &words_help(Validator::ALL))),
        keywords,
        within: fields.number_u32("within", 1..=limits::WITHIN_MAX).unwrap_or(300),
        keyword,
        confidence: confidence.as_ref()?.value,
        confidence_with_keyword: with_keyword.or(confidence)?.value,
        negative: fields.plain_texts("negative"),
        known_test_values: fields.plain_texts("known_test_values"),
        min_entropy: fields.fraction("min_entropy"),
        stop_words: fields.plain_texts("stop_words"),
        examples: fields.plain_texts("examples"),
        counter_examples: fields.plain_texts("counter_examples"),
        references: fields.plain_texts("references"),
    };
    check_examples(&fields, &found);
    fields.finish();
    Some(Placed { value: found, at })
}

fn values<T>(placed: Vec<Placed<T>>) -> Vec<T> {
    placed.into_iter().map(|placed| placed.value).collect()
}

fn family(fields: &Fields<'_>) -> Option<Family> {
    let family = fields.required::<Family>("family", "one of the families")?;
    if !FAMILIES.contains(&family.value.as_str()) {
        let message = format!("there is no family `{}`", family.value);
        fields.wrong(&family.at, message, words_help(FAMILIES));
        return None;
    }
    Some(family.value)
}

fn pattern(fields: &Fields<'_>) -> (String, u32) {
    let pattern = fields.required_text("pattern");
    let group = fields.number_u32("group", 0..=20).unwrap_or(0);
    if pattern.value.is_empty() {
        return (pattern.value, group);
    }
    match regex_syntax::ParserBuilder::new()
        .utf8(false)
        .nest_limit(50)
        .build()
        .parse(&pattern.value)
    {
        Err(error) => {
            let why = match &error {
                regex_syntax::Error::Parse(error) => error.kind().to_string(),
                regex_syntax::Error::Translate(error) => error.kind().to_string(),
                _ => "it is not valid".to_owned(),
            };
            fields.wrong(
                &pattern.at,
                format!("`pattern` is no regular expression: {why}"),
                "see https://docs.rs/regex#syntax",
            );
        }
        Ok(tree) => {
            let properties = tree.properties();
            if properties.minimum_len().is_none_or(|length| length == 0) {
                fields.wrong(
                    &pattern.at,
                    "`pattern` matches the empty text",
                    "make at least one character necessary",
                );
            }
            if usize::try_from(group).is_ok_and(|group| group > properties.explicit_captures_len()) {
                let message = format!(
                    "`group` is {group}, but the pattern has {} groups",
                    properties.explicit_captures_len()
                );
                fields.wrong(
                    &pattern.at,
                    message,
                    "number the group of the value from 1, or leave `group` out",
                );
            }
        }
    }
    (pattern.value, group)
}

fn check_keywords(fields: &Fields<'_>, role: KeywordRole, keywords: &[String]) {
    if role != KeywordRole::None && keywords.is_empty() {
        let message = format!("`keyword` is `{role}`, but there are no `keywords`");
        fields.wrong(&fields.at, message, "add `keywords`, or say keyword = \"none\"");
    }
}

fn check_examples(fields: &Fields<'_>, detector: &Detector) {
    for (key, examples) in [
        ("examples", &detector.examples),
        ("counter_examples", &detector.counter_examples),
    ] {
        if examples.is_empty() {
            let message = format!("detector `{}` has no `{key}`", detector.id);
            fields.wrong(
                &fields.at,
                message,
                "a detector shows what it finds and what it leaves alone: add at least one of each",
            );
        }
    }
}
