//! Views: the same content as a reader, a renderer or a program would see it, each with a map back.
//!
//! A segment is scanned as it stands (raw), folded, and decoded as often as something decodes, down to the depth limit.

pub(crate) mod decode;
pub(crate) mod digits;
pub(crate) mod fold;
pub(crate) mod map;

use std::ops::Range;
use std::rc::Rc;

use policies::terms::UnscannableReason;

use crate::limits::Budget;
use crate::place::Transform;
use map::OffsetMap;

/// A reading of a segment.
pub(crate) struct View {
    pub(crate) text: String,
    pub(crate) chain: Vec<Transform>,
    /// From this view towards the segment, one map per step.
    layers: Vec<Rc<OffsetMap>>,
    depth: u8,
}

/// What a step makes of a view: a text, or bytes of some other type.
pub(crate) struct Decoded {
    pub(crate) transform: Transform,
    pub(crate) content: Content,
    pub(crate) map: OffsetMap,
}

pub(crate) enum Content {
    Text(String),
    Bytes(Vec<u8>),
}

impl Decoded {
    fn text(transform: Transform, text: String, map: OffsetMap) -> Self {
        Self {
            transform,
            content: Content::Text(text),
            map,
        }
    }
}

impl View {
    /// The segment as it stands.
    pub(crate) fn raw(text: String, chain: Vec<Transform>) -> Self {
        Self {
            text,
            chain,
            layers: Vec::new(),
            depth: 0,
        }
    }

    /// Whether this is the segment as it stands.
    pub(crate) fn is_raw(&self) -> bool {
        self.layers.is_empty()
    }

    pub(crate) fn depth(&self) -> u8 {
        self.depth
    }

    /// The range of the segment that a range of this view stands for.
    pub(crate) fn in_segment(&self, range: Range<usize>) -> Range<usize> {
        self.layers
            .iter()
            .fold(range, |range, layer| layer.source(&range))
    }

    /// Everything that this view decodes to, by one step.
    pub(crate) fn steps(&self, budget: &mut Budget) -> Result<Vec<Decoded>, UnscannableReason> {
        budget.work(self.text.len())?;
        let mut steps = Vec::new();
        if let Some(folded) = fold::fold(&self.text) {
            // One character may fold to eighteen.
            if let Content::Text(text) = &folded.content {
                budget.work(text.len())?;
            }
            steps.push(folded);
        }
        decode::steps(&self.text, &mut steps);
        if self.chain.last() != Some(&Transform::Digits) {
            digits::joined(&self.text, &mut steps);
        }
        Ok(steps)
    }

    /// The view that a step leads to.
    pub(crate) fn child(&self, transform: Transform, text: String, map: OffsetMap) -> Self {
        let mut layers = Vec::with_capacity(self.layers.len() + 1);
        layers.push(Rc::new(map));
        layers.extend(self.layers.iter().cloned());
        let mut chain = self.chain.clone();
        chain.push(transform);
        // Folding and joining digits decode nothing that could be nested without end.
        let deeper = u8::from(!matches!(transform, Transform::Fold | Transform::Digits));
        Self {
            text,
            chain,
            layers,
            depth: self.depth.saturating_add(deeper),
        }
    }
}
