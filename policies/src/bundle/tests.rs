use super::*;
use crate::plan::Plan;
use crate::testing::{RULES, with_rules};

const NOW_S: u64 = 1_800_000_000;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(seed: u8) -> Ed25519PublicKey {
    Ed25519PublicKey::from_bytes(&key(seed).verifying_key().to_bytes()).unwrap()
}

fn trust() -> Trust {
    Trust {
        tenant: TenantId::parse("acme").unwrap(),
        authors: vec![public(1), public(3)],
        approvers: vec![public(2), public(1)],
    }
}

fn fields(version: u64) -> ManifestFields {
    let (issued_s, expires_s) = (NOW_S - 60, NOW_S + 86_400);
    ManifestFields {
        channel: "stable".to_owned(),
        version,
        min_agent: "0.1.0".to_owned(),
        issued_s,
        expires_s,
        previous: None,
    }
}

fn unsigned(fields: ManifestFields) -> UnsignedBundle {
    assemble(&with_rules(RULES), fields)
}

fn signed(version: u64) -> UnsignedBundle {
    unsigned(fields(version))
        .sign(Role::Author, &key(1))
        .unwrap()
        .sign(Role::Approver, &key(2))
        .unwrap()
}

fn verify(bytes: &[u8]) -> Result<VerifiedBundle, BundleError> {
    UnverifiedBundle::parse(bytes)?.verify(&trust(), 4, NOW_S, Some(9))
}

fn refused(bundle: &UnsignedBundle) -> BundleError {
    verify(&bundle.to_bytes()).unwrap_err()
}

#[test]
fn bundle_of_two_signers_becomes_a_plan() {
    let bundle = signed(5);
    let verified = verify(&bundle.to_bytes()).unwrap();
    let reference = PolicyRef {
        version: 5,
        digest: bundle.digest(),
        log_index: 9,
    };
    assert_eq!(
        (verified.reference(), verified.expires_s()),
        (reference, NOW_S + 86_400)
    );
    let plan = Plan::from_bundle(&verified).unwrap();
    assert_eq!(
        (plan.policy(), plan.tenant().as_str(), plan.rules().len()),
        (reference, "acme", 1)
    );
    assert!(plan.detectors().len() > 3);
}

/// The same folder and fields give the same bytes everywhere.
#[test]
fn bundle_bytes_are_canonical() {
    assert_eq!(signed(5).to_bytes(), signed(5).to_bytes());
    let bytes = signed(5).to_bytes();
    assert_eq!(UnsignedBundle::parse(&bytes).unwrap().to_bytes(), bytes);
}

/// K6: the approver signs what the author sent.
#[test]
fn second_signature_is_added_to_received_bytes() {
    let half = unsigned(fields(5))
        .sign(Role::Author, &key(1))
        .unwrap()
        .to_bytes();
    let received = UnsignedBundle::parse(&half).unwrap();
    assert_eq!(
        (received.roles(), received.check().unwrap().tenant().as_str()),
        (vec![Role::Author], "acme")
    );
    assert!(verify(&received.sign(Role::Approver, &key(2)).unwrap().to_bytes()).is_ok());
}

#[test]
fn unsigned_bundle_is_refused() {
    assert_eq!(refused(&unsigned(fields(5))), BundleError::Unsigned);
}

/// K6
#[test]
fn half_signed_bundle_is_refused() {
    let author = unsigned(fields(5)).sign(Role::Author, &key(1)).unwrap();
    assert_eq!(
        refused(&author),
        BundleError::HalfSigned {
            missing: Role::Approver
        }
    );
    let approver = unsigned(fields(5)).sign(Role::Approver, &key(2)).unwrap();
    assert_eq!(
        refused(&approver),
        BundleError::HalfSigned {
            missing: Role::Author
        }
    );
}

/// K6: a signature of a key that is not pinned for the role does not count.
#[test]
fn unknown_key_and_key_of_the_other_role_are_refused() {
    let author = unsigned(fields(5)).sign(Role::Author, &key(1)).unwrap();
    let stranger = author.clone().sign(Role::Approver, &key(9)).unwrap();
    let unknown = |role, seed| BundleError::UnknownKey {
        role,
        key_id: public(seed).key_id(),
    };
    assert_eq!(refused(&stranger), unknown(Role::Approver, 9));
    let other_role = author.sign(Role::Approver, &key(3)).unwrap();
    assert_eq!(refused(&other_role), unknown(Role::Approver, 3));
    assert!(verify(&other_role.sign(Role::Approver, &key(2)).unwrap().to_bytes()).is_ok());
}

/// K6: neither while signing, nor in bytes from elsewhere.
#[test]
fn one_key_may_not_fill_both_roles() {
    let author = unsigned(fields(5)).sign(Role::Author, &key(1)).unwrap();
    assert_eq!(
        author.clone().sign(Role::Approver, &key(1)).unwrap_err(),
        BundleError::SameKeyTwice
    );
    let mut same = author;
    let approver = unsigned(fields(5)).sign(Role::Approver, &key(1)).unwrap();
    same.signatures.extend(approver.signatures);
    assert_eq!(refused(&same), BundleError::SameKeyTwice);
    assert!(verify(&same.sign(Role::Author, &key(3)).unwrap().to_bytes()).is_ok());
}

/// Whoever writes parts into a folder can rely on their paths.
#[test]
fn paths_that_lead_out_of_the_folder_are_refused_though_signed() {
    for path in ["../x", "/x", "a//b", "a/../b", "a\\b", "", "."] {
        let mut bundle = unsigned(fields(5));
        let mut manifest = Manifest::decode(&bundle.manifest).unwrap();
        let part = manifest.parts.remove("dlp.toml").unwrap();
        manifest.parts.insert(path.to_owned(), part);
        bundle.manifest = manifest.encode();
        let signed = bundle
            .sign(Role::Author, &key(1))
            .unwrap()
            .sign(Role::Approver, &key(2))
            .unwrap();
        assert_eq!(refused(&signed), BundleError::Malformed, "{path}");
    }
}

#[test]
fn tampered_manifest_is_refused() {
    let mut bundle = signed(5);
    bundle.manifest = unsigned(fields(6)).manifest;
    assert_eq!(refused(&bundle), BundleError::Tampered { role: Role::Author });
}

#[test]
fn signature_of_one_role_does_not_count_for_another() {
    let mut bundle = signed(5);
    bundle.signatures[1].sig = unsigned(fields(5))
        .sign(Role::Author, &key(2))
        .unwrap()
        .signatures[0]
        .sig;
    assert_eq!(refused(&bundle), BundleError::Tampered { role: Role::Approver });
}

#[test]
fn changed_missing_and_extra_parts_are_refused() {
    fn change(change: impl Fn(&mut BTreeMap<String, Vec<u8>>)) -> BundleError {
        let mut bundle = signed(5);
        change(&mut bundle.parts);
        refused(&bundle)
    }
    let part = || "dlp.toml".to_owned();
    assert_eq!(
        change(|parts| parts.get_mut("dlp.toml").unwrap().push(b'\n')),
        BundleError::PartChanged(part())
    );
    assert_eq!(
        change(|parts| drop(parts.remove("dlp.toml"))),
        BundleError::PartMissing(part())
    );
    let extra = || "tests/x.toml".to_owned();
    assert_eq!(
        change(|parts| drop(parts.insert(extra(), Vec::new()))),
        BundleError::PartUnknown(extra())
    );
}

/// B3
#[test]
fn rolled_back_bundle_is_refused() {
    assert_eq!(
        refused(&signed(3)),
        BundleError::RolledBack { found: 3, floor: 4 }
    );
    assert!(
        verify(&signed(4).to_bytes()).is_ok(),
        "the version in force may be loaded again"
    );
    let zero = UnverifiedBundle::parse(&signed(0).to_bytes())
        .unwrap()
        .verify(&trust(), 0, NOW_S, Some(0));
    assert_eq!(zero.unwrap_err(), BundleError::RolledBack { found: 0, floor: 0 });
}

/// B3
#[test]
fn version_jump_is_refused() {
    let far = 5 + limits::VERSION_JUMP_MAX;
    assert_eq!(
        refused(&signed(far)),
        BundleError::VersionJump { found: far, floor: 4 }
    );
}

/// R2
#[test]
fn unlogged_bundle_is_refused() {
    let bundle = UnverifiedBundle::parse(&signed(5).to_bytes()).unwrap();
    assert_eq!(
        bundle.verify(&trust(), 4, NOW_S, None).unwrap_err(),
        BundleError::Unlogged
    );
}

#[test]
fn bundle_of_another_tenant_is_refused() {
    let other = Trust {
        tenant: TenantId::parse("other").unwrap(),
        ..trust()
    };
    let bundle = UnverifiedBundle::parse(&signed(5).to_bytes()).unwrap();
    let error = bundle.verify(&other, 4, NOW_S, Some(9)).unwrap_err();
    assert_eq!(
        error,
        BundleError::WrongTenant {
            found: trust().tenant,
            expected: other.tenant
        }
    );
}

/// B1
#[test]
fn expired_early_and_endless_bundles_are_refused() {
    let at = |issued_s, expires_s| {
        let fields = ManifestFields {
            issued_s,
            expires_s,
            ..fields(5)
        };
        refused(
            &unsigned(fields)
                .sign(Role::Author, &key(1))
                .unwrap()
                .sign(Role::Approver, &key(2))
                .unwrap(),
        )
    };
    assert_eq!(at(NOW_S - 10, NOW_S), BundleError::Expired);
    assert_eq!(
        at(NOW_S + limits::CLOCK_SKEW_S + 1, NOW_S + 1_000),
        BundleError::BadTimes
    );
    assert_eq!(
        at(NOW_S, NOW_S + limits::BUNDLE_LIFETIME_S_MAX + 1),
        BundleError::BadTimes
    );
    assert_eq!(at(NOW_S, NOW_S - 1), BundleError::BadTimes);
}

#[test]
fn other_bytes_are_refused() {
    let bytes = signed(5).to_bytes();
    assert_eq!(verify(&[]).unwrap_err(), BundleError::Malformed);
    assert_eq!(
        verify(&bytes[..bytes.len() - 1]).unwrap_err(),
        BundleError::Malformed
    );
    assert_eq!(
        verify(&[bytes.as_slice(), &[0]].concat()).unwrap_err(),
        BundleError::Malformed
    );
    assert_eq!(
        verify(&vec![0; limits::BUNDLE_BYTES_MAX * 2]).unwrap_err(),
        BundleError::TooLarge
    );
}

#[test]
fn every_refusal_says_what_to_do() {
    let errors = [
        BundleError::Unsigned,
        BundleError::HalfSigned {
            missing: Role::Approver,
        },
        BundleError::SameKeyTwice,
        BundleError::Tampered { role: Role::Author },
        BundleError::PartChanged("dlp.toml".to_owned()),
        BundleError::Expired,
        BundleError::RolledBack { found: 3, floor: 4 },
        BundleError::Unlogged,
    ];
    let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
the bundle is not signed
help: sealgate policy sign, as author and as approver
the bundle has no valid signature of the role `approver`
help: sealgate policy sign --bundle, with that key
one key signed as author and as approver
help: another person must approve
the signature of the role `author` does not hold
help: the bundle was changed after it was signed; sign it again
part `dlp.toml` is not the one that was signed
help: build the bundle again from its folder
the bundle expired
help: sign and publish a higher version
the bundle has version 3, but version 4 was seen
help: go back by publishing old content as a higher version
the bundle is not in the directory log
help: sealgate policy publish; a bundle that is not logged is never loaded
"#);
}

/// B4
#[test]
fn timestamp_is_read_and_verified() {
    let timestamp = Timestamp {
        bundle: Digest::of(b"manifest"),
        at_s: NOW_S,
        expires_s: NOW_S + 86_400,
    };
    let bytes = timestamp.sign(&key(5));
    assert_eq!(Timestamp::parse_verify(&bytes, &public(5)), Ok(timestamp));
    assert_eq!(
        Timestamp::parse_verify(&bytes, &public(6)),
        Err(TimestampError::Signature)
    );
    for index in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[index] ^= 1;
        assert!(
            Timestamp::parse_verify(&changed, &public(5)).is_err(),
            "byte {index}"
        );
    }
}
