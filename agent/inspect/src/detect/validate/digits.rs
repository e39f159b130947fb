//! What the check-digit validators share: compact forms, weighted sums, calendar dates.

/// Characters that people put between the groups of a number.
const SEPARATORS: &[char] = &[' ', '-', '.', '/', '_', '\t', '\n', '\r', '\u{a0}'];

/// The digits of `value` as numbers 0-9; `None` if anything but digits and separators is in it.
pub(super) fn digits(value: &str) -> Option<Vec<u8>> {
    value
        .chars()
        .filter(|c| !SEPARATORS.contains(c))
        .map(|c| c.to_digit(10).and_then(|d| u8::try_from(d).ok()))
        .collect()
}

/// The digits of `value` if there are exactly `N`.
pub(super) fn exactly<const N: usize>(value: &str) -> Option<[u8; N]> {
    digits(value)?.try_into().ok()
}

/// `value` without separators, letters upper-case; `None` if anything but ASCII letters and digits is left.
pub(super) fn compact(value: &str) -> Option<String> {
    let compact: String = value
        .chars()
        .filter(|c| !SEPARATORS.contains(c))
        .map(|c| c.to_ascii_uppercase())
        .collect();
    compact
        .bytes()
        .all(|b| b.is_ascii_alphanumeric())
        .then_some(compact)
}

/// Sum of digit times weight; the shorter of the two ends it.
pub(super) fn weighted(digits: &[u8], weights: &[u32]) -> u32 {
    digits
        .iter()
        .zip(weights)
        .map(|(digit, weight)| u32::from(*digit) * weight)
        .sum()
}

/// The digits read as one decimal number. At most 19 digits fit; longer input wraps to `None`.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    digits
        .iter()
        .try_fold(0_u64, |n, d| n.checked_mul(10)?.checked_add(u64::from(*d)))
}

/// Whether every digit is the same, as in a filled-in blank.
pub(super) fn uniform(digits: &[u8]) -> bool {
    digits.windows(2).all(|pair| pair.first() == pair.last())
}

/// Whether a day and month exist in some year (29 February does).
pub(super) fn day_exists(month: u32, day: u32) -> bool {
    let days = match month {
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    (1..=days).contains(&day)
}

/// Two digits as a number.
pub(super) fn two(tens: u8, units: u8) -> u32 {
    u32::from(tens) * 10 + u32::from(units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_are_stripped_and_other_characters_refused() {
        assert_eq!(digits("12-3 4.5"), Some(vec![1, 2, 3, 4, 5]));
        assert_eq!(digits("12a"), None);
        assert_eq!(compact("de 89-ab"), Some("DE89AB".to_owned()));
        assert_eq!(compact("d€"), None);
    }

    #[test]
    fn a_leap_day_exists_and_the_31st_of_april_does_not() {
        assert!(day_exists(2, 29));
        assert!(!day_exists(4, 31));
        assert!(!day_exists(13, 1));
        assert!(!day_exists(1, 0));
    }
}
