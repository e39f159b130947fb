//! National ids of western and central Europe, each with the check digit of its authority.

use super::digits::{compact, day_exists, digits, exactly, number, two, uniform, weighted};

/// Letters that HMRC never uses first or second in a national insurance number.
const NINO_NOT_FIRST: &str = "DFIQUV";
const NINO_NOT_SECOND: &str = "DFIOQUV";
/// Prefixes that HMRC does not allocate.
const NINO_UNUSED: &[&str] = &["BG", "GB", "KN", "NK", "NT", "TN", "ZZ"];
/// Check letters of the Spanish DNI and NIE, by remainder modulo 23.
const DNI_LETTERS: &str = "TRWAGMYFPDXBNJZSQVHLCKE";
/// Months of an Italian codice fiscale, January first.
const CODICE_MONTHS: &str = "ABCDEHLMPRST";
/// Letters that stand for the digits 0-9 in a codice fiscale that would clash with another (omocodia).
const CODICE_OMOCODIA: &str = "LMNPQRSTUV";
/// Value of `0-9` or `A-J` and on, in odd places of a codice fiscale (Ministerial Decree of 23 December 1976).
const CODICE_ODD: [u32; 26] = [
    1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23,
];

/// National insurance number: an allocated prefix, six digits, a suffix A-D.
pub(super) fn uk_nino(value: &str) -> bool {
    let Some(nino) = compact(value) else {
        return false;
    };
    let (Some(prefix), Some(middle), Some(suffix)) = (nino.get(..2), nino.get(2..8), nino.get(8..)) else {
        return false;
    };
    let mut letters = prefix.chars();
    let allowed = |letter: Option<char>, never: &str| {
        letter.is_some_and(|c| c.is_ascii_uppercase() && !never.contains(c))
    };
    allowed(letters.next(), NINO_NOT_FIRST)
        && allowed(letters.next(), NINO_NOT_SECOND)
        && !NINO_UNUSED.contains(&prefix)
        && middle.bytes().all(|b| b.is_ascii_digit())
        && matches!(suffix, "" | "A" | "B" | "C" | "D")
}

/// NHS number: ten digits, weights 10 to 2 modulo 11.
pub(super) fn uk_nhs(value: &str) -> bool {
    let Some(digits) = exactly::<10>(value) else {
        return false;
    };
    let sum = weighted(&digits, &[10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
    !uniform(&digits) && sum.is_multiple_of(11)
}

/// Steuerliche Identifikationsnummer: one digit of the first ten twice or three times, ISO/IEC 7064 mod 11,10.
pub(super) fn de_steuer_id(value: &str) -> bool {
    let Some(digits) = exactly::<11>(value) else {
        return false;
    };
    let [first, .., check] = digits;
    let Some((_, head)) = digits.split_last() else {
        return false;
    };
    let counts = (0..=9_u8).map(|digit| head.iter().filter(|d| **d == digit).count());
    let repeated: Vec<usize> = counts.filter(|count| *count > 1).collect();
    first != 0 && matches!(repeated.as_slice(), [2 | 3]) && mod_11_10(head) == u32::from(check)
}

/// Check digit of ISO/IEC 7064 mod 11,10 over `digits`.
fn mod_11_10(digits: &[u8]) -> u32 {
    let product = digits.iter().fold(10, |product, digit| {
        let sum = (product + u32::from(*digit)) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - product) % 10
}

/// Numéro d'inscription au répertoire: key = 97 less the number modulo 97; Corsica's 2A and 2B count as 19 and 18.
pub(super) fn fr_nir(value: &str) -> bool {
    let Some(nir) = compact(value) else {
        return false;
    };
    let (Some(head), Some(department), Some(tail)) = (nir.get(..5), nir.get(5..7), nir.get(7..)) else {
        return false;
    };
    let department = match department {
        "2A" => "19",
        "2B" => "18",
        other => other,
    };
    let Some(digits) = exactly::<15>(&[head, department, tail].concat()) else {
        return false;
    };
    let [sex, _, _, m1, m2, .., k1, k2] = digits;
    let month_known = matches!(two(m1, m2), 1..=12 | 20..=42 | 50..=99);
    let key = digits.get(..13).and_then(number).map(|n| 97 - n % 97);
    matches!(sex, 1..=4 | 7 | 8) && month_known && key == Some(u64::from(two(k1, k2)))
}

/// DNI (eight digits and a letter) and NIE (X, Y or Z in place of the first digit).
pub(super) fn es_dni(value: &str) -> bool {
    let Some(dni) = compact(value) else {
        return false;
    };
    let (Some(head), Some(check)) = (dni.get(..8), dni.get(8..)) else {
        return false;
    };
    let head = head
        .replacen('X', "0", 1)
        .replacen('Y', "1", 1)
        .replacen('Z', "2", 1);
    let Some(digits) = exactly::<8>(&head) else {
        return false;
    };
    let letter_place_ok = dni.bytes().skip(1).take(7).all(|b| b.is_ascii_digit());
    let remainder = number(&digits).and_then(|n| usize::try_from(n % 23).ok());
    let expected = remainder.and_then(|at| DNI_LETTERS.get(at..=at));
    letter_place_ok && expected == Some(check)
}

/// Codice fiscale: the shape of its fields, and a check letter over odd and even places.
pub(super) fn it_codice_fiscale(value: &str) -> bool {
    let Some(codice) = compact(value) else {
        return false;
    };
    let bytes = codice.as_bytes();
    let Some((check, head)) = bytes.split_last() else {
        return false;
    };
    if bytes.len() != 16 || !codice_shape(&codice) {
        return false;
    }
    let sum: Option<u32> = head
        .iter()
        .enumerate()
        .map(|(place, b)| codice_value(place, *b))
        .sum();
    sum.is_some_and(|sum| u32::from(*check) == u32::from(b'A') + sum % 26)
}

/// Surname and name, year, month, day, place: letters where letters are due, digits or their omocodia letters elsewhere.
fn codice_shape(codice: &str) -> bool {
    let digit = |c: char| c.is_ascii_digit() || CODICE_OMOCODIA.contains(c);
    codice.chars().enumerate().all(|(place, c)| match place {
        0..=5 | 11 | 15 => c.is_ascii_uppercase(),
        8 => CODICE_MONTHS.contains(c),
        _ => digit(c),
    })
}

/// What a character counts at a place (from 0, so that even indices are the odd places of the decree).
fn codice_value(place: usize, byte: u8) -> Option<u32> {
    let c = char::from(byte);
    let ordinal = c.to_digit(10).or_else(|| c.to_digit(36).map(|d| d - 10))?;
    if place.is_multiple_of(2) {
        CODICE_ODD.get(usize::try_from(ordinal).ok()?).copied()
    } else {
        Some(ordinal)
    }
}

/// Burgerservicenummer: nine digits (eight of old), weights 9 to 2 and minus 1 modulo 11.
pub(super) fn nl_bsn(value: &str) -> bool {
    let Some(mut digits) = digits(value) else {
        return false;
    };
    if digits.len() == 8 {
        digits.insert(0, 0);
    }
    let Some((check, head)) = digits.split_last() else {
        return false;
    };
    let sum = weighted(head, &[9, 8, 7, 6, 5, 4, 3, 2]);
    digits.len() == 9 && !uniform(&digits) && sum % 11 == u32::from(*check)
}

/// AHV-Nummer / NAVS13: country 756 and the EAN-13 check digit.
pub(super) fn ch_ahv(value: &str) -> bool {
    let Some(digits) = exactly::<13>(value) else {
        return false;
    };
    let ean = weighted(&digits, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]);
    digits.starts_with(&[7, 5, 6]) && ean.is_multiple_of(10)
}

/// Rijksregisternummer: date, serial, and 97 less the first nine digits modulo 97, with a 2 in front from the year 2000.
///
/// BIS numbers add 20 or 40 to the month; an unknown month or day is 00.
pub(super) fn be_national_number(value: &str) -> bool {
    let Some(digits) = exactly::<11>(value) else {
        return false;
    };
    let [_, _, m1, m2, d1, d2, .., k1, k2] = digits;
    let month = match two(m1, m2) {
        m @ 0..=12 => m,
        m @ 20..=32 => m - 20,
        m @ 40..=52 => m - 40,
        _ => return false,
    };
    let day = two(d1, d2);
    let born = day_exists(month, day) || (month == 0 && day <= 31) || day == 0;
    let Some(nine) = digits.get(..9).and_then(number) else {
        return false;
    };
    let check = u64::from(two(k1, k2));
    born && nine != 0 && [nine, nine + 2_000_000_000].iter().any(|n| 97 - n % 97 == check)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(validator: fn(&str) -> bool, holding: &[&str], failing: &[&str]) {
        for value in holding {
            assert!(validator(value), "should hold: {value}");
        }
        for value in failing {
            assert!(!validator(value), "should fail: {value}");
        }
    }

    /// HMRC's own sample is QQ 12 34 56 C, which it does not allocate.
    #[test]
    fn nino_needs_an_allocated_prefix_and_a_suffix() {
        check(
            uk_nino,
            &["AB 12 34 56 C", "JG103759A", "ab123456c"],
            &[
                "QQ 12 34 56 C",
                "GB123456A",
                "AO123456A",
                "AB123456E",
                "AB12345",
                "A1123456A",
            ],
        );
    }

    /// Example of python-stdnum's documentation; 401 023 2137 is the sample of NHS England's data dictionary.
    #[test]
    fn nhs_number_needs_its_check_digit() {
        check(
            uk_nhs,
            &["943 476 5870", "4010232137", "943-476-5919"],
            &["9434765871", "943476587", "0000000000"],
        );
    }

    /// Sample numbers that the Bundeszentralamt für Steuern publishes.
    #[test]
    fn steuer_id_needs_its_repeated_digit_and_check() {
        check(
            de_steuer_id,
            &["86095742719", "47036892816", "65929970489", "36 574 261 809"],
            &[
                "36574261890",
                "36554266806",
                "06574261809",
                "12345678901",
                "11111111111",
            ],
        );
    }

    /// Example of python-stdnum's documentation and INSEE's own for Corsica's departments.
    #[test]
    fn nir_needs_its_key_also_in_corsica() {
        check(
            fr_nir,
            &[
                "2 95 10 99 126 111 93",
                "253072B07300470",
                "253072A07300443",
                "1 84 12 76 451 089 46",
            ],
            &[
                "295109912611199",
                "253072C07300443",
                "253072A07300444",
                "295139912611193",
            ],
        );
    }

    /// Examples of python-stdnum's documentation; 12345678Z is the interior ministry's sample.
    #[test]
    fn dni_and_nie_need_their_letter() {
        check(
            es_dni,
            &["54362315-K", "12345678Z", "X-2482300W", "x5253868r"],
            &["54362315Z", "X2482300A", "1234X678Z", "12345678", "123456789"],
        );
    }

    /// Rossi, Mario, the usual sample; an example of python-stdnum, and the same with a letter of omocodia.
    #[test]
    fn codice_fiscale_needs_shape_and_check_letter() {
        check(
            it_codice_fiscale,
            &["RSSMRA85T10A562S", "RCCMNL83S18D969H", "RCCMNL83S18D96VW"],
            &[
                "RCCMNL83S18D967H",
                "RCCMNL83X18D969H",
                "RSSMRA85T10A562T",
                "RSSMRA85T10A562",
            ],
        );
    }

    /// Example of python-stdnum; 111222333 is what Dutch test systems use.
    #[test]
    fn bsn_passes_the_eleven_test() {
        check(
            nl_bsn,
            &["1112.22.333", "111222333", "123456782"],
            &["1112.52.333", "123456789", "000000000", "1112223334"],
        );
    }

    /// Sample of the Swiss central compensation office.
    #[test]
    fn ahv_needs_the_country_and_check_digit() {
        check(
            ch_ahv,
            &["756.9217.0769.85", "7569217076985"],
            &["756.9217.0769.84", "123.4567.8910.19", "756.9217.0769"],
        );
    }

    /// Examples of python-stdnum's documentation.
    #[test]
    fn national_number_counts_births_before_and_after_2000() {
        check(
            be_national_number,
            &["85.07.30-033 28", "17 07 30 033 84", "98.47.28-997.65"],
            &["12 34 56 789 01", "85.13.30-033 28", "85073003329"],
        );
    }
}
