//! The outcome of an inspection: evidence for the decision, places for the author.

use std::collections::{BTreeMap, BTreeSet};

use policies::terms::{
    Capabilities, Confidence, DetectorId, Digest, Evidence, Family, Finding, ItemFacts, Unscannable,
    UnscannableReason,
};

use crate::place::Place;
use crate::secret::Secret;

/// What was found in a draft, and what could not be read.
#[derive(Debug)]
pub struct Report {
    content: Digest,
    items: Vec<ItemFacts>,
    matches: Vec<Located>,
    unread: Vec<Unread>,
}

/// One match with its place. It stays on the device.
#[derive(Clone, Debug)]
pub struct Located {
    /// The detector that found it.
    pub detector: DetectorId,
    /// Its family.
    pub family: Family,
    /// How sure it is.
    pub confidence: Confidence,
    /// The item: 0 is the text of the draft, files follow.
    pub item: u16,
    /// Where.
    pub place: Place,
    /// The matched text.
    pub value: Secret,
}

/// Something that could not be read, hence is not clean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// The item: 0 is the text of the draft, files follow.
    pub item: u16,
    /// Where; the span is empty.
    pub place: Place,
    /// Why.
    pub reason: UnscannableReason,
}

impl Report {
    pub(crate) fn new(
        content: Digest,
        items: Vec<ItemFacts>,
        matches: Vec<Located>,
        unread: Vec<Unread>,
    ) -> Self {
        Self {
            content,
            items,
            matches,
            unread,
        }
    }

    /// Every match with its place, in the order of the items.
    #[must_use]
    pub fn matches(&self) -> &[Located] {
        &self.matches
    }

    /// Everything that could not be read.
    #[must_use]
    pub fn unread(&self) -> &[Unread] {
        &self.unread
    }

    /// What rules may know: counts by detector, item and confidence; nothing of the text.
    #[must_use]
    pub fn evidence(&self) -> Evidence {
        let unscannable: BTreeSet<Unscannable> = self
            .unread
            .iter()
            .map(|unread| Unscannable {
                item: unread.item,
                reason: unread.reason,
            })
            .collect();
        Evidence {
            content: self.content,
            items: self.items.clone(),
            findings: findings(&self.matches),
            unscannable: unscannable.into_iter().collect(),
            capabilities: Capabilities {
                ocr: false,
                ner: false,
                sandbox: false,
            },
        }
    }
}

/// Matches of one detector in one item at one confidence.
#[derive(Default)]
struct Group {
    count: u32,
    values: BTreeSet<String>,
}

fn findings(matches: &[Located]) -> Vec<Finding> {
    let mut groups: BTreeMap<(u16, &DetectorId, &Family, Confidence), Group> = BTreeMap::new();
    for found in matches {
        let group = groups
            .entry((found.item, &found.detector, &found.family, found.confidence))
            .or_default();
        group.count = group.count.saturating_add(1);
        group.values.insert(found.value.compact().to_string());
    }
    groups
        .into_iter()
        .map(|((item, detector, family, confidence), group)| Finding {
            detector: detector.clone(),
            family: family.clone(),
            confidence,
            count: group.count,
            distinct: u32::try_from(group.values.len()).unwrap_or(u32::MAX),
            item,
        })
        .collect()
}
