//! What holds for any bytes.

use std::sync::LazyLock;

use crate::support::{base64, docx, engine, exif, jpeg, png, zip};
use agent_inspect::{Draft, DraftFile, Engine, Limits, redact};
use proptest::prelude::*;

static ENGINE: LazyLock<Engine> = LazyLock::new(engine);

fn seeds() -> Vec<Vec<u8>> {
    vec![
        zip(&[("a.txt", b"card 4539 3195 0343 6467"), ("b.txt", b"x")]),
        docx("<w:p><w:t>card 4539319503436467</w:t></w:p>", &[]),
        jpeg(Some(&exif(Some(3))), b"comment"),
        png(&[(b"tEXt", b"a\0b"), (b"eXIf", &exif(None))]),
        b"<p>card 4539<b>3195</b>0343&#54;467</p>".to_vec(),
        base64(b"card 4539319503436467").into_bytes(),
        "\u{FEFF}card 4539319503436467"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect(),
    ]
}

/// Bytes of a known type with some of them changed.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8);
    (prop::sample::select(seeds()), changes).prop_map(|(mut bytes, changes)| {
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

fn check_offsets(bytes: Vec<u8>) {
    let draft = Draft::new(
        String::from_utf8_lossy(&bytes).into_owned(),
        vec![DraftFile {
            name: "f".into(),
            bytes,
        }],
    );
    let report = ENGINE.inspect(&draft, &Limits::default());
    for found in report.matches() {
        let span = &found.place.span;
        assert!(span.start <= span.end);
        match (found.item, found.place.path.len()) {
            (0, _) => assert!(draft.text().get(span.clone()).is_some()),
            (_, 1) => assert!(span.end <= draft.files()[0].bytes.len()),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn random_bytes_do_no_harm_and_offsets_stay_inside(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        check_offsets(bytes);
    }

    #[test]
    fn random_text_does_no_harm_and_offsets_stay_inside(text in "(\\PC|[0-9 .%&=\\\\#;u-x-]){0,200}") {
        check_offsets(text.into_bytes());
    }

    #[test]
    fn damaged_files_do_no_harm_and_offsets_stay_inside(bytes in damaged()) {
        check_offsets(bytes);
    }

    /// F3
    #[test]
    fn a_masked_text_never_holds_the_value(before in "\\PC{0,40}", after in "\\PC{0,40}", separator in "[ -]?") {
        let card = ["4539", "3195", "0343", "6467"].join(&separator);
        let draft = Draft::new(format!("{before} card {card} {after}"), vec![]);
        let report = ENGINE.inspect(&draft, &Limits::default());
        prop_assert!(report.matches().iter().any(|m| m.detector.as_str() == "card-number"));
        let redacted = redact(&draft, &report, |_| true).unwrap();
        prop_assert!(!redacted.draft.text().contains(&card));
        let expected_after = redacted.draft.text().contains("6467");
        prop_assert!(expected_after);
    }

    /// K21
    #[test]
    fn the_same_bytes_give_the_same_evidence(bytes in damaged()) {
        let draft = Draft::new(String::new(), vec![DraftFile { name: "f".into(), bytes }]);
        let (first, second) = (ENGINE.inspect(&draft, &Limits::default()), ENGINE.inspect(&draft, &Limits::default()));
        prop_assert_eq!(first.evidence(), second.evidence());
    }
}
