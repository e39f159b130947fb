//! A detector: finds one kind of sensitive data (P1). Patterns are compiled and run by the inspector.

use crate::terms::{Confidence, DetectorId, Family, Validator, words};

words! {
    /// What a keyword near a match does.
    KeywordRole {
        /// Without one there is no finding.
        Required = "required",
        /// One raises the confidence.
        Raises = "raises",
        /// Keywords are not looked for.
        None = "none",
    }
}

/// Detectors that the inspector brings along, because they read a file's structure and have no pattern: id and family.
/// Rules name them like any other; no pack may take their ids.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("document-author", "metadata-author"),
    ("image-author", "metadata-author"),
    ("image-location", "location"),
];

/// A detector, from a pack or from the tenant's own files.
#[derive(Clone, Debug, PartialEq)]
pub struct Detector {
    /// Its id, unique in a plan.
    pub id: DetectorId,
    /// The pack or own file that it is from, by its `id`.
    pub pack: String,
    /// Its family.
    pub family: Family,
    /// Its name.
    pub name: String,
    /// What it finds, in a plain sentence.
    pub finds: String,
    /// Locales, or `*`.
    pub locale: Vec<String>,
    /// A regular expression in the syntax of `regex-automata`.
    pub pattern: String,
    /// Capture group that is the value; 0 is the whole match.
    pub group: u32,
    /// Checks that must all hold.
    pub validators: Vec<Validator>,
    /// Words that speak for it, near a match.
    pub keywords: Vec<String>,
    /// How near, characters.
    pub within: u32,
    /// What a keyword does.
    pub keyword: KeywordRole,
    /// How sure a match is.
    pub confidence: Confidence,
    /// How sure a match near a keyword is.
    pub confidence_with_keyword: Confidence,
    /// Words that speak against it, near a match.
    pub negative: Vec<String>,
    /// Published samples, in compact form: found with low confidence.
    pub known_test_values: Vec<String>,
    /// Least entropy of the value, bits per character.
    pub min_entropy: Option<f64>,
    /// A value that holds one of these is dropped.
    pub stop_words: Vec<String>,
    /// Texts in which it must find something.
    pub examples: Vec<String>,
    /// Texts in which it must find nothing.
    pub counter_examples: Vec<String>,
    /// Standards and sources.
    pub references: Vec<String>,
}
