//! National ids of the Americas: US social security number, Brazilian CPF.

use super::digits::{exactly, number, uniform, weighted};

/// US Social Security Administration: no area 000, 666 or 900-999, no group 00, no serial 0000.
pub(super) fn us_ssn(value: &str) -> bool {
    let Some(digits) = exactly::<9>(value) else {
        return false;
    };
    let [a, b, c, d, e, serial @ ..] = digits;
    let area = number(&[a, b, c]);
    area.is_some_and(|area| !matches!(area, 0 | 666 | 900..))
        && (d, e) != (0, 0)
        && serial != [0; 4]
        && !uniform(&digits)
}

/// Receita Federal: two check digits, each by weights modulo 11.
pub(super) fn br_cpf(value: &str) -> bool {
    let Some(digits) = exactly::<11>(value) else {
        return false;
    };
    let [.., first, second] = digits;
    let check = |weights: &[u32]| match weighted(&digits, weights) % 11 {
        0 | 1 => 0,
        rest => 11 - rest,
    };
    !uniform(&digits)
        && check(&[10, 9, 8, 7, 6, 5, 4, 3, 2]) == u32::from(first)
        && check(&[11, 10, 9, 8, 7, 6, 5, 4, 3, 2]) == u32::from(second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn social_security_numbers_outside_the_issued_ranges_fail() {
        assert!(us_ssn("536-90-4399"));
        assert!(us_ssn("078-05-1120"));
        for value in [
            "000-12-3456",
            "666-12-3456",
            "900-12-3456",
            "536-00-4399",
            "536-90-0000",
            "111-11-1111",
            "536-90-439",
        ] {
            assert!(!us_ssn(value), "{value}");
        }
    }

    /// Example of python-stdnum's documentation.
    #[test]
    fn cpf_needs_both_check_digits() {
        assert!(br_cpf("390.533.447-05"));
        assert!(!br_cpf("231.002.999-00"));
        assert!(!br_cpf("111.111.111-11"));
        assert!(!br_cpf("390.533.447"));
    }
}
