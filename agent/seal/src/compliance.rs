//! The sealed part of a clearance or of an event: findings and justification, for the tenant's compliance key alone (K25).
//!
//! ```text
//! sealed    = encapsulated key (32) || ciphertext
//! HPKE      = base mode, X25519-HKDF-SHA256, HKDF-SHA256, ChaCha20Poly1305 (RFC 9180)
//! info      = "sealgate/sealed/1", associated data = cti or event id
//! plaintext = length (2, big-endian) || canonical CBOR || zeros to a multiple of 512
//! CBOR      = {1: [[detector, family, confidence 0-2, count, distinct, item], ...],
//!              2: justification or null, 3: [rule, ...], 4: findings left out for size,
//!              5: [matched text, ...], in a report of a false positive and only by its author's choice}
//! ```

use std::fmt;

use ciborium::Value;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, Kem, OpModeS, Serializable as _, setup_sender_with_rng};
use policies::terms::{Confidence, Finding, RuleId};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::cbor;
use crate::limits::{SEALED_PART_BYTES_MAX, SEALED_PART_STEP_BYTES};

/// HPKE's `info`: what the ciphertext is for.
pub const INFO: &[u8] = b"sealgate/sealed/1";

const LENGTH_BYTES: usize = 2;

/// The tenant's compliance key, X25519; its private half is kept offline.
pub struct CompliancePublicKey(<X25519HkdfSha256 as Kem>::PublicKey);

/// Why nothing could be sealed to the compliance key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ComplianceError {
    /// Not 32 bytes of an X25519 public key.
    #[error("the compliance key is no X25519 public key\nhelp: enrol this device again")]
    NotAKey,
    /// Even without findings it does not fit.
    #[error("the justification is too long\nhelp: say it in a sentence or two")]
    TooLong,
    /// The library refused.
    #[error("the compliance cipher is not available\nhelp: restart the agent; if it stays, reinstall it")]
    Unavailable,
}

impl CompliancePublicKey {
    /// Takes the 32 bytes of RFC 7748.
    ///
    /// # Errors
    /// [`ComplianceError::NotAKey`] if they are no public key.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ComplianceError> {
        <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(bytes)
            .map(Self)
            .map_err(|_| ComplianceError::NotAKey)
    }
}

impl fmt::Debug for CompliancePublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.to_bytes();
        f.debug_tuple("CompliancePublicKey")
            .field(&policies::terms::Digest::of(&bytes))
            .finish()
    }
}

/// Seals what only compliance may read, bound to `id`: the story's `cti`, or the id of the event about a draft that
/// never became one.
///
/// # Errors
/// [`ComplianceError::TooLong`] if the justification and the rules alone do not fit.
pub fn seal_report(
    key: &CompliancePublicKey,
    id: [u8; 16],
    findings: &[Finding],
    justification: Option<&str>,
    rules: &[RuleId],
    rng: &mut dyn CryptoRng,
) -> Result<Vec<u8>, ComplianceError> {
    encrypt(key, id, &plaintext(findings, justification, rules, &[])?, rng)
}

/// Seals an author's report that a finding is none, with the matched text where the author chose so; bound to `id`, the
/// event's.
///
/// # Errors
/// [`ComplianceError::TooLong`] if comment, rules and matched text alone do not fit.
pub fn seal_false_positive(
    key: &CompliancePublicKey,
    id: [u8; 16],
    findings: &[Finding],
    comment: Option<&str>,
    rules: &[RuleId],
    matched: &[&str],
    rng: &mut dyn CryptoRng,
) -> Result<Vec<u8>, ComplianceError> {
    encrypt(key, id, &plaintext(findings, comment, rules, matched)?, rng)
}

fn encrypt(
    key: &CompliancePublicKey,
    id: [u8; 16],
    plaintext: &[u8],
    rng: &mut dyn CryptoRng,
) -> Result<Vec<u8>, ComplianceError> {
    let mut rng = rng;
    let (encapsulated, mut context) =
        setup_sender_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &key.0,
            INFO,
            &mut rng,
        )
        .map_err(|_| ComplianceError::Unavailable)?;
    let ciphertext = context
        .seal(plaintext, &id)
        .map_err(|_| ComplianceError::Unavailable)?;
    let mut sealed = encapsulated.to_bytes().to_vec();
    sealed.extend_from_slice(&ciphertext);
    Ok(sealed)
}

/// As many findings as fit, padded.
fn plaintext(
    findings: &[Finding],
    justification: Option<&str>,
    rules: &[RuleId],
    matched: &[&str],
) -> Result<Zeroizing<Vec<u8>>, ComplianceError> {
    for kept in (0..=findings.len()).rev() {
        let body = Zeroizing::new(body(findings, kept, justification, rules, matched));
        if body.len() + LENGTH_BYTES <= SEALED_PART_BYTES_MAX {
            return pad(&body);
        }
    }
    Err(ComplianceError::TooLong)
}

fn body(
    findings: &[Finding],
    kept: usize,
    justification: Option<&str>,
    rules: &[RuleId],
    matched: &[&str],
) -> Vec<u8> {
    let listed = findings.iter().take(kept).map(finding).collect();
    let rules = rules
        .iter()
        .map(|rule| Value::Text(rule.as_str().to_owned()))
        .collect();
    let mut fields = vec![
        (1, Value::Array(listed)),
        (
            2,
            justification.map_or(Value::Null, |text| Value::Text(text.to_owned())),
        ),
        (3, Value::Array(rules)),
        (4, Value::Integer((findings.len() - kept).into())),
    ];
    if !matched.is_empty() {
        let matched = matched.iter().map(|text| Value::Text((*text).to_owned()));
        fields.push((5, Value::Array(matched.collect())));
    }
    cbor::encode(fields)
}

fn finding(finding: &Finding) -> Value {
    let confidence = match finding.confidence {
        Confidence::Low => 0,
        Confidence::Medium => 1,
        Confidence::High => 2,
    };
    Value::Array(vec![
        Value::Text(finding.detector.as_str().to_owned()),
        Value::Text(finding.family.as_str().to_owned()),
        Value::Integer(confidence.into()),
        Value::Integer(finding.count.into()),
        Value::Integer(finding.distinct.into()),
        Value::Integer(finding.item.into()),
    ])
}

fn pad(body: &[u8]) -> Result<Zeroizing<Vec<u8>>, ComplianceError> {
    let length = u16::try_from(body.len()).map_err(|_| ComplianceError::TooLong)?;
    let total = (LENGTH_BYTES + body.len()).next_multiple_of(SEALED_PART_STEP_BYTES);
    let mut padded = Zeroizing::new(Vec::with_capacity(total));
    padded.extend_from_slice(&length.to_be_bytes());
    padded.extend_from_slice(body);
    padded.resize(total, 0);
    Ok(padded)
}

#[cfg(test)]
mod tests {
    use hpke::{OpModeR, setup_receiver};
    use policies::terms::{DetectorId, Family};

    use super::*;

    fn findings(count: usize) -> Vec<Finding> {
        (0..count)
            .map(|item| Finding {
                detector: DetectorId::parse("card-number").unwrap(),
                family: Family::parse("payment-card").unwrap(),
                confidence: Confidence::High,
                count: 1,
                distinct: 1,
                item: u16::try_from(item).unwrap(),
            })
            .collect()
    }

    /// K25
    #[test]
    fn sealed_part_opens_with_the_compliance_key_and_its_cti_only() {
        let (secret, public) = X25519HkdfSha256::gen_keypair();
        let key = CompliancePublicKey::from_bytes(&public.to_bytes()).unwrap();
        let sealed = seal_report(&key, [5; 16], &findings(2), Some("asked"), &[], &mut rand::rng()).unwrap();
        let (encapsulated, ciphertext) = sealed.split_at(32);
        let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(encapsulated).unwrap();
        let open = |cti: [u8; 16]| {
            setup_receiver::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
                &OpModeR::Base,
                &secret,
                &encapsulated,
                INFO,
            )
            .unwrap()
            .open(ciphertext, &cti)
        };
        let plaintext = open([5; 16]).unwrap();
        assert_eq!(plaintext.len(), 512);
        assert!(plaintext.windows(5).any(|window| window == b"asked"));
        assert!(open([6; 16]).is_err());
    }

    /// K25: matched text is in a sealed part only if it is given, and nothing else changes by it.
    #[test]
    fn matched_text_is_sealed_only_where_it_is_given() {
        let holds = |matched: &[&str]| {
            let plaintext = plaintext(&findings(1), Some("asked"), &[], matched).unwrap();
            plaintext.windows(4).any(|window| window == b"4556")
        };
        assert!(!holds(&[]));
        assert!(holds(&["4556737586899855"]));
        assert_eq!(
            plaintext(&findings(1), None, &[], &[&"x".repeat(2_000)]).err(),
            Some(ComplianceError::TooLong)
        );
    }

    #[test]
    fn size_of_the_sealed_part_says_nothing_below_its_step() {
        let size = |count| plaintext(&findings(count), None, &[], &[]).unwrap().len();
        assert_eq!((size(0), size(3)), (512, 512));
        assert_eq!((size(20), size(500)), (1024, 1024));
    }
}
