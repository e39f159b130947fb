//! What an author might share, and what must be found in it.

use crate::support::{SCAN, base64, docx, engine, exif, file, finds, jpeg, png, text, with_file, zip};
use agent_inspect::{ChangeKind, Draft, DraftFile, Limits, NotRedactable, Transform, redact};
use policies::terms::{Confidence, ItemKind, UnscannableReason};

const CARD: &str = "4539 3195 0343 6467";

#[test]
fn a_clean_story_has_no_findings() {
    let report = text(
        &engine(),
        "Lunch on the roof at 12:30, bring a friend. Room 4.02, 25 November 2026.",
    );
    assert_eq!(report.evidence().findings, vec![]);
    assert_eq!(report.evidence().unscannable, vec![]);
    assert_eq!(report.evidence().items[0].kind, ItemKind::Text);
}

/// N5, N6
#[test]
fn a_card_near_a_word_for_it_is_sure_and_its_place_is_exact() {
    let story = format!("Hi,\nmy card is {CARD}, thanks");
    let report = text(&engine(), &story);
    let found = &report.matches()[0];
    assert_eq!(
        (found.detector.as_str(), found.confidence),
        ("card-number", Confidence::High)
    );
    assert_eq!(story.get(found.place.span.clone()), Some(CARD));
    assert_eq!(found.place.sentence(), "found in the text, line 2");
    assert_eq!(report.evidence().findings[0].count, 1);
}

#[test]
fn a_known_test_number_is_found_with_low_confidence() {
    let report = text(&engine(), "my card is 4111 1111 1111 1111");
    assert_eq!(report.matches()[0].confidence, Confidence::Low);
}

#[test]
fn the_same_number_twice_counts_two_and_one_distinct() {
    let report = text(
        &engine(),
        &format!("card {CARD} and again {}", CARD.replace(' ', "-")),
    );
    let finding = report
        .evidence()
        .findings
        .into_iter()
        .find(|f| f.detector.as_str() == "card-number")
        .unwrap();
    assert_eq!((finding.count, finding.distinct), (2, 1));
}

/// V1
#[test]
fn hidden_characters_and_other_scripts_do_not_hide_a_card() {
    let engine = engine();
    let hidden = "card 4539\u{200B} 31\u{2060}95 0343 64\u{AD}67";
    let report = text(&engine, hidden);
    assert_eq!(report.matches()[0].place.chain, [Transform::Fold]);
    assert_eq!(
        hidden.get(report.matches()[0].place.span.clone()),
        hidden.get(5..)
    );
    assert!(finds(&text(&engine, "card ٤٥٣٩ ٣١٩٥ ٠٣٤٣ ٦٤٦٧"), "card-number"));
}

/// V3
#[test]
fn encodings_within_encodings_are_opened_to_the_limit_and_then_held() {
    let engine = engine();
    let mut wrapped = format!("card {CARD}");
    for depth in 1..=5 {
        wrapped = base64(wrapped.as_bytes());
        assert!(finds(&text(&engine, &wrapped), "card-number"), "depth {depth}");
    }
    let report = text(&engine, &base64(wrapped.as_bytes()));
    assert_eq!(
        report.evidence().unscannable[0].reason,
        UnscannableReason::TooDeep
    );
}

/// V4
#[test]
fn a_docx_in_a_zip_is_read_with_its_hidden_parts() {
    let body = "<w:p><w:r><w:t>AHV-Nummer 756.9217</w:t></w:r><w:r><w:t>.0769.85</w:t></w:r></w:p>";
    let inner = docx(body, &[("word/comments.xml", b"<w:comments><w:comment w:author=\"Ana\"><w:p><w:t>visa 4539319503436467</w:t></w:p></w:comment></w:comments>")]);
    let report = file(&engine(), "plan.zip", zip(&[("plan.docx", &inner)]));
    assert!(finds(&report, "ch-ahv"));
    assert!(finds(&report, "card-number"));
    assert!(finds(&report, "document-author"));
    let ahv = report
        .matches()
        .iter()
        .find(|m| m.detector.as_str() == "ch-ahv")
        .unwrap();
    assert_eq!(
        ahv.place.sentence(),
        "found inside plan.zip / plan.docx / word/document.xml, line 1"
    );
    assert_eq!(report.evidence().unscannable, vec![]);
    assert_eq!(report.evidence().items[1].kind, ItemKind::Archive);
    assert_eq!(
        file(&engine(), "x", inner).evidence().items[1].kind,
        ItemKind::Document
    );
}

/// K21, X4
#[test]
fn what_cannot_be_read_is_unscannable_never_clean() {
    let engine = engine();
    let check = |name: &str, bytes: Vec<u8>, reason: UnscannableReason| {
        let found = file(&engine, name, bytes).evidence().unscannable;
        assert!(
            found.iter().any(|u| u.item == 1 && u.reason == reason),
            "{name}: {found:?}"
        );
    };
    check(
        "a pdf",
        b"%PDF-1.7\n1 0 obj".to_vec(),
        UnscannableReason::UnsupportedType,
    );
    check(
        "old Office",
        b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1\0\0".to_vec(),
        UnscannableReason::UnsupportedType,
    );
    check(
        "bytes",
        vec![1, 2, 3, 0, 255, 254],
        UnscannableReason::UnsupportedType,
    );
    check(
        "a video",
        b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom".to_vec(),
        UnscannableReason::UnsupportedType,
    );
    check(
        "a broken zip",
        b"PK\x03\x04 and nothing".to_vec(),
        UnscannableReason::Broken,
    );
    check(
        "a broken photo",
        b"\xFF\xD8\xFF\xE0\0\x10JFIF".to_vec(),
        UnscannableReason::Broken,
    );
    check(
        "a pdf in a zip",
        zip(&[("a.txt", b"%PDF-1.7 rest")]),
        UnscannableReason::UnsupportedType,
    );
    check(
        "a bomb",
        zip(&[("zeros", &vec![b'0'; 20 << 20])]),
        UnscannableReason::RatioExceeded,
    );
    let mut encrypted = zip(&[("a.txt", b"hello")]);
    for at in [
        6,
        encrypted.windows(4).position(|w| w == b"PK\x01\x02").unwrap() + 8,
    ] {
        encrypted[at] |= 1;
    }
    check("an encrypted zip", encrypted, UnscannableReason::Encrypted);
    let mut nested = zip(&[("a.txt", b"hello")]);
    for _ in 0..6 {
        nested = zip(&[("inner.zip", &nested)]);
    }
    check("a zip in zips", nested, UnscannableReason::TooDeep);
}

#[test]
fn limits_of_size_entries_and_work_are_held() {
    let engine = engine();
    let many: Vec<(String, Vec<u8>)> = (0..20).map(|n| (format!("{n}.txt"), vec![b'a'; 100])).collect();
    let members: Vec<(&str, &[u8])> = many
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    let draft = with_file("a.zip", zip(&members));
    let check = |limits: Limits, reason: UnscannableReason| {
        let found = engine.inspect(&draft, &limits).evidence().unscannable;
        assert!(found.iter().any(|u| u.reason == reason), "{found:?}");
    };
    check(
        Limits {
            entries_max: 5,
            ..Limits::default()
        },
        UnscannableReason::TooManyEntries,
    );
    check(
        Limits {
            expanded_bytes_max: 500,
            ..Limits::default()
        },
        UnscannableReason::TooLarge,
    );
    check(
        Limits {
            work_max: 500,
            ..Limits::default()
        },
        UnscannableReason::WorkLimit,
    );
}

/// V6
#[test]
fn a_photo_gives_its_location_and_loses_it_losslessly() {
    let engine = engine();
    let photo = jpeg(Some(&exif(Some(6))), b"visa 4539319503436467");
    let draft = with_file("photo.jpg", photo.clone());
    let report = engine.inspect(&draft, &Limits::default());
    assert!(
        finds(&report, "image-location") && finds(&report, "image-author") && finds(&report, "card-number")
    );
    let location = report
        .evidence()
        .findings
        .into_iter()
        .find(|f| f.detector.as_str() == "image-location")
        .unwrap();
    assert_eq!(
        (location.family.as_str(), location.confidence),
        ("location", Confidence::High)
    );

    let redacted = redact(&draft, &report, |found| found.family.as_str() == "location").unwrap();
    assert_eq!(redacted.changes[0].kind, ChangeKind::MetadataStripped);
    let bytes = &redacted.draft.files()[0].bytes;
    assert!(bytes.ends_with(&[SCAN, b"\xFF\xD9"].concat()));
    let again = engine.inspect(&redacted.draft, &Limits::default());
    assert_eq!((again.matches().len(), again.unread().len()), (0, 0));
    let kept = ::exif::Reader::new()
        .read_from_container(&mut std::io::Cursor::new(bytes))
        .unwrap();
    let orientation = kept
        .get_field(::exif::Tag::Orientation, ::exif::In::PRIMARY)
        .unwrap();
    assert_eq!(
        (orientation.value.get_uint(0), kept.fields().count()),
        (Some(6), 1)
    );
}

#[test]
fn a_png_gives_its_texts_and_what_stands_behind_it() {
    let engine = engine();
    let mut picture = png(&[
        (b"tEXt", b"Comment\0visa 4539319503436467"),
        (b"eXIf", &exif(None)),
    ]);
    assert!(finds(&file(&engine, "p", picture.clone()), "card-number"));
    assert!(finds(&file(&engine, "p", picture.clone()), "image-location"));
    picture.extend(zip(&[("a.txt", b"iban DE02 1203 0000 0000 2020 51")]));
    let draft = with_file("p.png", picture);
    let report = engine.inspect(&draft, &Limits::default());
    assert!(finds(&report, "iban"));
    let redacted = redact(&draft, &report, |found| found.place.path.len() == 1).unwrap();
    let again = engine.inspect(&redacted.draft, &Limits::default());
    assert_eq!((again.matches().len(), again.unread().len()), (0, 0));
}

/// V7
#[test]
fn a_number_spread_over_items_is_found() {
    let files = vec![
        DraftFile {
            name: "b.txt".into(),
            bytes: b"3195 0343\n".to_vec(),
        },
        DraftFile {
            name: "c.txt".into(),
            bytes: b"6467, visa".to_vec(),
        },
    ];
    let draft = Draft::new("the first part is 4539".into(), files);
    let report = engine().inspect(&draft, &Limits::default());
    let found = report
        .matches()
        .iter()
        .find(|m| m.detector.as_str() == "card-number")
        .unwrap();
    assert_eq!(
        (found.item, found.place.chain.contains(&Transform::Joined)),
        (0, true)
    );
    assert_eq!(
        redact(&draft, &report, |_| true).unwrap_err(),
        NotRedactable::SpreadOverItems { item: 0 }
    );
}

/// F1, F3
#[test]
fn redaction_masks_in_place_and_keeps_the_rest() {
    let engine = engine();
    let story = format!("Grüße! card {CARD}; encoded NDUzOTMxOTUwMzQzNjQ2Nw== end");
    let draft = Draft::new(story, vec![]);
    let report = engine.inspect(&draft, &Limits::default());
    let redacted = redact(&draft, &report, |_| true).unwrap();
    assert_eq!(
        redacted.draft.text(),
        "Grüße! card **** **** **** 6467; encoded [removed]== end"
    );
    assert_eq!(
        engine
            .inspect(&redacted.draft, &Limits::default())
            .matches()
            .len(),
        0
    );
}

#[test]
fn redaction_keeps_the_encoding_of_a_file() {
    let engine = engine();
    let bytes: Vec<u8> = format!("\u{FEFF}card {CARD}!")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let draft = with_file("a.txt", bytes);
    let report = engine.inspect(&draft, &Limits::default());
    let redacted = redact(&draft, &report, |_| true).unwrap();
    let expected: Vec<u8> = "\u{FEFF}card **** **** **** 6467!"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert_eq!(redacted.draft.files()[0].bytes, expected);
}

#[test]
fn a_match_in_an_archive_is_not_redactable_and_a_report_of_another_draft_is_refused() {
    let draft = with_file("a.zip", zip(&[("a.txt", format!("card {CARD}").as_bytes())]));
    let report = engine().inspect(&draft, &Limits::default());
    assert_eq!(
        redact(&draft, &report, |_| true).unwrap_err(),
        NotRedactable::InsideContainer { item: 1 }
    );
    let other = Draft::new("x".into(), vec![]);
    assert_eq!(
        redact(&other, &report, |_| true).unwrap_err(),
        NotRedactable::OtherDraft
    );
}

/// R6
#[test]
fn debug_of_a_report_shows_no_content_and_no_names() {
    let report = file(&engine(), "salary.txt", format!("card {CARD}").into_bytes());
    let shown = format!("{report:?}");
    assert!(!shown.contains("4539") && !shown.contains("salary"), "{shown}");
}

/// K21
#[test]
fn a_long_table_of_numbers_is_read_whole() {
    let rows: String = (0..5_000)
        .map(|n| format!("{n};row;2026 11 {:02}\n", n % 28 + 1))
        .collect();
    let report = file(
        &engine(),
        "table.csv",
        format!("{rows}card;{CARD}\n").into_bytes(),
    );
    assert_eq!(report.evidence().unscannable, vec![]);
    assert!(finds(&report, "card-number"));
}

/// The text of a draft is text, also when it speaks of other types.
#[test]
fn a_story_about_files_is_no_file() {
    let engine = engine();
    for story in [
        "%PDF-1.7 is a header, so is 1 0 obj",
        "PK\u{3}\u{4} starts a zip",
        "{\\rtf1 too}",
    ] {
        let report = text(&engine, story);
        assert_eq!(report.evidence().unscannable, vec![], "{story}");
        assert_eq!(report.evidence().items[0].kind, ItemKind::Text);
    }
}
