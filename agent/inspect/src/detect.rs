//! Detectors, compiled: a gate that tells where to look, a pattern that matches, and what must hold of a match.

pub(crate) mod context;
mod entropy;
pub(crate) mod gate;
pub(crate) mod structural;
mod validate;

use std::collections::BTreeSet;
use std::ops::Range;

use policies::detector::{Detector, KeywordRole};
use policies::terms::{Confidence, DetectorId, Family, UnscannableReason, Validator};
use regex_automata::meta::{Config, Regex};
use regex_automata::util::captures::Captures;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};

use crate::engine::EngineError;
use crate::limits::{Budget, MATCH_BYTES, MATCHES_MAX, PATTERN_BYTES};
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
    /// stands.
    ///
    /// # Errors
    /// The budget is used up.
    pub(crate) fn candidates(
        &self,
        text: &str,
        literals: &[usize],
        positions: &mut Positions,
        budget: &mut Budget,
    ) -> Result<Vec<Candidate>, UnscannableReason> {
        let mut search = Search {
            detector: self,
            text,
            budget,
            found: Vec::new(),
        };
        match &self.gate {
            Gate::Literals { before, .. } => search.at_each(literals, *before)?,
            Gate::Head { sets, digit } => search.at_each(&positions.heads(text, sets, *digit), 0)?,
            Gate::Digits { count, reach } => search.in_each(positions.dense(text, *count, *reach))?,
            Gate::Byte { byte, reach } => search.in_each(positions.around(text, *byte, *reach))?,
            Gate::Whole => search.in_each(std::iter::once(0..text.len()).collect())?,
        }
        Ok(search.found)
    }

    fn next(&self, input: &Input<'_>) -> Option<(Range<usize>, Range<usize>)> {
        let whole = self.regex.search(input)?.range();
        if self.group == 0 {
            return Some((whole.clone(), whole));
        }
        // Captures cost much more than a match, which is rare.
        let again = Input::new(input.haystack())
            .range(whole.clone())
            .anchored(Anchored::Yes);
        let mut captures: Captures = self.regex.create_captures();
        self.regex.search_captures(&again, &mut captures);
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

/// One detector at work on one text.
struct Search<'s> {
    detector: &'s Compiled,
    text: &'s str,
    budget: &'s mut Budget,
    found: Vec<Candidate>,
}

impl Search<'_> {
    /// At each of these places a match begins, or up to `before` bytes in front of it, or not at all.
    fn at_each(&mut self, places: &[usize], before: usize) -> Result<(), UnscannableReason> {
        let mut behind = 0;
        for place in places {
            for at in place.saturating_sub(before)..=*place {
                if at < behind {
                    continue;
                }
                if self.found.len() >= MATCHES_MAX {
                    self.budget.leave_out();
                    return Ok(());
                }
                let known = self.found.len();
                self.next(at..self.text.len(), Anchored::Yes)?;
                if let Some(last) = self.found.get(known) {
                    behind = last.whole.end;
                }
            }
        }
        Ok(())
    }

    fn in_each(&mut self, regions: Vec<Range<usize>>) -> Result<(), UnscannableReason> {
        for region in regions {
            let mut at = region.start;
            while at < region.end {
                if self.found.len() >= MATCHES_MAX {
                    self.budget.leave_out();
                    return Ok(());
                }
                at = self.next(at..region.end, Anchored::No)?;
            }
        }
        Ok(())
    }

    /// Looks for the next match and gives the offset to go on from: behind a value that holds or is excluded, or
    /// one byte on from the start of one that fails, since something else may be glued in front.
    fn next(&mut self, range: Range<usize>, anchored: Anchored) -> Result<usize, UnscannableReason> {
        let (start, end) = (range.start, range.end);
        let input = Input::new(self.text).range(range).anchored(anchored);
        let Some((whole, value)) = self.detector.next(&input) else {
            // An anchored search gives up at the first byte that does not fit.
            let looked_at = if anchored == Anchored::Yes {
                MATCH_BYTES.min(end - start)
            } else {
                end - start
            };
            self.budget.work(looked_at)?;
            return Ok(end);
        };
        self.budget.work(whole.end - start)?;
        let behind = whole.end.max(whole.start + 1);
        match self
            .text
            .get(value.clone())
            .map(|value| self.detector.judge(value))
        {
            Some(Judgement::Holds) => self.found.push(Candidate { whole, value }),
            Some(Judgement::Excluded) => {}
            Some(Judgement::Fails) | None => return Ok(whole.start + 1),
        }
        Ok(behind)
    }
}
