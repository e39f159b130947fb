//! The joined view (V7): the bodies of all items, one behind the other, as a reader scrolls through them.

use std::ops::Range;

use crate::extract::Segment;
use crate::limits::JOIN_BYTES;
use crate::report::Located;

/// Stands where the middle of a long body was left out: nothing reads across it.
const LEFT_OUT: char = '\u{1}';

/// The joined text, and which part of it is which part of which body.
pub(crate) struct Joined {
    pub(crate) text: String,
    pieces: Vec<Piece>,
}

struct Piece {
    out: Range<usize>,
    body: usize,
    from: usize,
}

/// Joins bodies of at least two items. Of long bodies only the ends matter, since the middle is scanned already.
pub(crate) fn join(bodies: &[Segment]) -> Option<Joined> {
    let first = bodies.first()?.item;
    if bodies.iter().all(|body| body.item == first) {
        return None;
    }
    let mut joined = Joined {
        text: String::new(),
        pieces: Vec::new(),
    };
    for (index, body) in bodies.iter().enumerate() {
        let text = body.text.trim_end();
        let from = text.len() - text.trim_start().len();
        if text.len() - from <= 2 * JOIN_BYTES {
            joined.push(body, index, from..text.len());
        } else {
            joined.push(body, index, from..floor(text, from + JOIN_BYTES));
            joined.text.push(LEFT_OUT);
            joined.push(body, index, floor(text, text.len() - JOIN_BYTES)..text.len());
        }
        joined.text.push(' ');
    }
    Some(joined)
}

impl Joined {
    fn push(&mut self, body: &Segment, index: usize, range: Range<usize>) {
        let start = self.text.len();
        self.text
            .push_str(body.text.get(range.clone()).unwrap_or_default());
        self.pieces.push(Piece {
            out: start..self.text.len(),
            body: index,
            from: range.start,
        });
    }

    /// The match at its place in the first item that holds a part of it; none if one item holds all of it.
    pub(crate) fn place(&self, mut found: Located, bodies: &[Segment]) -> Option<Located> {
        let span = found.place.span.clone();
        let mut parts = self
            .pieces
            .iter()
            .filter(|p| p.out.start < span.end && span.start < p.out.end);
        let first = parts.next()?;
        let body = bodies.get(first.body)?;
        parts.find(|part| bodies.get(part.body).is_some_and(|other| other.item != body.item))?;
        let start = span.start.max(first.out.start) - first.out.start + first.from;
        let end = span.end.min(first.out.end) - first.out.start + first.from;
        found.item = body.item;
        found.place.span = body.map.source(&(start..end));
        found.place.path.clone_from(&body.path);
        let before = body.text.get(..start).unwrap_or_default();
        found.place.line = u32::try_from(before.matches('\n').count())
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        Some(found)
    }
}

/// The last character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}
