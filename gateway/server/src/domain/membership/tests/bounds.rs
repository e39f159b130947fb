//! What a group must be, whoever is in it: of our cipher suite (M8), and of 2,000 devices at most (M11).

use super::*;

const OTHER: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519;

fn told<T>(result: Result<T, Fault>) -> String {
    result.map(drop).unwrap_err().detail
}

/// M8: a group of another suite is refused, though all else in it is right.
#[test]
fn group_of_another_suite_is_refused() {
    let world = World::new();
    let follow = |suite| {
        let alice = world.member(1);
        world.follow(&world.found_in(suite, &alice, &[1]), &alice)
    };
    assert_eq!(told(follow(OTHER)), "the group must use cipher suite 0x0001");
    follow(SUITE).unwrap();
}

/// M8: and so is a key package.
#[test]
fn key_package_of_another_suite_is_refused() {
    let world = World::new();
    let bob = world.member(2);
    let check = |suite| check_key_package(&bob.key_package_bytes_in(suite), device(2), &world.registry());
    assert_eq!(told(check(OTHER)), "a key package must use cipher suite 0x0001");
    check(SUITE).unwrap();
}

/// M11: with one device more than an audience holds a group is refused, and what to do is said. Nobody vouches for these
/// leaves, which is looked at once there are not too many of them.
#[test]
fn group_of_more_than_2000_devices_is_refused() {
    let mut world = World::new();
    let alice = world.member(1);
    let mut theirs = world.found(&alice, &[1]);
    let packages: Vec<KeyPackage> = (1..=2_000).map(|number| unvouched(&mut world, number)).collect();
    let (last, packages) = packages.split_last().unwrap();
    alice.add(&mut theirs, packages);
    assert_eq!(code(world.follow(&theirs, &alice)), ErrorCode::LeafInvalid);

    alice.add(&mut theirs, std::slice::from_ref(last));
    let refused = world.follow(&theirs, &alice).map(drop).unwrap_err();
    assert_eq!(
        (refused.code, refused.detail.as_str()),
        (
            ErrorCode::BadRequest,
            "an audience holds at most 2000 devices: split it"
        )
    );
}

/// A key package of a logged device of person 1.
fn unvouched(world: &mut World, number: u128) -> KeyPackage {
    let device = DeviceId::from_bytes(number.to_be_bytes());
    world.log(DirectoryEntry::DeviceAdd {
        device,
        person: person(1),
        key: world.directory.device(super::device(1)).unwrap().key.to_sec1(),
        class: AudienceClass::Internal,
        at_s: 1,
    });
    let signer = SignatureKeyPair::new(SignatureScheme::ED25519).unwrap();
    let credential = CredentialWithKey {
        credential: BasicCredential::new(credential_bytes(device, &[0; 64])).into(),
        signature_key: signer.to_public_vec().into(),
    };
    let member = Member {
        provider: OpenMlsRustCrypto::default(),
        signer,
        credential,
        device,
    };
    member.key_package()
}
