//! Where content can hide from a reader that takes a file for what it mostly is, and text that only looks hidden.

use std::io::Write;

use crate::support::{base64, docx, engine, file, finds, text, with_file, zip};
use agent_inspect::{Limits, NotRedactable, Report, redact};
use policies::terms::{Confidence, UnscannableReason};

const CARD: &str = "4539 3195 0343 6467";

fn reasons(report: &Report) -> Vec<UnscannableReason> {
    report.evidence().unscannable.iter().map(|u| u.reason).collect()
}

fn surest(report: &Report) -> Option<Confidence> {
    report.matches().iter().map(|found| found.confidence).max()
}

/// The bytes with one ASCII text replaced by another of its length, wherever it stands.
fn renamed(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    while let Some(at) = bytes.windows(from.len()).position(|window| window == from) {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(unit).collect()
}

/// K21: recipients get the names too. The place is shown, so it does not repeat them.
#[test]
fn a_card_in_a_name_is_found_and_its_place_names_no_file() {
    let engine = engine();
    let name = format!("card {CARD}.txt");
    let inner = zip(&[(&name, b"lunch")]);
    for (outer, bytes) in [
        (name.as_str(), b"lunch".to_vec()),
        ("a.zip", inner.clone()),
        ("b.zip", zip(&[("inner.zip", &inner)])),
        ("c.docx", docx("<w:p/>", &[(&name, b"lunch")])),
    ] {
        let draft = with_file(outer, bytes);
        let report = engine.inspect(&draft, &Limits::default());
        let found = report
            .matches()
            .iter()
            .find(|found| found.detector.as_str() == "card-number")
            .unwrap();
        assert_eq!(found.confidence, Confidence::High);
        assert_eq!(found.place.sentence(), "found in the name of a file");
        assert_eq!(
            redact(&draft, &report, |found| found.detector.as_str() == "card-number").unwrap_err(),
            NotRedactable::InName { item: 1 }
        );
    }
}

/// K21, V4
#[test]
fn a_part_in_utf_16_is_read() {
    let engine = engine();
    let part = format!("<w:comments><w:p><w:t>card {CARD}</w:t></w:p></w:comments>");
    let marked = format!("\u{FEFF}<?xml version=\"1.0\" encoding=\"UTF-16\"?>{part}");
    for bytes in [
        utf16(&marked, u16::to_le_bytes),
        utf16(&marked, u16::to_be_bytes),
        utf16(&part, u16::to_le_bytes),
        utf16(&part, u16::to_be_bytes),
    ] {
        let report = file(&engine, "a", docx("<w:p/>", &[("word/comments.xml", &bytes)]));
        assert!(finds(&report, "card-number"), "{report:?}");
        assert_eq!(reasons(&report), vec![]);
    }
}

/// K21: a part that is some other file is not taken for an empty part.
#[test]
fn a_part_that_is_no_text_is_broken() {
    let picture = b"\x89PNG\r\n\x1A\nrest";
    let report = file(&engine(), "a", docx("<w:p/>", &[("word/comments.xml", picture)]));
    assert_eq!(reasons(&report), vec![UnscannableReason::Broken]);
}

/// K21
#[test]
fn harmless_numbers_in_front_do_not_use_up_the_matches() {
    let engine = engine();
    let harmless = "card 4111 1111 1111 1111\n".repeat(1_001);
    let story = format!("{harmless}card {CARD}\n");
    for report in [
        text(&engine, &story),
        file(&engine, "a.txt", story.clone().into_bytes()),
    ] {
        let held = reasons(&report).contains(&UnscannableReason::WorkLimit);
        assert!(held || surest(&report) == Some(Confidence::High), "{report:?}");
    }
    let few = format!("{}card {CARD}\n", "card 4111 1111 1111 1111\n".repeat(50));
    let report = text(&engine, &few);
    assert_eq!(
        (reasons(&report), surest(&report)),
        (vec![], Some(Confidence::High))
    );
}

/// K21: programs differ in which of two members with one name they unpack.
#[test]
fn an_archive_with_one_name_twice_is_broken() {
    let card = format!("card {CARD}");
    let twice = renamed(
        zip(&[("aa.txt", card.as_bytes()), ("bb.txt", b"lunch")]),
        b"bb.txt",
        b"aa.txt",
    );
    let report = file(&engine(), "a.zip", twice);
    assert_eq!(reasons(&report), vec![UnscannableReason::Broken]);
}

/// K21: the directory is found behind data in front of the archive, too.
#[test]
fn an_archive_is_whole_with_data_in_front_of_it_and_without_members() {
    let engine = engine();
    let plain = zip(&[("a.txt", b"lunch"), ("b/c.txt", b"on the roof")]);
    let fronted = [b"#!/bin/sh\nexit\n".as_slice(), &plain].concat();
    for bytes in [plain, fronted, zip(&[])] {
        assert_eq!(reasons(&file(&engine, "a.zip", bytes)), vec![]);
    }
    let card = format!("card {CARD}\n");
    let fronted = [card.as_bytes(), &zip(&[("a.txt", b"lunch")])].concat();
    assert!(finds(&file(&engine, "a.zip", fronted), "card-number"));
}

/// K21
#[test]
fn data_behind_a_stream_is_read() {
    let engine = engine();
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all("Lunch on the roof, é".as_bytes()).unwrap();
    let stream = encoder.finish().unwrap();
    assert_eq!(reasons(&file(&engine, "a.z", stream.clone())), vec![]);
    let report = file(
        &engine,
        "a.z",
        [&stream, format!("card {CARD}").as_bytes()].concat(),
    );
    assert!(finds(&report, "card-number"), "{report:?}");
    let report = file(&engine, "a.z", [stream.as_slice(), b"\x01\x02\0\xFF"].concat());
    assert_eq!(reasons(&report), vec![UnscannableReason::UnsupportedType]);
}

/// X4: looking for doubles among them took time by the square.
#[test]
fn a_tag_crowded_with_attributes_is_not_read() {
    let attributes: String = (0..12_000).map(|n| format!(" a{n}=\"word\"")).collect();
    let report = file(&engine(), "a", docx(&format!("<w:p{attributes}/>"), &[]));
    assert_eq!(reasons(&report), vec![UnscannableReason::TooManyEntries]);
}

/// N5: names, versions and hashes decode to bytes that look like the head of some file.
#[test]
fn hashes_and_lists_of_versions_hide_no_file() {
    let engine = engine();
    let lock = include_str!("../../../../Cargo.lock");
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut hash = || -> String {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 32
        };
        (0..5).map(|_| format!("{:08x}", next())).collect()
    };
    let hashes: String = (0..8_000).map(|_| format!("{}\n", hash())).collect();
    for story in [lock, hashes.as_str()] {
        for report in [text(&engine, story), file(&engine, "a.txt", story.into())] {
            assert_eq!(reasons(&report), vec![]);
            assert!(surest(&report) < Some(Confidence::Medium), "{report:?}");
        }
    }
}

/// V3: an encoded file of a type that is not read is held, not left out.
#[test]
fn an_encoded_file_that_is_not_read_is_held() {
    let engine = engine();
    let pdf = [b"%PDF-1.7\n1 0 obj ".as_slice(), &[0xE9; 60]].concat();
    let old = [b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1".as_slice(), &[0; 60]].concat();
    for bytes in [pdf, old] {
        let report = text(&engine, &base64(&bytes));
        assert_eq!(reasons(&report), vec![UnscannableReason::UnsupportedType]);
    }
}
