//! The same value seen through several views is one match: the plainest view keeps it, the surest one rates it.

use crate::report::Located;

/// One match for each value and place.
pub(crate) fn distinct(mut found: Vec<Located>) -> Vec<Located> {
    found.sort_by_key(|m| {
        (
            m.item,
            m.place.path.clone(),
            m.place.chain.len(),
            m.place.span.start,
        )
    });
    let mut kept: Vec<Located> = Vec::new();
    for next in found {
        match kept.iter_mut().find(|known| same(known, &next)) {
            Some(known) => known.confidence = known.confidence.max(next.confidence),
            None => kept.push(next),
        }
    }
    kept
}

/// Same detector, same file, overlapping bytes; and if both went through the same decoders, the same value.
fn same(a: &Located, b: &Located) -> bool {
    let overlap = a.place.span.start < b.place.span.end && b.place.span.start < a.place.span.end;
    let whole = a.place.span == b.place.span;
    a.detector == b.detector
        && a.item == b.item
        && a.place.path == b.place.path
        && (overlap || whole)
        && (a.place.chain != b.place.chain || a.value.compact() == b.value.compact())
}
