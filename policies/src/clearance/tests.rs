use coset::TaggedCborSerializable as _;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer as _;

use super::*;

fn claims() -> Claims {
    Claims {
        iss: DeviceId::from_bytes([1; 16]),
        iat_s: 1_000,
        exp_s: 1_300,
        cti: Cti::from_bytes([2; 16]),
        env: Digest::of(b"envelope"),
        blobs: vec![Digest::of(b"blob")],
        protocol: "mls/1.0".to_owned(),
        app: App::parse("sealgate").unwrap(),
        audience: AudienceBinding::Mls {
            group: AudienceId::from_bytes([3; 16]),
            epoch: 7,
            tree_hash: vec![4; 32],
        },
        binding: Binding::AgentSealed,
        policy: PolicyRef {
            version: 5,
            digest: Digest::of(b"bundle"),
            log_index: 9,
        },
        verdict: VerdictCode::Justified,
        labels: vec![Label::parse("internal").unwrap()],
        sealed: vec![0; 560],
        agent_build: Digest::of(b"agent"),
        agent_version: "0.1.0".to_owned(),
        tier: Tier::File,
        ttl_s: 86_400,
    }
}

fn signed(claims: &Claims) -> (Vec<u8>, DevicePublicKey) {
    let key = SigningKey::from_slice(&[5; 32]).unwrap();
    let public = DevicePublicKey::from_sec1(key.verifying_key().to_sec1_point(true).as_bytes()).unwrap();
    let to_sign = claims.to_be_signed();
    let signature: p256::ecdsa::Signature = key.sign(to_sign.message());
    (to_sign.finish(&signature.to_bytes().into()), public)
}

#[test]
fn clearance_survives_the_wire() {
    let (bytes, key) = signed(&claims());
    let verified = UnverifiedClearance::parse(&bytes).unwrap().verify(&key).unwrap();
    assert_eq!(*verified.claims(), claims());
    assert_eq!(verified.digest(), Digest::of(&bytes));
}

/// K17: about a kilobyte with its padded sealed part and one blob.
#[test]
fn clearance_is_small() {
    let (bytes, _) = signed(&claims());
    assert!((800..1_100).contains(&bytes.len()), "{} B", bytes.len());
}

/// A stranger's COSE library reads and verifies the same bytes.
#[test]
fn coset_verifies_the_clearance() {
    let (bytes, key) = signed(&claims());
    let message = coset::CoseSign1::from_tagged_slice(&bytes).unwrap();
    message
        .verify_signature(EXTERNAL_AAD, |signature, data| {
            if key.verify(data, signature.try_into().unwrap()) {
                Ok(())
            } else {
                Err(())
            }
        })
        .unwrap();
}

#[test]
fn any_changed_byte_is_refused() {
    let (bytes, key) = signed(&claims());
    for index in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[index] ^= 1;
        let accepted = UnverifiedClearance::parse(&changed).and_then(|clearance| clearance.verify(&key));
        assert!(accepted.is_err(), "byte {index}");
    }
}

#[test]
fn other_headers_and_claims_are_refused() {
    let parse = |value: &Value| UnverifiedClearance::parse(&cbor::canonical(value)).unwrap_err();
    let cose = |protected: &[u8], unprotected: Value, payload: Vec<u8>| {
        let parts = vec![
            Value::Bytes(protected.to_vec()),
            unprotected,
            Value::Bytes(payload),
            Value::Bytes(vec![0; 64]),
        ];
        Value::Tag(TAG_COSE_SIGN1, Box::new(Value::Array(parts)))
    };
    let empty = || Value::Map(Vec::new());
    let payload = || cbor::canonical(&claims().to_value());
    let with_crit = cbor::canonical(&Value::Map(vec![
        (1.into(), (-7).into()),
        (2.into(), Value::Array(vec![9.into()])),
    ]));
    assert_eq!(
        parse(&cose(&with_crit, empty(), payload())),
        ClearanceError::Headers
    );
    let eddsa = cbor::canonical(&Value::Map(vec![(1.into(), (-8).into())]));
    assert_eq!(parse(&cose(&eddsa, empty(), payload())), ClearanceError::Headers);
    let kid = Value::Map(vec![(4.into(), Value::Bytes(vec![1]))]);
    assert_eq!(parse(&cose(PROTECTED, kid, payload())), ClearanceError::Headers);
    let mut extra = claims().to_value().into_map().unwrap();
    extra.push((Value::Text("zzz".to_owned()), Value::Null));
    let extra = cbor::canonical(&Value::Map(extra));
    assert_eq!(
        parse(&cose(PROTECTED, empty(), extra)),
        ClearanceError::Claim("unknown")
    );
    let missing = claims()
        .to_value()
        .into_map()
        .unwrap()
        .into_iter()
        .skip(1)
        .collect();
    let missing = cbor::canonical(&Value::Map(missing));
    assert_eq!(
        parse(&cose(PROTECTED, empty(), missing)),
        ClearanceError::Claim("iss")
    );
    assert_eq!(parse(&Value::Bytes(vec![0; 9_000])), ClearanceError::TooLarge);
}

fn app_claims() -> Claims {
    Claims {
        protocol: "olm/2".to_owned(),
        app: App::parse("courier").unwrap(),
        audience: AudienceBinding::Devices {
            id: AudienceId::from_bytes([3; 16]),
            version: 7,
            hash: Digest::of(b"list"),
        },
        binding: Binding::AppAsserted,
        blobs: Vec::new(),
        ..claims()
    }
}

/// K17: what an app sealed for a list of devices.
#[test]
fn clearance_of_an_app_survives_the_wire() {
    let (bytes, key) = signed(&app_claims());
    let verified = UnverifiedClearance::parse(&bytes).unwrap().verify(&key).unwrap();
    assert_eq!(*verified.claims(), app_claims());
}

/// The bytes of both kinds, which other implementations must read; ES256 by RFC 6979 makes them the same each time.
#[test]
fn clearances_are_as_published() {
    insta::assert_snapshot!(Digest::of(&signed(&claims()).0), @"938241ceeaa5337a2464159f3a9118a86f66dc873ea0f065afad03816d7319c9");
    insta::assert_snapshot!(Digest::of(&signed(&app_claims()).0), @"b60674786ce0e9db534306085993dc97fc02bb1e7d5d6b4a9b0be18f56dfca70");
}

/// No app can say that the agent sealed for its list, nor speak for an MLS group.
#[test]
fn sealer_and_audience_that_do_not_go_together_are_refused() {
    for (audience, binding) in [
        (app_claims().audience, Binding::AgentSealed),
        (claims().audience, Binding::AppAsserted),
    ] {
        let mixed = Claims {
            audience,
            binding,
            ..claims()
        };
        assert_eq!(
            UnverifiedClearance::parse(&signed(&mixed).0).unwrap_err(),
            ClearanceError::Pairing
        );
    }
}
