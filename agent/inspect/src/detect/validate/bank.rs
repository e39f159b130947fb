//! Bank numbers: IBAN (ISO 13616-1, check by ISO/IEC 7064 mod 97-10), ABA routing numbers, BIC (ISO 9362).

use super::countries::{iban_length, is_country};
use super::digits::{compact, exactly, two, uniform, weighted};

/// Country, length of that country, and remainder 1 modulo 97.
pub(super) fn iban(value: &str) -> bool {
    let Some(iban) = compact(value) else {
        return false;
    };
    let Some((head, account)) = iban.split_at_checked(4) else {
        return false;
    };
    let Some(country) = head.get(..2) else {
        return false;
    };
    iban_length(country) == Some(iban.len()) && remainder_97(account.bytes().chain(head.bytes())) == Some(1)
}

/// Remainder modulo 97 of the characters read as numbers, letters being 10 to 35.
fn remainder_97(characters: impl Iterator<Item = u8>) -> Option<u32> {
    characters
        .map(|c| char::from(c).to_digit(36))
        .try_fold(0, |rest, value| {
            let value = value?;
            let shift = if value < 10 { 10 } else { 100 };
            Some((rest * shift + value) % 97)
        })
}

/// American Bankers Association: a district that exists, and weights 3-7-1 adding up to a multiple of ten.
pub(super) fn aba_routing(value: &str) -> bool {
    let Some(digits) = exactly::<9>(value) else {
        return false;
    };
    let [first, second, ..] = digits;
    let district = two(first, second);
    let assigned = matches!(district, 1..=12 | 21..=32 | 61..=72 | 80);
    assigned && !uniform(&digits) && weighted(&digits, &[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10)
}

/// Letters five and six are a country; the party prefix has letters, the rest is alphanumeric, 8 or 11 in all.
pub(super) fn bic_country(value: &str) -> bool {
    let Some(bic) = compact(value) else {
        return false;
    };
    let party_is_letters = bic
        .get(..4)
        .is_some_and(|party| party.bytes().all(|b| b.is_ascii_alphabetic()));
    matches!(bic.len(), 8 | 11) && party_is_letters && bic.get(4..6).is_some_and(is_country)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Examples of the SWIFT IBAN registry.
    #[test]
    fn examples_of_the_iban_registry_hold() {
        for value in [
            "DE89 3704 0044 0532 0130 00",
            "GB29 NWBK 6016 1331 9268 19",
            "FR14 2004 1010 0505 0001 3M02 606",
            "ES91 2100 0418 4502 0005 1332",
            "IT60X0542811101000000123456",
            "NL91-ABNA-0417-1643-00",
            "PL61109010140000071219812874",
            "PT50000201231234567890154",
            "CH9300762011623852957",
            "NO93 8601 1117 947",
            "MT84MALT011000012345MTLCAST001S",
            "BR1800360305000010009795493C1",
            "SA0380000000608010167519",
        ] {
            assert!(iban(value), "{value}");
        }
    }

    #[test]
    fn a_wrong_digit_a_wrong_length_or_an_unknown_country_is_no_iban() {
        for value in [
            "DE89 3704 0044 0532 0130 01",
            "DE98 3704 0044 0532 0130 00",
            "DE89 3704 0044 0532 0130 0",
            "US89 3704 0044 0532 0130 00",
            "ZZ00",
            "",
            "DE",
            "D€89",
        ] {
            assert!(!iban(value), "{value}");
        }
    }

    /// Federal Reserve Banks of Boston and New York publish theirs.
    #[test]
    fn routing_numbers_need_a_district_and_the_check() {
        assert!(aba_routing("011000015"));
        assert!(aba_routing("021001208"));
        assert!(!aba_routing("011000016"));
        assert!(!aba_routing("000000000"));
        assert!(!aba_routing("02100120"));
    }

    #[test]
    fn a_bic_names_a_country() {
        assert!(bic_country("DEUTDEFF"));
        assert!(bic_country("DEUTDEFF500"));
        assert!(bic_country("NEDSZAJJ"));
        assert!(!bic_country("KEYWORDS"));
        assert!(!bic_country("DEUTDEFF50"));
        assert!(!bic_country("D3UTDEFF"));
    }
}
