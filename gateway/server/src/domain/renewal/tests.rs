use policies::terms::{DeviceId, PersonId};

use super::*;

fn issued(generation: u64) -> Certificate {
    let byte = u8::try_from(generation).unwrap();
    Certificate {
        generation,
        serial: [byte; 16],
        key: Digest::from_bytes([byte; 32]),
        csr: Digest::from_bytes([byte; 32]),
        ends_s: generation * 100,
        pem: Some(format!("certificate {generation}")),
    }
}

/// A device that shows a certificate.
fn shown(serial: Option<u8>, ends_s: u64) -> RenewingDevice {
    RenewingDevice {
        device: Device {
            id: DeviceId::from_bytes([1; 16]),
            person: PersonId::from_bytes([2; 16]),
        },
        serial: serial.map(|byte| [byte; 16]),
        ends_s,
    }
}

fn csr(generation: u8) -> Digest {
    Digest::from_bytes([generation; 32])
}

/// E4, E7: what is shown and asked decides; a certificate of before the gateway counted is generation 0.
#[test]
fn request_is_answered_again_or_next_or_told_as_a_copy() {
    let three = [issued(1), issued(2), issued(3)];
    let check = |serial: Option<u8>, asked, released, expected: Judgement<'_>| {
        let shown = shown(serial, u64::from(serial.unwrap_or(0)));
        assert_eq!(judge(&three, &shown, csr(asked), released), expected);
    };
    check(Some(3), 9, false, Judgement::Next(4));
    check(Some(2), 3, false, Judgement::Again(&three[2]));
    check(Some(3), 3, false, Judgement::Again(&three[2]));
    check(Some(2), 9, false, Judgement::Copy);
    check(Some(2), 2, false, Judgement::Copy);
    check(Some(1), 3, false, Judgement::Copy);
    check(Some(99), 9, false, Judgement::Copy);
    check(None, 3, false, Judgement::Copy);
    check(Some(1), 9, true, Judgement::Next(4));
    assert_eq!(judge(&[], &shown(None, 0), csr(9), false), Judgement::Next(1));
    let one = [issued(1)];
    assert_eq!(
        judge(&one, &shown(None, 0), csr(1), false),
        Judgement::Again(&one[0])
    );
    assert_eq!(judge(&one, &shown(None, 0), csr(9), false), Judgement::Copy);
}

/// K7, E7: a gateway that was restored takes a certificate that it issued and forgot for what it is, and no older one.
#[test]
fn certificate_that_a_restored_gateway_forgot_is_no_copy() {
    let two = [issued(1), issued(2)];
    let check = |serial, ends_s, expected: Judgement<'_>| {
        assert_eq!(judge(&two, &shown(serial, ends_s), csr(9), false), expected);
    };
    check(Some(7), 201, Judgement::Next(3));
    check(Some(7), 200, Judgement::Copy);
    check(Some(1), 201, Judgement::Copy);
}
