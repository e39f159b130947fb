//! What some bytes are, by their content. A name or an ending is never asked.

use policies::terms::{ItemKind, UnscannableReason};

/// Bytes at the head that are looked at for markup.
const HEAD: usize = 1_024;
/// Of a hundred bytes, how many may be control characters in a text.
const CONTROLS_PERCENT: usize = 2;

const UNSUPPORTED: Kind = Kind::Unreadable(UnscannableReason::UnsupportedType);

/// How a text is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// ASCII included.
    Utf8,
    Utf16Le,
    Utf16Be,
    /// Bytes that are no UTF-8 but read as a Western text.
    Windows1252,
}

/// A type by content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Empty,
    Text(Encoding),
    Html,
    /// A zip archive; which document it is, if any, its members tell.
    Zip,
    Gzip,
    Zlib,
    Jpeg,
    Png,
    /// A type that is known and not read.
    Unreadable(UnscannableReason),
    Unknown,
}

impl Kind {
    /// The kind that rules see; a zip may turn out to be a document.
    pub(crate) fn item_kind(self) -> ItemKind {
        match self {
            Self::Empty | Self::Text(_) => ItemKind::Text,
            Self::Html => ItemKind::Html,
            Self::Zip | Self::Gzip | Self::Zlib => ItemKind::Archive,
            Self::Jpeg | Self::Png => ItemKind::Image,
            Self::Unreadable(_) | Self::Unknown => ItemKind::Other,
        }
    }
}

/// The type of `bytes`.
pub(crate) fn identify(bytes: &[u8]) -> Kind {
    by_signature(bytes)
        .or_else(|| as_utf8(bytes))
        .or_else(|| is_foreign(bytes).then_some(UNSUPPORTED))
        .unwrap_or_else(|| by_text(bytes))
}

/// What rules see for a type that is known and not read.
pub(crate) fn foreign_kind(bytes: &[u8]) -> ItemKind {
    match infer::get(bytes).map(|found| found.matcher_type()) {
        Some(infer::MatcherType::Image) => ItemKind::Image,
        Some(infer::MatcherType::Doc) => ItemKind::Document,
        Some(infer::MatcherType::Archive) if !bytes.starts_with(b"%PDF-") => ItemKind::Archive,
        _ if bytes.starts_with(b"%PDF-") => ItemKind::Document,
        _ => ItemKind::Other,
    }
}

fn by_signature(bytes: &[u8]) -> Option<Kind> {
    match bytes {
        [] => Some(Kind::Empty),
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Some(Kind::Zip),
        [0x1F, 0x8B, 8, ..] => Some(Kind::Gzip),
        [0xFF, 0xD8, 0xFF, ..] => Some(Kind::Jpeg),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Some(Kind::Png),
        // Compound files: encrypted OOXML is one too.
        [0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1, ..] => Some(compound(bytes)),
        [b'%', b'P', b'D', b'F', b'-', ..] | [b'{', b'\\', b'r', b't', b'f', ..] => Some(UNSUPPORTED),
        _ if starts_as_pdf(bytes) => Some(UNSUPPORTED),
        _ if is_zlib(bytes) => Some(Kind::Zlib),
        _ if zip_is_appended(bytes) => Some(Kind::Zip),
        _ => None,
    }
}

/// A type that is known and holds no text. Asked after UTF-8: scripts and keys are types too, and texts.
fn is_foreign(bytes: &[u8]) -> bool {
    infer::get(bytes).is_some_and(|found| found.matcher_type() != infer::MatcherType::Text)
}

/// Readers accept a PDF header anywhere in the first kilobyte. A text about PDF has no objects.
fn starts_as_pdf(bytes: &[u8]) -> bool {
    let head = bytes.get(..HEAD).unwrap_or(bytes);
    memchr::memmem::find(head, b"%PDF-").is_some() && memchr::memmem::find(bytes, b" obj").is_some()
}

/// An archive behind something else, such as a program that unpacks itself: its directory is at the end.
fn zip_is_appended(bytes: &[u8]) -> bool {
    const DIRECTORY_END: usize = 22;
    let tail = bytes
        .get(bytes.len().saturating_sub(DIRECTORY_END)..)
        .unwrap_or_default();
    tail.starts_with(b"PK\x05\x06")
}

/// An encrypted OOXML document keeps its content in a stream of this name.
fn compound(bytes: &[u8]) -> Kind {
    let name: Vec<u8> = "EncryptedPackage"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let encrypted = memchr::memmem::find(bytes, &name).is_some();
    Kind::Unreadable(if encrypted {
        UnscannableReason::Encrypted
    } else {
        UnscannableReason::UnsupportedType
    })
}

/// Header check of RFC 1950, for the windows and levels in use.
fn is_zlib(bytes: &[u8]) -> bool {
    matches!(bytes, [0x78, 0x01 | 0x5E | 0x9C | 0xDA, third, ..] if *third >= 0x80 || third & 6 != 6)
        && std::str::from_utf8(bytes).is_err()
}

fn as_utf8(bytes: &[u8]) -> Option<Kind> {
    if has_controls(bytes) || std::str::from_utf8(bytes).is_err() {
        return None;
    }
    Some(if is_html(bytes) {
        Kind::Html
    } else {
        Kind::Text(Encoding::Utf8)
    })
}

fn by_text(bytes: &[u8]) -> Kind {
    match utf16_order(bytes) {
        Some(encoding) => Kind::Text(encoding),
        None if !has_controls(bytes) && reads_western(bytes) => Kind::Text(Encoding::Windows1252),
        None => Kind::Unknown,
    }
}

fn has_controls(bytes: &[u8]) -> bool {
    let controls = bytes
        .iter()
        .filter(|b| matches!(b, 0..=8 | 0xE..=0x1A | 0x1C..=0x1F | 0x7F))
        .count();
    controls * 100 > bytes.len() * CONTROLS_PERCENT || bytes.contains(&0)
}

/// Whether markup of HTML stands at the head.
fn is_html(bytes: &[u8]) -> bool {
    let head = bytes.get(..HEAD).unwrap_or(bytes).to_ascii_lowercase();
    [
        &b"<!doctype html"[..],
        b"<html",
        b"<head",
        b"<body",
        b"<table",
        b"<div",
        b"<script",
        b"<p>",
        b"<br",
    ]
    .iter()
    .any(|mark| memchr::memmem::find(&head, mark).is_some())
}

/// The order of UTF-16 by its mark, or by zeros at every second place.
fn utf16_order(bytes: &[u8]) -> Option<Encoding> {
    match bytes {
        [0xFF, 0xFE, 0, 0, ..] | [0, 0, 0xFE, 0xFF, ..] => return None,
        [0xFF, 0xFE, _, _, ..] => return Some(Encoding::Utf16Le),
        [0xFE, 0xFF, _, _, ..] => return Some(Encoding::Utf16Be),
        _ => {}
    }
    if bytes.len() < 8 || !bytes.len().is_multiple_of(2) {
        return None;
    }
    let zeros = |odd: usize| bytes.iter().skip(odd).step_by(2).filter(|b| **b == 0).count();
    let units = bytes.len() / 2;
    match (zeros(0), zeros(1)) {
        (0, high) if high * 10 >= units * 7 => Some(Encoding::Utf16Le),
        (high, 0) if high * 10 >= units * 7 => Some(Encoding::Utf16Be),
        _ => None,
    }
}

/// Western text has words: of its high bytes nearly all stand beside ASCII letters or spaces.
fn reads_western(bytes: &[u8]) -> bool {
    let high = bytes.iter().filter(|b| **b >= 0x80).count();
    let undefined = bytes
        .iter()
        .any(|b| matches!(b, 0x81 | 0x8D | 0x8F | 0x90 | 0x9D));
    let readable = bytes
        .iter()
        .filter(|b| b.is_ascii_alphanumeric() || b.is_ascii_whitespace())
        .count();
    !undefined && high * 4 <= bytes.len() && readable * 2 >= bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: Kind) {
        assert_eq!(identify(bytes), expected, "{} bytes", bytes.len());
    }

    #[test]
    fn types_are_told_by_content() {
        check(b"", Kind::Empty);
        check(b"hello", Kind::Text(Encoding::Utf8));
        check(b"-----BEGIN PRIVATE KEY-----", Kind::Text(Encoding::Utf8));
        check(b"#!/bin/sh", Kind::Text(Encoding::Utf8));
        check("größer".as_bytes(), Kind::Text(Encoding::Utf8));
        check(b"gr\xF6\xDFer als sonst", Kind::Text(Encoding::Windows1252));
        check(b"\xFF\xFEh\0i\0", Kind::Text(Encoding::Utf16Le));
        check(b"\0h\0e\0l\0l\0o", Kind::Text(Encoding::Utf16Be));
        check(b"<!DOCTYPE html><p>hi", Kind::Html);
        check(b"PK\x03\x04rest", Kind::Zip);
        check(b"\x1F\x8B\x08rest", Kind::Gzip);
        check(b"\xFF\xD8\xFF\xE0rest", Kind::Jpeg);
        check(b"\x89PNG\r\n\x1A\nrest", Kind::Png);
        check(
            b"%PDF-1.7 rest",
            Kind::Unreadable(UnscannableReason::UnsupportedType),
        );
        check(
            b"{\\rtf1 rest}",
            Kind::Unreadable(UnscannableReason::UnsupportedType),
        );
        check(
            b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1rest",
            Kind::Unreadable(UnscannableReason::UnsupportedType),
        );
        check(b"\x01\x02\x03\x04\x00\xFF", Kind::Unknown);
    }

    #[test]
    fn an_encrypted_office_document_is_known_as_such() {
        let mut bytes = b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1".to_vec();
        bytes.extend("EncryptedPackage".encode_utf16().flat_map(u16::to_le_bytes));
        check(&bytes, Kind::Unreadable(UnscannableReason::Encrypted));
    }
}
