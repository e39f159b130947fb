//! National ids of Poland and Sweden: both carry a date of birth and a check digit.

use super::card::luhn_holds;
use super::digits::{day_exists, digits, exactly, two, weighted};

/// PESEL: weights 1-3-7-9, and a month that also tells the century (plus 20, 40, 60 or 80).
pub(super) fn pl_pesel(value: &str) -> bool {
    let Some(digits) = exactly::<11>(value) else {
        return false;
    };
    let [_, _, m1, m2, d1, d2, ..] = digits;
    let born = day_exists(two(m1, m2) % 20, two(d1, d2));
    born && weighted(&digits, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]).is_multiple_of(10)
}

/// Personnummer and samordningsnummer (day plus 60): a date, and Luhn over the last ten digits.
///
/// The sign between date and serial may be `-`, or `+` for people over a hundred.
pub(super) fn se_luhn_date(value: &str) -> bool {
    let Some(digits) = digits(&value.replacen('+', "-", 1)) else {
        return false;
    };
    let ten = match digits.as_slice() {
        [1, 8 | 9, ten @ ..] | [2, 0, ten @ ..] if ten.len() == 10 => ten,
        ten if ten.len() == 10 => ten,
        _ => return false,
    };
    let [_, _, m1, m2, d1, d2, ..] = ten else {
        return false;
    };
    let day = two(*d1, *d2);
    let day = if day > 60 { day - 60 } else { day };
    day_exists(two(*m1, *m2), day) && luhn_holds(ten)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Examples of python-stdnum's documentation.
    #[test]
    fn pesel_needs_a_date_and_the_check_digit() {
        assert!(pl_pesel("44051401359"));
        assert!(pl_pesel("05251501230"), "born in 2005");
        assert!(pl_pesel("92031500019"));
        assert!(!pl_pesel("44051401358"));
        assert!(!pl_pesel("92133500019"));
        assert!(!pl_pesel("00000000000"));
        assert!(!pl_pesel("4405140135"));
    }

    /// Examples of python-stdnum's documentation.
    #[test]
    fn personnummer_needs_a_date_and_luhn() {
        assert!(se_luhn_date("880320-0016"));
        assert!(se_luhn_date("8803200016"));
        assert!(se_luhn_date("19880320-0016"));
        assert!(!se_luhn_date("880320-0018"));
        assert!(!se_luhn_date("881320-0015"));
        assert!(!se_luhn_date("17880320-0016"));
        assert!(!se_luhn_date("880320"));
    }
}
