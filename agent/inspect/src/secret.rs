//! Matched text, kept away from logs.

use std::fmt;

use zeroize::Zeroizing;

/// Shortest value, in letters and digits, whose last four may be shown: half of it stays hidden.
const SHOW_FROM: usize = 9;
/// Letters and digits at the end that a mask keeps.
const SHOWN: usize = 4;

/// Matched text. `Debug` prints its length; memory is wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub(crate) fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The text itself: for the author's own card on their own device, and, where the author chose it, sealed to the
    /// compliance key in a report of a false positive.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The text with every letter and digit hidden but the last four; values under nine are hidden whole.
    #[must_use]
    pub fn masked(&self) -> String {
        mask(&self.0, SHOWN)
    }

    /// Letters and digits alone, in lower case: equal for the same value in another grouping.
    pub(crate) fn compact(&self) -> Zeroizing<String> {
        Zeroizing::new(compact(&self.0))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// ASCII letters and digits of a value, in lower case.
pub(crate) fn compact(value: &str) -> String {
    value
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

/// Replaces letters, digits and whatever else is not a separator by `*`, keeping `shown` at the end of long values.
pub(crate) fn mask(value: &str, shown: usize) -> String {
    let hides = |c: char| !matches!(c, ' ' | '-' | '.' | '/' | '\n' | '\r' | '\t');
    let total = value.chars().filter(|c| hides(*c)).count();
    let mut hide = if total < SHOW_FROM {
        total
    } else {
        total.saturating_sub(shown)
    };
    let masked = |c: char| match (hides(c), hide) {
        (true, 1..) => {
            hide -= 1;
            '*'
        }
        (true | false, _) => c,
    };
    value.chars().map(masked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_a_secret_prints_its_length() {
        assert_eq!(format!("{:?}", Secret::new("4111".into())), "Secret(4 bytes)");
    }

    /// F3
    #[test]
    fn a_mask_keeps_the_last_four_of_long_values_and_nothing_of_short_ones() {
        assert_eq!(
            Secret::new("4539 3195 0343 6467".into()).masked(),
            "**** **** **** 6467"
        );
        assert_eq!(Secret::new("536-90-4399".into()).masked(), "***-**-4399");
        assert_eq!(Secret::new("hunter2".into()).masked(), "*******");
        assert_eq!(mask("tr0mbone-Kettle-41", 0), "********-******-**");
    }
}
