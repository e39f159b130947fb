//! One pass over a view for every literal and every keyword of every detector, then the patterns where they can match.

use std::collections::BTreeMap;
use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use policies::detector::Detector;
use policies::terms::{Confidence, UnscannableReason};

use crate::detect::Compiled;
use crate::detect::context::{Around, WordHits, Words, is_whole_word};
use crate::detect::gate::{Gate, Positions};
use crate::engine::EngineError;
use crate::limits::{Budget, WORD_WORK};
use crate::views::View;
use crate::views::fold::folded;

/// Why a word is in the pass.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Meaning {
    Literal(usize),
    Keyword(usize),
    Negative(usize),
}

/// All detectors with their shared pass.
pub(crate) struct Scanner {
    pub(crate) detectors: Vec<Compiled>,
    pass: AhoCorasick,
    meanings: Vec<Vec<Meaning>>,
}

/// A value found in a view.
pub(crate) struct Hit {
    pub(crate) detector: usize,
    pub(crate) confidence: Confidence,
    pub(crate) value: Range<usize>,
}

/// Words of every detector in one text.
pub(crate) struct TextWords {
    literals: Vec<Vec<usize>>,
    words: Vec<WordHits>,
}

impl Scanner {
    pub(crate) fn new(detectors: &[Detector]) -> Result<Self, EngineError> {
        let compiled: Vec<Compiled> = detectors.iter().map(Compiled::new).collect::<Result<_, _>>()?;
        let mut words: BTreeMap<Vec<u8>, Vec<Meaning>> = BTreeMap::new();
        for (index, (detector, compiled)) in detectors.iter().zip(&compiled).enumerate() {
            if let Gate::Literals { literals, .. } = &compiled.gate {
                for literal in literals {
                    words
                        .entry(literal.clone())
                        .or_default()
                        .push(Meaning::Literal(index));
                }
            }
            let keywords = detector
                .keywords
                .iter()
                .map(|word| (word, Meaning::Keyword(index)));
            let negatives = detector
                .negative
                .iter()
                .map(|word| (word, Meaning::Negative(index)));
            for (word, meaning) in keywords.chain(negatives) {
                for form in forms(word) {
                    words.entry(form).or_default().push(meaning);
                }
            }
        }
        let (patterns, mut meanings): (Vec<Vec<u8>>, Vec<Vec<Meaning>>) = words.into_iter().unzip();
        for meaning in &mut meanings {
            meaning.sort_unstable();
            meaning.dedup();
        }
        let pass = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .ascii_case_insensitive(true)
            .kind(Some(AhoCorasickKind::DFA))
            .build(&patterns)
            .map_err(|_| EngineError::TooManyWords)?;
        Ok(Self {
            detectors: compiled,
            pass,
            meanings,
        })
    }

    /// The shared pass.
    ///
    /// # Errors
    /// The budget is used up.
    pub(crate) fn words(&self, text: &str, budget: &mut Budget) -> Result<TextWords, UnscannableReason> {
        budget.work(text.len())?;
        let count = self.detectors.len();
        let mut found = TextWords {
            literals: vec![Vec::new(); count],
            words: vec![WordHits::default(); count],
        };
        for hit in self.pass.find_overlapping_iter(text) {
            budget.work(WORD_WORK)?;
            let mut whole = None;
            for meaning in self.meanings.get(hit.pattern().as_usize()).into_iter().flatten() {
                let mut is_whole = || *whole.get_or_insert_with(|| is_whole_word(text, &hit.range()));
                match *meaning {
                    Meaning::Literal(detector) => {
                        if let Some(places) = found.literals.get_mut(detector) {
                            places.push(hit.start());
                        }
                    }
                    Meaning::Keyword(detector) if is_whole() => {
                        if let Some(words) = found.words.get_mut(detector) {
                            words.keywords.push(hit.range());
                        }
                    }
                    Meaning::Negative(detector) if is_whole() => {
                        if let Some(words) = found.words.get_mut(detector) {
                            words.negatives.push(hit.range());
                        }
                    }
                    Meaning::Keyword(_) | Meaning::Negative(_) => {}
                }
            }
        }
        for places in &mut found.literals {
            places.sort_unstable();
            places.dedup();
        }
        Ok(found)
    }

    /// Every value in a view. `outer` is the text that the view was made from, with its words.
    pub(crate) fn scan(
        &self,
        view: &View,
        words: &TextWords,
        outer: Option<(&str, &TextWords)>,
        budget: &mut Budget,
    ) -> Result<Vec<Hit>, UnscannableReason> {
        let mut hits = Vec::new();
        let mut positions = Positions::default();
        for (index, detector) in self.detectors.iter().enumerate() {
            let (Some(inner_hits), Some(literals)) = (words.words.get(index), words.literals.get(index))
            else {
                continue;
            };
            let outer_hits = outer.and_then(|(text, words)| Some((text, words.words.get(index)?)));
            let no_keyword =
                inner_hits.keywords.is_empty() && outer_hits.is_none_or(|(_, w)| w.keywords.is_empty());
            if detector.needs_keyword() && no_keyword {
                continue;
            }
            for candidate in detector.candidates(&view.text, literals, &mut positions, budget)? {
                let value = view.text.get(candidate.value.clone()).unwrap_or_default();
                let inner = Around {
                    text: &view.text,
                    value: candidate.value.clone(),
                    hits: inner_hits,
                };
                let in_segment = || view.in_segment(candidate.whole.clone());
                let outer = outer_hits.map(|(text, hits)| Around {
                    text,
                    value: in_segment(),
                    hits,
                });
                if let Some(confidence) = detector.confidence(value, &Words { inner, outer }) {
                    hits.push(Hit {
                        detector: index,
                        confidence,
                        value: candidate.value,
                    });
                }
            }
        }
        Ok(hits)
    }
}

/// A word as it may be written: the pass ignores the case of ASCII letters, not of others; and as it folds.
fn forms(word: &str) -> Vec<Vec<u8>> {
    let mut forms: Vec<String> = vec![word.to_owned()];
    if !word.is_ascii() {
        let mut title = word.chars();
        let first = title
            .next()
            .map(|c| c.to_uppercase().collect::<String>())
            .unwrap_or_default();
        forms.extend([word.to_lowercase(), word.to_uppercase(), first + title.as_str()]);
    }
    let plain: Vec<String> = forms.iter().map(|form| folded(form)).collect();
    forms.extend(plain);
    let mut forms: Vec<Vec<u8>> = forms
        .into_iter()
        .map(|form| form.to_ascii_lowercase().into_bytes())
        .collect();
    forms.retain(|form| !form.is_empty());
    forms.sort();
    forms.dedup();
    forms
}
