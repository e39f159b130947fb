//! Detectors, compiled: a gate that tells where to look, a pattern that matches, and what must hold of a match.

pub(crate) mod context;
mod entropy;
pub(crate) mod gate;
pub(crate) mod structural;
mod validate;

use std::collections::BTreeSet;
use std::ops::Range;

use policies::detector::{Detector, KeywordRole};
use policies::terms::{Confidence, DetectorId, Family, Validator};
use regex_automata::meta::{Config, Regex};
use regex_automata::util::captures::Captures;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};

use crate::engine::EngineError;
use crate::limits::{MATCHES_MAX, PATTERN_BYTES};
use crate::secret::compact;
use context::Words;
use gate::{Gate, Positions};

/// One detector, ready to run.
pub(crate) struct Compiled {
    pub(crate) id: DetectorId,
    pub(crate) family: Family,
    pub(crate) gate: Gate,
    regex: Regex,
    group: usize,
    validators: Vec<Validator>,
    within: usize,
    keyword: KeywordRole,
    confidence: Confidence,
    confidence_with_keyword: Confidence,
    known_test_values: BTreeSet<String>,
    min_entropy: Option<f64>,
    stop_words: Vec<String>,
}

/// A value in a view, before its context is looked at.
pub(crate) struct Candidate {
    pub(crate) whole: Range<usize>,
    pub(crate) value: Range<usize>,
}

/// What the value says of a match.
enum Judgement {
    Holds,
    /// The author of the detector knows the whole of it as harmless.
    Excluded,
    /// A shorter match may still hold.
    Fails,
}

impl Compiled {
    pub(crate) fn new(detector: &Detector) -> Result<Self, EngineError> {
        let too_much = |_| EngineError::Pattern {
            detector: detector.id.clone(),
        };
        let regex = Self::regex(&detector.pattern, false)
            .or_else(|_| Self::regex(&detector.pattern, true))
            .map_err(too_much)?;
        let group = usize::try_from(detector.group).unwrap_or(usize::MAX);
        if group >= regex.group_info().group_len(regex_automata::PatternID::ZERO) {
            return Err(EngineError::Group {
                detector: detector.id.clone(),
                group: detector.group,
            });
        }
        Ok(Self {
            id: detector.id.clone(),
            family: detector.family.clone(),
            gate: Gate::of(&detector.pattern),
            regex,
            group,
            validators: detector.validators.clone(),
            within: usize::try_from(detector.within).unwrap_or(usize::MAX),
            keyword: detector.keyword,
            confidence: detector.confidence,
            confidence_with_keyword: detector.confidence_with_keyword,
            known_test_values: detector
                .known_test_values
                .iter()
                .map(|value| compact(value))
                .collect(),
            min_entropy: detector.min_entropy,
            stop_words: detector
                .stop_words
                .iter()
                .map(|word| word.to_lowercase())
                .collect(),
        })
    }

    /// Bytes first: faster, and what the shipped patterns are written for.
    fn regex(pattern: &str, unicode: bool) -> Result<Regex, Box<regex_automata::meta::BuildError>> {
        let ascii_suffices = unicode || pattern.is_ascii();
        Regex::builder()
            .configure(
                Config::new()
                    .nfa_size_limit(Some(PATTERN_BYTES))
                    .utf8_empty(false),
            )
            .syntax(
                syntax::Config::new()
                    .unicode(!ascii_suffices || unicode)
                    .utf8(false),
            )
            .build(pattern)
            .map_err(Box::new)
    }

    /// Whether no finding is possible without a keyword.
    pub(crate) fn needs_keyword(&self) -> bool {
        self.keyword == KeywordRole::Required
    }

    /// Every value in `text` that holds, in order. `literals` are the places where a required literal of the pattern
    /// stands; `work` is charged with the bytes looked at.
    pub(crate) fn candidates(
        &self,
        text: &str,
        literals: &[usize],
        positions: &mut Positions,
        work: &mut usize,
    ) -> Vec<Candidate> {
        let mut found = Vec::new();
        match &self.gate {
            Gate::Literals(_) => {
                let mut from = 0;
                for at in literals.iter().filter(|at| **at <= text.len()) {
                    if *at >= from
                        && self.search(text, *at..text.len(), Anchored::Yes, work, &mut found) > *at
                    {
                        from = found.last().map_or(0, |last: &Candidate| last.whole.end);
                    }
                }
            }
            Gate::Digits { count, reach } => {
                for region in positions.dense(text, *count, *reach) {
                    self.walk(text, region, work, &mut found);
                }
            }
            Gate::Byte { byte, reach } => {
                for region in positions.around(text, *byte, *reach) {
                    self.walk(text, region, work, &mut found);
                }
            }
            Gate::Whole => self.walk(text, 0..text.len(), work, &mut found),
        }
        found
    }

    fn walk(&self, text: &str, region: Range<usize>, work: &mut usize, found: &mut Vec<Candidate>) {
        let mut at = region.start;
        while at < region.end && found.len() < MATCHES_MAX {
            at = self.search(text, at..region.end, Anchored::No, work, found);
        }
    }

    /// Looks for the next match and gives the offset to go on from: behind a value that holds or is excluded, or
    /// one byte on from the start of one that fails, since something else may be glued in front.
    fn search(
        &self,
        text: &str,
        range: Range<usize>,
        anchored: Anchored,
        work: &mut usize,
        found: &mut Vec<Candidate>,
    ) -> usize {
        let end = range.end;
        let input = Input::new(text).range(range).anchored(anchored);
        let Some((whole, value)) = self.next(&input) else {
            *work += input.end() - input.start();
            return end;
        };
        *work += whole.end - input.start();
        let behind = whole.end.max(whole.start + 1);
        match text.get(value.clone()).map(|value| self.judge(value)) {
            Some(Judgement::Holds) => found.push(Candidate { whole, value }),
            Some(Judgement::Excluded) => {}
            Some(Judgement::Fails) | None => return whole.start + 1,
        }
        behind
    }

    fn next(&self, input: &Input<'_>) -> Option<(Range<usize>, Range<usize>)> {
        if self.group == 0 {
            let whole = self.regex.search(input)?.range();
            return Some((whole.clone(), whole));
        }
        let mut captures: Captures = self.regex.create_captures();
        self.regex.search_captures(input, &mut captures);
        let whole = captures.get_match()?.range();
        // A group that took no part leaves the whole match as the value.
        let value = captures
            .get_group(self.group)
            .map_or_else(|| whole.clone(), |span| span.range());
        Some((whole, value))
    }

    /// Stop words, entropy and validators.
    fn judge(&self, value: &str) -> Judgement {
        let lower = value.to_lowercase();
        if self.stop_words.iter().any(|word| lower.contains(word.as_str())) {
            return Judgement::Excluded;
        }
        let random = self
            .min_entropy
            .is_none_or(|least| entropy::bits_per_character(value) >= least);
        let holds = random
            && self
                .validators
                .iter()
                .all(|validator| validate::holds(*validator, value));
        if holds { Judgement::Holds } else { Judgement::Fails }
    }

    /// How sure a value is by the words around it; none if a keyword is required and missing, or doubt is too great.
    pub(crate) fn confidence(&self, value: &str, words: &Words<'_>) -> Option<Confidence> {
        let near = self.keyword != KeywordRole::None && words.keyword_within(self.within);
        if self.needs_keyword() && !near {
            return None;
        }
        let confidence = if near {
            self.confidence_with_keyword
        } else {
            self.confidence
        };
        if self.known_test_values.contains(&compact(value)) {
            return Some(Confidence::Low);
        }
        if !words.negative_within(self.within) {
            return Some(confidence);
        }
        match confidence {
            Confidence::High => Some(Confidence::Medium),
            Confidence::Medium => Some(Confidence::Low),
            Confidence::Low if self.needs_keyword() => None,
            Confidence::Low => Some(Confidence::Low),
        }
    }
}
