//! Validators: what a pattern cannot say (check digits, assigned ranges, token checksums).
//!
//! A detector names its validators; a match counts only when all of them hold. Each is a pure function of the
//! matched value and reads it with its separators, because people write numbers in groups.
//!
//! **Architecture Invariant**: a validator never copies a value into an error, a log or its result; it answers yes or no.

mod bank;
mod card;
mod contact;
mod countries;
mod digits;
mod national_americas;
mod national_europe;
mod national_nordic_east;
mod secret;

use policies::terms::Validator;

/// Whether `value`, the capture of a pattern with its separators, holds under `validator`.
pub(crate) fn holds(validator: Validator, value: &str) -> bool {
    match validator {
        Validator::Luhn => card::luhn(value),
        Validator::CardIssuer => card::issuer(value),
        Validator::Iban => bank::iban(value),
        Validator::AbaRouting => bank::aba_routing(value),
        Validator::BicCountry => bank::bic_country(value),
        Validator::UsSsn => national_americas::us_ssn(value),
        Validator::BrCpf => national_americas::br_cpf(value),
        Validator::UkNino => national_europe::uk_nino(value),
        Validator::UkNhs => national_europe::uk_nhs(value),
        Validator::DeSteuerId => national_europe::de_steuer_id(value),
        Validator::FrNir => national_europe::fr_nir(value),
        Validator::EsDni => national_europe::es_dni(value),
        Validator::ItCodiceFiscale => national_europe::it_codice_fiscale(value),
        Validator::NlBsn => national_europe::nl_bsn(value),
        Validator::ChAhv => national_europe::ch_ahv(value),
        Validator::BeNationalNumber => national_europe::be_national_number(value),
        Validator::PlPesel => national_nordic_east::pl_pesel(value),
        Validator::SeLuhnDate => national_nordic_east::se_luhn_date(value),
        Validator::GithubCrc32 => secret::github_crc32(value),
        Validator::NotPlaceholder => secret::not_placeholder(value),
        Validator::NotProse => secret::not_prose(value),
        Validator::JwtHeader => secret::jwt_header(value),
        Validator::Email => contact::email(value),
        Validator::PhoneLength => contact::phone_length(value),
        Validator::IpPublic => contact::ip_public(value),
    }
}
