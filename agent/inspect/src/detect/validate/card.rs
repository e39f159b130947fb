//! Payment cards: Luhn (ISO/IEC 7812-1 annex B) and the issuer ranges that the schemes publish.

use std::ops::RangeInclusive;

use super::digits::digits;

/// Shortest and longest account number of ISO/IEC 7812-1 in use.
const LENGTHS: RangeInclusive<usize> = 12..=19;

/// First six digits and the lengths of account numbers issued under them.
struct IssuerRange {
    prefixes: RangeInclusive<u32>,
    lengths: &'static [usize],
}

const fn issued(first: u32, last: u32, lengths: &'static [usize]) -> IssuerRange {
    IssuerRange {
        prefixes: first..=last,
        lengths,
    }
}

const SIXTEEN: &[usize] = &[16];
const SIXTEEN_UP: &[usize] = &[16, 17, 18, 19];
const FOURTEEN_UP: &[usize] = &[14, 15, 16, 17, 18, 19];
const TWELVE_UP: &[usize] = &[12, 13, 14, 15, 16, 17, 18, 19];

const ISSUERS: &[IssuerRange] = &[
    issued(220_000, 220_499, SIXTEEN_UP),    // Mir
    issued(222_100, 272_099, SIXTEEN),       // Mastercard, series 2
    issued(300_000, 305_999, FOURTEEN_UP),   // Diners Club
    issued(309_500, 309_599, FOURTEEN_UP),   // Diners Club
    issued(340_000, 349_999, &[15]),         // American Express
    issued(352_800, 358_999, SIXTEEN_UP),    // JCB
    issued(360_000, 369_999, FOURTEEN_UP),   // Diners Club
    issued(370_000, 379_999, &[15]),         // American Express
    issued(380_000, 399_999, FOURTEEN_UP),   // Diners Club
    issued(400_000, 499_999, &[13, 16, 19]), // Visa
    issued(501_800, 501_899, TWELVE_UP),     // Maestro
    issued(502_000, 502_099, TWELVE_UP),     // Maestro
    issued(503_800, 503_899, TWELVE_UP),     // Maestro
    issued(508_000, 508_999, SIXTEEN),       // RuPay
    issued(510_000, 559_999, SIXTEEN),       // Mastercard, series 5
    issued(561_200, 561_299, TWELVE_UP),     // Maestro
    issued(589_300, 589_399, TWELVE_UP),     // Maestro
    issued(601_100, 601_199, SIXTEEN_UP),    // Discover
    issued(606_985, 607_984, SIXTEEN),       // RuPay
    issued(608_001, 608_500, SIXTEEN),       // RuPay
    issued(620_000, 629_999, SIXTEEN_UP),    // UnionPay, Discover
    issued(630_400, 630_499, TWELVE_UP),     // Maestro
    issued(644_000, 659_999, SIXTEEN_UP),    // Discover, RuPay
    issued(675_900, 676_399, TWELVE_UP),     // Maestro
    issued(810_000, 817_199, SIXTEEN_UP),    // UnionPay
];

/// Luhn's formula over 12 to 19 digits.
pub(super) fn luhn(value: &str) -> bool {
    digits(value).is_some_and(|d| LENGTHS.contains(&d.len()) && luhn_holds(&d))
}

/// Luhn's formula: every second digit from the right is doubled, the digit sums add up to a multiple of ten.
pub(super) fn luhn_holds(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, u32::from(*digit)) {
            (0, d) => d,
            (_, d) if d < 5 => d * 2,
            (_, d) => d * 2 - 9,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Whether a scheme issues account numbers of this length under this prefix.
pub(super) fn issuer(value: &str) -> bool {
    let Some(digits) = digits(value) else {
        return false;
    };
    let prefix = digits.iter().take(6).fold(0, |n, d| n * 10 + u32::from(*d));
    ISSUERS
        .iter()
        .any(|range| range.prefixes.contains(&prefix) && range.lengths.contains(&digits.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, luhn_expected: bool, issuer_expected: bool) {
        assert_eq!(
            (luhn(value), issuer(value)),
            (luhn_expected, issuer_expected),
            "{value}"
        );
    }

    /// Test numbers that the schemes and their processors publish.
    #[test]
    fn published_test_cards_hold() {
        check("4111 1111 1111 1111", true, true);
        check("4222222222222", true, true);
        check("5555-5555-5555-4444", true, true);
        check("2223003122003222", true, true);
        check("3782 822463 10005", true, true);
        check("6011111111111117", true, true);
        check("30569309025904", true, true);
        check("3530111333300000", true, true);
        check("6200000000000005", true, true);
        check("6759649826438453", true, true);
    }

    /// An IMEI satisfies Luhn, but no scheme issues its range.
    #[test]
    fn look_alikes_fail_one_of_the_two() {
        check("4111 1111 1111 1112", false, true);
        check("490154203237518", true, false);
        check("0000000000000000", true, false);
        check("1234567890123456", false, false);
        check("79927398713", false, false);
        check("4111x1111", false, false);
    }
}
