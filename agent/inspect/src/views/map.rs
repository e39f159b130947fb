//! From offsets of a view back to offsets of what it was made from.

use std::ops::Range;

/// Pieces in rising order of `out`. A piece turns units of `source_unit` bytes into units of `out_unit` bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OffsetMap {
    pieces: Vec<Piece>,
    out_len: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    out: Range<usize>,
    source: Range<usize>,
    out_unit: usize,
    source_unit: usize,
}

impl OffsetMap {
    /// Every byte stands for itself.
    pub(crate) fn identity(len: usize) -> Self {
        let mut map = Self::default();
        map.copy(0..len);
        map
    }

    /// Appends bytes that were copied one by one.
    pub(crate) fn copy(&mut self, source: Range<usize>) {
        let len = source.len();
        self.append(len, source, 1, 1);
    }

    /// Appends `out_len` bytes that stand for `source` as a whole.
    pub(crate) fn unit(&mut self, out_len: usize, source: Range<usize>) {
        let source_unit = source.len();
        self.append(out_len, source, out_len, source_unit);
    }

    /// The smallest range of the source that covers `out`.
    pub(crate) fn source(&self, out: &Range<usize>) -> Range<usize> {
        let start = self
            .piece_at(out.start)
            .map_or(0, |piece| piece.start_of(out.start));
        let end = match out.end.checked_sub(1).filter(|last| *last >= out.start) {
            Some(last) => self.piece_at(last).map_or(start, |piece| piece.end_of(last)),
            None => start,
        };
        start..end.max(start)
    }

    /// This map, with its source taken through the map that made that source.
    pub(crate) fn through(self, outer: &Self) -> Self {
        let mut map = Self::default();
        for piece in self.pieces {
            if piece.out_unit == 1 && piece.source_unit == 1 {
                outer.copy_into(&piece.source, &mut map);
                continue;
            }
            let mut at = piece.out.start;
            while at < piece.out.end {
                let end = (at + piece.out_unit).min(piece.out.end);
                let source = piece.start_of(at)..piece.end_of(end - 1);
                map.unit(end - at, outer.source(&source));
                at = end;
            }
        }
        map
    }

    /// Appends the pieces that make up `range` of what this map made.
    fn copy_into(&self, range: &Range<usize>, map: &mut Self) {
        let first = self.pieces.partition_point(|piece| piece.out.end <= range.start);
        for piece in self
            .pieces
            .iter()
            .skip(first)
            .take_while(|piece| piece.out.start < range.end)
        {
            let start = piece.out.start.max(range.start);
            let end = piece.out.end.min(range.end);
            let source = self.source(&(start..end));
            map.append(end - start, source, piece.out_unit, piece.source_unit);
        }
    }

    fn append(&mut self, out_len: usize, source: Range<usize>, out_unit: usize, source_unit: usize) {
        if out_len == 0 {
            return;
        }
        let out = self.out_len..self.out_len + out_len;
        self.out_len = out.end;
        match self.pieces.last_mut() {
            Some(last)
                if last.source.end == source.start
                    && last.out_unit == out_unit
                    && last.source_unit == source_unit =>
            {
                last.out.end = out.end;
                last.source.end = source.end;
            }
            Some(_) | None => self.pieces.push(Piece {
                out,
                source,
                out_unit,
                source_unit,
            }),
        }
    }

    fn piece_at(&self, offset: usize) -> Option<&Piece> {
        let after = self.pieces.partition_point(|piece| piece.out.end <= offset);
        self.pieces.get(after).or_else(|| self.pieces.last())
    }
}

impl Piece {
    fn start_of(&self, offset: usize) -> usize {
        let units = offset.saturating_sub(self.out.start) / self.out_unit;
        (self.source.start + units * self.source_unit).min(self.source.end)
    }

    fn end_of(&self, last: usize) -> usize {
        let units = last.saturating_sub(self.out.start) / self.out_unit + 1;
        (self.source.start + units * self.source_unit).min(self.source.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copied_bytes_map_to_themselves() {
        let map = OffsetMap::identity(10);
        assert_eq!(map.source(&(2..5)), 2..5);
        assert_eq!(map.source(&(10..10)), 10..10);
    }

    #[test]
    fn units_map_to_the_whole_of_what_they_stand_for() {
        let mut map = OffsetMap::default();
        map.copy(0..3);
        map.unit(1, 3..6);
        map.unit(1, 6..9);
        map.unit(3, 9..13);
        map.unit(3, 13..17);
        assert_eq!(map.source(&(2..4)), 2..6);
        assert_eq!(map.source(&(4..5)), 6..9);
        assert_eq!(map.source(&(6..7)), 9..13);
        assert_eq!(map.source(&(6..9)), 9..17);
    }

    #[test]
    fn maps_go_through_each_other_unit_by_unit() {
        let mut inner = OffsetMap::default();
        inner.unit(1, 0..2);
        inner.unit(1, 2..4);
        let mut outer = OffsetMap::default();
        outer.unit(3, 10..14);
        outer.unit(1, 14..16);
        let map = inner.through(&outer);
        assert_eq!(map.source(&(0..1)), 10..14);
        assert_eq!(map.source(&(1..2)), 10..16);
    }

    #[test]
    fn a_gap_in_the_source_belongs_to_the_range_around_it() {
        let mut map = OffsetMap::default();
        map.copy(0..2);
        map.copy(5..7);
        assert_eq!(map.source(&(1..3)), 1..6);
    }
}
