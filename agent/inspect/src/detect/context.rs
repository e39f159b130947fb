//! Words around a value (N5): whole words, before and after, counted in characters.

use std::ops::Range;

/// Longest keyword, in bytes.
const WORD_BYTES: usize = 1_024;

/// Words of one detector that stand in one text.
#[derive(Clone, Default)]
pub(crate) struct WordHits {
    pub(crate) keywords: Vec<Range<usize>>,
    pub(crate) negatives: Vec<Range<usize>>,
}

/// A value in a text, with the words around it.
pub(crate) struct Around<'t> {
    pub(crate) text: &'t str,
    pub(crate) value: Range<usize>,
    pub(crate) hits: &'t WordHits,
}

/// The value in its view, and in the text that the view was made from.
pub(crate) struct Words<'t> {
    pub(crate) inner: Around<'t>,
    pub(crate) outer: Option<Around<'t>>,
}

impl Words<'_> {
    pub(crate) fn keyword_within(&self, characters: usize) -> bool {
        self.any(|around| around.near(&around.hits.keywords, characters))
    }

    pub(crate) fn negative_within(&self, characters: usize) -> bool {
        self.any(|around| around.near(&around.hits.negatives, characters))
    }

    fn any(&self, holds: impl Fn(&Around<'_>) -> bool) -> bool {
        holds(&self.inner) || self.outer.as_ref().is_some_and(holds)
    }
}

impl Around<'_> {
    fn near(&self, words: &[Range<usize>], characters: usize) -> bool {
        // In the order of their ends. A character is four bytes at most.
        let reach = characters.saturating_mul(4);
        let first = words.partition_point(|word| word.end < self.value.start.saturating_sub(reach));
        let last_end = self.value.end.saturating_add(reach).saturating_add(WORD_BYTES);
        let near = words.iter().skip(first).take_while(|word| word.end <= last_end);
        near.map(|word| self.distance(word))
            .any(|distance| distance.is_some_and(|d| d <= characters))
    }

    /// Characters between a word and the value; none if the word is part of the value.
    fn distance(&self, word: &Range<usize>) -> Option<usize> {
        if word.start >= self.value.start && word.end <= self.value.end {
            return None;
        }
        let between = if word.end <= self.value.start {
            word.end..self.value.start
        } else {
            self.value.end..word.start
        };
        let bytes = self.text.as_bytes().get(between).unwrap_or_default();
        Some(bytes.iter().filter(|b| **b & 0xC0 != 0x80).count())
    }
}

/// Whether the word at `range` stands on its own. Scripts that put no spaces between words need no boundary.
pub(crate) fn is_whole_word(text: &str, range: &Range<usize>) -> bool {
    let inside = text.get(range.clone()).unwrap_or_default();
    let before = text.get(..range.start).and_then(|t| t.chars().next_back());
    let after = text.get(range.end..).and_then(|t| t.chars().next());
    let parted = |edge: Option<char>, beyond: Option<char>| {
        !(edge.is_some_and(needs_boundary) && beyond.is_some_and(char::is_alphanumeric))
    };
    parted(inside.chars().next(), before) && parted(inside.chars().next_back(), after)
}

/// Letters and digits of scripts with spaces between words.
fn needs_boundary(c: char) -> bool {
    let spaceless = matches!(u32::from(c), 0x0E00..=0x0EFF | 0x1000..=0x109F | 0x1780..=0x17FF | 0x3040..=0x30FF | 0x3400..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x3FFFF);
    c.is_alphanumeric() && !spaceless
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str, word: &str) -> bool {
        let at = text.find(word).unwrap();
        is_whole_word(text, &(at..at + word.len()))
    }

    #[test]
    fn words_stand_on_their_own() {
        assert!(whole("my card: 4", "card"));
        assert!(whole("{\"card_number\": 4}", "card"));
        assert!(!whole("discard it", "card"));
        assert!(!whole("cards", "card"));
        assert!(whole("私のカード番号4539", "カード番号"));
    }

    #[test]
    fn distance_is_counted_in_characters_on_either_side() {
        let text = "card éé 4539 visa";
        let hits = WordHits {
            keywords: std::iter::once(0..4).collect(),
            negatives: std::iter::once(15..19).collect(),
        };
        let around = Around {
            text,
            value: 10..14,
            hits: &hits,
        };
        assert_eq!(around.distance(&(0..4)), Some(4));
        assert_eq!(around.distance(&(15..19)), Some(1));
        assert_eq!(around.distance(&(10..14)), None);
    }
}
