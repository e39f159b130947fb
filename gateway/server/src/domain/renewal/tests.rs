use super::*;

fn issued(generation: u64) -> Certificate {
    let byte = u8::try_from(generation).unwrap();
    Certificate {
        generation,
        serial: [byte; 16],
        key: Digest::from_bytes([byte; 32]),
        csr: Digest::from_bytes([byte; 32]),
        ends_s: 0,
        pem: Some(format!("certificate {generation}")),
    }
}

fn csr(generation: u8) -> Digest {
    Digest::from_bytes([generation; 32])
}

/// E4, E7: what is shown and asked decides; a certificate of before the gateway counted is generation 0.
#[test]
fn request_is_answered_again_or_next_or_told_as_a_copy() {
    let three = [issued(1), issued(2), issued(3)];
    let check = |shown: Option<u8>, asked, released, expected: Judgement<'_>| {
        let shown = shown.map(|byte| [byte; 16]);
        assert_eq!(judge(&three, shown, csr(asked), released), expected);
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
    assert_eq!(judge(&[], None, csr(9), false), Judgement::Next(1));
    let one = [issued(1)];
    assert_eq!(judge(&one, None, csr(1), false), Judgement::Again(&one[0]));
    assert_eq!(judge(&one, None, csr(9), false), Judgement::Copy);
}
