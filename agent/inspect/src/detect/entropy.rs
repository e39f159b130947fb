//! Shannon entropy, which tells random tokens from words.

use std::collections::BTreeMap;

/// Bits per character (C. E. Shannon, 1948).
#[expect(
    clippy::cast_precision_loss,
    reason = "INVARIANT: values are shorter than 2^52 characters"
)]
pub(super) fn bits_per_character(value: &str) -> f64 {
    let mut counts: BTreeMap<char, usize> = BTreeMap::new();
    let mut total = 0_usize;
    for c in value.chars() {
        *counts.entry(c).or_default() += 1;
        total += 1;
    }
    counts
        .values()
        .map(|count| *count as f64 / total as f64)
        .map(|share| -share * share.log2())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_counts_bits() {
        assert!((bits_per_character("aaaa") - 0.0).abs() < 1e-9);
        assert!((bits_per_character("abcd") - 2.0).abs() < 1e-9);
        assert!((bits_per_character("") - 0.0).abs() < 1e-9);
    }
}
