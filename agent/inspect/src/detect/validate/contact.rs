//! Contact data: e-mail addresses (RFC 5321), telephone numbers (ITU-T E.164), public network addresses (IANA registries).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use super::countries::begins_with_calling_code;

/// RFC 5321, section 4.5.3.1: octets of a local part, of a domain; RFC 1035: octets of a label.
const LOCAL_PART_MAX: usize = 64;
const DOMAIN_MAX: usize = 255;
const LABEL_MAX: usize = 63;
/// Endings of file names that follow an `@` in asset names such as `logo@2x.png`; none is a top-level domain.
const FILE_ENDINGS: &[&str] = &[
    "png", "jpg", "jpeg", "gif", "webp", "svg", "css", "scss", "json", "html", "htm", "txt", "js", "ts",
    "jsx", "tsx", "yaml", "yml", "toml", "lock",
];
/// Digits of an international number with its calling code (E.164: at most 15).
const INTERNATIONAL_DIGITS: RangeInclusive<usize> = 8..=15;
/// Digits of a number as it is dialled within a country.
const NATIONAL_DIGITS: RangeInclusive<usize> = 7..=12;

/// A deliverable shape: dots in their places, lengths within bounds, a top-level domain of letters.
pub(super) fn email(value: &str) -> bool {
    let Some((local, domain)) = value.rsplit_once('@') else {
        return false;
    };
    let local_ok =
        (1..=LOCAL_PART_MAX).contains(&local.len()) && local.split('.').all(|atom| !atom.is_empty());
    local_ok && domain_holds(domain)
}

fn domain_holds(domain: &str) -> bool {
    let Some((rest, top)) = domain.rsplit_once('.') else {
        return false;
    };
    let label_ok = |label: &str| {
        (1..=LABEL_MAX).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    let top_ok = top.len() >= 2 && (top.bytes().all(|b| b.is_ascii_alphabetic()) || top.starts_with("xn--"));
    domain.len() <= DOMAIN_MAX
        && rest.split('.').all(label_ok)
        && top_ok
        && !FILE_ENDINGS.contains(&top.to_ascii_lowercase().as_str())
}

/// Digits as many as E.164 or a national plan allows, an assigned calling code where there is one, not all the same.
pub(super) fn phone_length(value: &str) -> bool {
    let digits: String = value.chars().filter(char::is_ascii_digit).collect();
    if is_uniform(&digits) {
        return false;
    }
    match international(value, &digits) {
        Some(number) => INTERNATIONAL_DIGITS.contains(&number.len()) && begins_with_calling_code(number),
        None => {
            NATIONAL_DIGITS.contains(&digits.len()) && !is_date(value) && value.parse::<Ipv4Addr>().is_err()
        }
    }
}

/// The digits after `+` or `00`.
fn international<'a>(value: &str, digits: &'a str) -> Option<&'a str> {
    if value.trim_start_matches(['(', ' ']).starts_with('+') {
        Some(digits)
    } else {
        digits.strip_prefix("00")
    }
}

/// Year, month and day in the order of ISO 8601, however they are separated.
fn is_date(value: &str) -> bool {
    let parts: Vec<&str> = value.split(['-', '.', '/', ' ']).collect();
    match parts.as_slice() {
        [year, month, day] => {
            year.len() == 4
                && (year.starts_with("19") || year.starts_with("20"))
                && month.len() == 2
                && day.len() == 2
        }
        _ => false,
    }
}

fn is_uniform(digits: &str) -> bool {
    let mut seen = digits.chars();
    let first = seen.next();
    seen.all(|c| Some(c) == first)
}

/// An address that the IANA special-purpose registries leave to the public Internet.
pub(super) fn ip_public(value: &str) -> bool {
    match value.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => v4_public(address),
        Ok(IpAddr::V6(address)) => v6_public(address),
        Err(_) => false,
    }
}

fn v4_public(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let benchmark = a == 198 && (b == 18 || b == 19);
    let protocol = (a, b, c) == (192, 0, 0);
    !(a == 0
        || a >= 224
        || shared
        || benchmark
        || protocol
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation())
}

/// Global unicast is 2000::/3; 2001:db8::/32 and 3fff::/20 are for documentation, 2001::/23 for protocols.
fn v6_public(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let documentation = (first, second) == (0x2001, 0x0db8) || (first == 0x3fff && second < 0x1000);
    let protocol = first == 0x2001 && second < 0x0200;
    first & 0xe000 == 0x2000 && !documentation && !protocol
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

    #[test]
    fn an_address_has_atoms_and_a_top_level_domain() {
        check(
            email,
            &[
                "ana.lima@acme.example",
                "o'neil+tag@mail.acme.co.uk",
                "a@xn--bcher-kva.example",
                "x@y.xn--p1ai",
            ],
            &[
                "logo@2x.png",
                "a..b@acme.example",
                ".a@acme.example",
                "a@acme",
                "a@-acme.example",
                "@acme.example",
                "a@acme.e",
                "a@acme.1x",
            ],
        );
    }

    /// Numbers of the ranges that Ofcom, the NANPA and the Bundesnetzagentur keep for fiction.
    #[test]
    fn a_number_has_a_calling_code_and_a_length() {
        check(
            phone_length,
            &[
                "+44 20 7946 0958",
                "+1 (415) 555-0132",
                "0049 30 23125 123",
                "020 7946 0958",
                "(415) 555-0132",
                "+351 21 000 0000",
            ],
            &[
                "+999",
                "+210",
                "555",
                "0000000000",
                "+1 415",
                "+28 123 456 789",
                "1234567890123456",
                "2026-11-23",
                "192.168.100.12",
            ],
        );
    }

    /// Ranges of the IANA special-purpose address registries.
    #[test]
    fn addresses_of_special_purpose_are_not_public() {
        check(
            ip_public,
            &[
                "8.8.8.8",
                "1.1.1.1",
                "2606:4700:4700::1111",
                "2001:4860:4860::8888",
            ],
            &[
                "10.0.0.1",
                "192.168.1.1",
                "172.16.0.1",
                "127.0.0.1",
                "169.254.1.1",
                "100.64.0.1",
                "192.0.2.1",
                "198.51.100.7",
                "203.0.113.9",
                "0.0.0.0",
                "224.0.0.1",
                "255.255.255.255",
                "198.18.0.1",
                "::1",
                "fe80::1",
                "fc00::1",
                "2001:db8::1",
                "1.2.3",
                "1.2.3.4.5",
                "300.1.1.1",
            ],
        );
    }
}
