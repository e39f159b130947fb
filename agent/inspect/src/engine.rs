//! The engine: a plan's detectors, compiled once, run over drafts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use policies::detector::Detector;
use policies::plan::Plan;
use policies::terms::{Confidence, DetectorId, Digest, Family, ItemFacts, ItemKind, UnscannableReason};

use crate::correlate;
use crate::detect::structural::STRUCTURAL;
use crate::draft::Draft;
use crate::extract::{Extractor, Origin, Segment, StructuralMatch};
use crate::join;
use crate::limits::{Budget, DRAFT_MATCHES_MAX, Limits, VIEW_WORK, VIEWS_MAX};
use crate::place::{Place, Transform};
use crate::report::{Located, Report, Unread};
use crate::scan::{Scanner, TextWords};
use crate::secret::Secret;
use crate::views::{Content, View};

/// Why a plan's detectors cannot be compiled. The author of the policy must act.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EngineError {
    /// The pattern is no valid pattern, or too large.
    #[error(
        "the pattern of detector `{detector}` cannot be compiled: mend its syntax or lower its repetitions"
    )]
    Pattern {
        /// The detector.
        detector: DetectorId,
    },
    /// The pattern has no such group.
    #[error("the pattern of detector `{detector}` has no group {group}: count its brackets from 1, or use 0")]
    Group {
        /// The detector.
        detector: DetectorId,
        /// The group asked for.
        group: u32,
    },
    /// All keywords together are too many.
    #[error("the keywords of all detectors together are too many: use fewer packs")]
    TooManyWords,
    /// A built-in detector has an id that the vocabulary does not allow.
    #[error(
        "built-in detector `{id}` does not fit the vocabulary: agent and policies are of different versions"
    )]
    Structural {
        /// The id.
        id: &'static str,
    },
}

/// Detectors, ready to run. Compile it when a policy becomes active, then share it.
pub struct Engine {
    scanner: Scanner,
    structural: BTreeMap<&'static str, (DetectorId, Family)>,
}

impl Engine {
    /// Compiles the detectors of a plan.
    ///
    /// # Errors
    /// [`EngineError`] names the detector that does not compile.
    pub fn compile(plan: &Plan) -> Result<Self, EngineError> {
        Self::of_detectors(plan.detectors())
    }

    /// Compiles detectors that no plan holds yet, for authors' tools.
    ///
    /// # Errors
    /// [`EngineError`] names the detector that does not compile.
    pub fn of_detectors(detectors: &[Detector]) -> Result<Self, EngineError> {
        let mut structural = BTreeMap::new();
        for detector in STRUCTURAL {
            let unfit = |_| EngineError::Structural { id: detector.id };
            let id = DetectorId::parse(detector.id).map_err(unfit)?;
            let family = Family::parse(detector.family).map_err(unfit)?;
            structural.insert(detector.id, (id, family));
        }
        Ok(Self {
            scanner: Scanner::new(detectors)?,
            structural,
        })
    }

    /// Inspects every item of a draft, and all of them read as one.
    #[must_use]
    pub fn inspect(&self, draft: &Draft, limits: &Limits) -> Report {
        let mut inspection = Inspection::new(self, limits);
        inspection.text(draft.text());
        for (item, file) in (1_u16..).zip(draft.files()) {
            inspection.item(
                &file.bytes,
                Origin {
                    item,
                    path: vec![file.name.clone()],
                    depth: 0,
                },
            );
        }
        inspection.joined();
        inspection.report(draft.digest())
    }

    /// Inspects bytes that are not part of a draft, such as a file in the outbox, as item 0. The digest of the
    /// report is that of a draft with this file alone.
    #[must_use]
    pub fn inspect_item(&self, name: &str, bytes: &[u8], limits: &Limits) -> Report {
        let mut inspection = Inspection::new(self, limits);
        inspection.item(
            bytes,
            Origin {
                item: 0,
                path: vec![name.to_owned()],
                depth: 0,
            },
        );
        inspection.report(policies::terms::draft_digest(b"", std::iter::once(bytes)))
    }
}

/// What comes out of the views of one segment.
#[derive(Default)]
struct Walk {
    found: Vec<Located>,
    encoded: VecDeque<Segment>,
}

/// One run of the engine.
struct Inspection<'e> {
    engine: &'e Engine,
    budget: Budget,
    items: Vec<ItemFacts>,
    bodies: Vec<Segment>,
    matches: Vec<Located>,
    unread: Vec<Unread>,
}

impl<'e> Inspection<'e> {
    fn new(engine: &'e Engine, limits: &Limits) -> Self {
        let budget = Budget::new(limits);
        Self {
            engine,
            budget,
            items: Vec::new(),
            bodies: Vec::new(),
            matches: Vec::new(),
            unread: Vec::new(),
        }
    }

    fn item(&mut self, bytes: &[u8], origin: Origin) {
        let (kind, mut waiting) = self.extract(bytes, &origin);
        let mut names = Extractor::new(&mut self.budget);
        names.name(
            &origin,
            origin.path.last().map(String::as_str).unwrap_or_default(),
        );
        waiting.extend(names.segments);
        self.segments(bytes, kind, waiting);
    }

    /// The text of a draft is a text, whatever it looks like.
    fn text(&mut self, text: &str) {
        let origin = Origin {
            item: 0,
            path: Vec::new(),
            depth: 0,
        };
        let mut extractor = Extractor::new(&mut self.budget);
        extractor.extract_text(text, &origin);
        let segments = extractor.segments.into();
        self.segments(text.as_bytes(), ItemKind::Text, segments);
    }

    fn segments(&mut self, bytes: &[u8], kind: ItemKind, mut waiting: VecDeque<Segment>) {
        self.items.push(ItemFacts {
            kind,
            size_bytes: bytes.len() as u64,
        });
        while let Some(segment) = waiting.pop_front() {
            waiting.extend(self.segment(&segment));
            if segment.is_body {
                self.bodies.push(segment);
            }
        }
    }

    fn extract(&mut self, bytes: &[u8], origin: &Origin) -> (ItemKind, VecDeque<Segment>) {
        let mut extractor = Extractor::new(&mut self.budget);
        let kind = extractor.extract(bytes, origin);
        let Extractor {
            segments,
            structural,
            unread,
            ..
        } = extractor;
        self.unread.extend(unread);
        let located = structural
            .into_iter()
            .filter_map(|found| self.engine.structural(found));
        self.matches.extend(located);
        (kind, segments.into())
    }

    /// Scans a segment through all its views, and what is encoded in it. What was found before a limit stays found.
    fn segment(&mut self, segment: &Segment) -> VecDeque<Segment> {
        let mut walk = Walk::default();
        let held = self.views(segment, &mut walk);
        let complete = self.budget.complete();
        if let Err(reason) = held.and(complete) {
            self.not_read(segment.item, segment.path.clone(), reason);
        }
        self.matches.extend(correlate::distinct(walk.found));
        walk.encoded
    }

    fn views(&mut self, segment: &Segment, walk: &mut Walk) -> Result<(), UnscannableReason> {
        let root = self.engine.scanner.words(&segment.text, &mut self.budget)?;
        let mut seen = BTreeSet::new();
        let mut waiting = VecDeque::from([View::raw(segment.text.clone(), segment.chain.clone())]);
        while let Some(view) = waiting.pop_front() {
            if !seen.insert(fingerprint(&view)) {
                continue;
            }
            if seen.len() > VIEWS_MAX || self.matches.len() + walk.found.len() > DRAFT_MATCHES_MAX {
                return Err(UnscannableReason::WorkLimit);
            }
            self.budget.work(VIEW_WORK)?;
            self.view(&view, segment, &root, &mut walk.found)?;
            for step in view.steps(&mut self.budget)? {
                match step.content {
                    Content::Text(_) if view.depth() >= self.budget.depth_max() => {
                        self.not_read(segment.item, segment.path.clone(), UnscannableReason::TooDeep);
                    }
                    Content::Text(text) => waiting.push_back(view.child(step.transform, text, step.map)),
                    Content::Bytes(bytes) => walk.encoded.extend(self.encoded(&bytes, segment)),
                }
            }
        }
        Ok(())
    }

    /// A file that was encoded in a text.
    fn encoded(&mut self, bytes: &[u8], segment: &Segment) -> VecDeque<Segment> {
        let origin = Origin {
            item: segment.item,
            path: segment.path.clone(),
            depth: segment.depth,
        };
        self.extract(bytes, &origin.member("encoded file")).1
    }

    fn view(
        &mut self,
        view: &View,
        segment: &Segment,
        root: &TextWords,
        found: &mut Vec<Located>,
    ) -> Result<(), UnscannableReason> {
        let scanner = &self.engine.scanner;
        let hits = if view.is_raw() {
            scanner.scan(view, root, None, &mut self.budget)?
        } else {
            let words = scanner.words(&view.text, &mut self.budget)?;
            scanner.scan(view, &words, Some((&segment.text, root)), &mut self.budget)?
        };
        let mut lines = Lines::new(&segment.text);
        for hit in hits {
            let Some(detector) = scanner.detectors.get(hit.detector) else {
                continue;
            };
            let in_text = view.in_segment(hit.value.clone());
            let line = lines.of(in_text.start);
            let place = Place {
                span: segment.map.source(&in_text),
                path: segment.path.clone(),
                chain: view.chain.clone(),
                line,
            };
            found.push(Located {
                detector: detector.id.clone(),
                family: detector.family.clone(),
                confidence: doubted(hit.confidence, &view.chain),
                item: segment.item,
                place,
                value: Secret::new(view.text.get(hit.value).unwrap_or_default().to_owned()),
            });
        }
        Ok(())
    }

    /// Reads the bodies of all items as one text (V7).
    fn joined(&mut self) {
        let bodies = std::mem::take(&mut self.bodies);
        let Some(joined) = join::join(&bodies) else {
            return;
        };
        let whole = Segment {
            item: 0,
            path: Vec::new(),
            chain: vec![Transform::Joined],
            text: joined.text.clone(),
            map: crate::views::map::OffsetMap::identity(joined.text.len()),
            is_body: false,
            depth: 0,
        };
        let mut walk = Walk::default();
        let before = (self.unread.len(), self.matches.len());
        let held = self.views(&whole, &mut walk);
        // Files and depths in the bodies were dealt with in their items.
        self.unread.truncate(before.0);
        self.matches.truncate(before.1);
        let complete = self.budget.complete();
        if let Err(reason) = held.and(complete) {
            self.not_read(0, Vec::new(), reason);
        }
        let spread = correlate::distinct(walk.found).into_iter();
        self.matches
            .extend(spread.filter_map(|found| joined.place(found, &bodies)));
    }

    fn not_read(&mut self, item: u16, path: Vec<String>, reason: UnscannableReason) {
        let place = Place {
            span: 0..0,
            path,
            chain: Vec::new(),
            line: 1,
        };
        self.unread.push(Unread { item, place, reason });
    }

    fn report(self, content: Digest) -> Report {
        let mut unread: Vec<Unread> = Vec::new();
        for entry in self.unread {
            if !unread.contains(&entry) {
                unread.push(entry);
            }
        }
        Report::new(content, self.items, correlate::distinct(self.matches), unread)
    }
}

impl Engine {
    fn structural(&self, found: StructuralMatch) -> Option<Located> {
        let (detector, family) = self.structural.get(found.detector.id)?;
        let confidence = if family.as_str() == "location" {
            Confidence::High
        } else {
            Confidence::Medium
        };
        Some(Located {
            detector: detector.clone(),
            family: family.clone(),
            confidence,
            item: found.item,
            place: Place {
                span: found.span,
                path: found.path,
                chain: Vec::new(),
                line: 1,
            },
            value: Secret::new(found.value),
        })
    }
}

/// Digits that were put together by us alone are less sure than digits that stood together.
fn doubted(confidence: Confidence, chain: &[Transform]) -> Confidence {
    match confidence {
        Confidence::Medium if chain.contains(&Transform::Digits) => Confidence::Low,
        Confidence::Low | Confidence::Medium | Confidence::High => confidence,
    }
}

/// Tells views that read the same, so that decoders cannot go in circles.
fn fingerprint(view: &View) -> (u64, usize) {
    let mut hasher = DefaultHasher::new();
    view.text.hash(&mut hasher);
    // The same digits at two places are two findings.
    (hasher.finish(), view.in_segment(0..view.text.len()).start)
}

/// Counts lines on from where it last stood, because matches come in rising order.
struct Lines<'t> {
    text: &'t [u8],
    at: usize,
    line: u32,
}

impl<'t> Lines<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text: text.as_bytes(),
            at: 0,
            line: 1,
        }
    }

    /// The line of an offset, from 1.
    fn of(&mut self, offset: usize) -> u32 {
        if offset < self.at {
            (self.at, self.line) = (0, 1);
        }
        let between = self.text.get(self.at..offset).unwrap_or_default();
        let breaks = u32::try_from(memchr::memchr_iter(b'\n', between).count()).unwrap_or(u32::MAX);
        self.line = self.line.saturating_add(breaks);
        self.at = offset;
        self.line
    }
}
