//! The same value seen through several views is one match: the plainest view keeps it, the surest one rates it.

use std::collections::BTreeMap;

use policies::terms::DetectorId;

use crate::report::Located;

/// Item, path and detector: only matches that agree in them can be the same.
type Key = (u16, Vec<String>, DetectorId);

/// One match for each value and place, in the order of items and places.
pub(crate) fn distinct(found: Vec<Located>) -> Vec<Located> {
    let mut groups: BTreeMap<Key, Vec<Located>> = BTreeMap::new();
    for one in found {
        let key = (one.item, one.place.path.clone(), one.detector.clone());
        groups.entry(key).or_default().push(one);
    }
    let mut kept: Vec<Located> = groups.into_values().flat_map(merge).collect();
    kept.sort_by(|a, b| {
        let place = |m: &Located| (m.item, m.place.span.start, m.place.span.end);
        (a.item, &a.place.path)
            .cmp(&(b.item, &b.place.path))
            .then_with(|| place(a).cmp(&place(b)))
    });
    kept
}

fn merge(mut group: Vec<Located>) -> Vec<Located> {
    group.sort_by_key(|m| (m.place.chain.len(), m.place.span.start, m.place.span.end));
    let widest = group.iter().map(|m| m.place.span.len()).max().unwrap_or(0);
    let mut kept: Vec<Located> = Vec::new();
    // Starts of what is kept, so that only neighbours are compared.
    let mut by_start: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for next in group {
        let span = next.place.span.clone();
        let neighbours = by_start
            .range(span.start.saturating_sub(widest)..=span.end)
            .flat_map(|(_, indices)| indices);
        let known = neighbours
            .copied()
            .find(|index| kept.get(*index).is_some_and(|known| same(known, &next)));
        match known.and_then(|index| kept.get_mut(index)) {
            Some(known) => known.confidence = known.confidence.max(next.confidence),
            None => {
                by_start.entry(span.start).or_default().push(kept.len());
                kept.push(next);
            }
        }
    }
    kept
}

/// Overlapping bytes; and if both went through the same decoders, the same value.
fn same(a: &Located, b: &Located) -> bool {
    let overlap = a.place.span.start < b.place.span.end && b.place.span.start < a.place.span.end;
    let whole = a.place.span == b.place.span;
    (overlap || whole) && (a.place.chain != b.place.chain || a.value.compact() == b.value.compact())
}
