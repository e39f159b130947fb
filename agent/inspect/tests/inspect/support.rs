//! The pieces that tests build files from.

use std::io::{Cursor, Write};

pub(crate) use crate::company::{engine, plan};
use agent_inspect::{Draft, DraftFile, Engine, Limits, Report};
use zip::write::SimpleFileOptions;

/// Inspects a text.
pub(crate) fn text(engine: &Engine, text: &str) -> Report {
    engine.inspect(&Draft::new(text.to_owned(), Vec::new()), &Limits::default())
}

/// A draft with one file and no text.
pub(crate) fn with_file(name: &str, bytes: Vec<u8>) -> Draft {
    Draft::new(
        String::new(),
        vec![DraftFile {
            name: name.to_owned(),
            bytes,
        }],
    )
}

/// Inspects a file.
pub(crate) fn file(engine: &Engine, name: &str, bytes: Vec<u8>) -> Report {
    engine.inspect(&with_file(name, bytes), &Limits::default())
}

/// A zip of these members.
pub(crate) fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A docx whose document has this body.
pub(crate) fn docx(body: &str, more: &[(&str, &[u8])]) -> Vec<u8> {
    let document = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><w:document xmlns:w=\"w\"><w:body>{body}</w:body></w:document>"
    );
    let mut members: Vec<(&str, &[u8])> = vec![
        ("[Content_Types].xml", b"<Types/>"),
        ("word/document.xml", document.as_bytes()),
    ];
    members.extend(more);
    zip(&members)
}

/// EXIF with a location and, if wanted, an orientation.
pub(crate) fn exif(orientation: Option<u16>) -> Vec<u8> {
    use exif::experimental::Writer;
    use exif::{Field, In, Rational, Tag, Value};
    let degrees = |d: u32, m: u32, s: u32| {
        Value::Rational([d, m, s].iter().map(|n| Rational { num: *n, denom: 1 }).collect())
    };
    let mut fields = vec![
        Field {
            tag: Tag::GPSLatitudeRef,
            ifd_num: In::PRIMARY,
            value: Value::Ascii(vec![b"N".to_vec()]),
        },
        Field {
            tag: Tag::GPSLatitude,
            ifd_num: In::PRIMARY,
            value: degrees(38, 42, 49),
        },
        Field {
            tag: Tag::GPSLongitudeRef,
            ifd_num: In::PRIMARY,
            value: Value::Ascii(vec![b"W".to_vec()]),
        },
        Field {
            tag: Tag::GPSLongitude,
            ifd_num: In::PRIMARY,
            value: degrees(9, 8, 21),
        },
        Field {
            tag: Tag::Artist,
            ifd_num: In::PRIMARY,
            value: Value::Ascii(vec![b"Ana Lima".to_vec()]),
        },
    ];
    fields.extend(orientation.map(|o| Field {
        tag: Tag::Orientation,
        ifd_num: In::PRIMARY,
        value: Value::Short(vec![o]),
    }));
    let mut writer = Writer::new();
    for field in &fields {
        writer.push_field(field);
    }
    let mut out = Cursor::new(Vec::new());
    writer.write(&mut out, false).unwrap();
    out.into_inner()
}

/// Entropy-coded data of [`jpeg`].
pub(crate) const SCAN: &[u8] = b"\x12\x34\xFF\x00\x56\xFF\xD0\x78\x9A";

/// A JPEG with this EXIF and this comment.
pub(crate) fn jpeg(exif: Option<&[u8]>, comment: &[u8]) -> Vec<u8> {
    let segment = |marker: u8, payload: &[u8]| {
        let len = u16::try_from(payload.len() + 2).unwrap();
        [&[0xFF, marker][..], &len.to_be_bytes(), payload].concat()
    };
    let mut bytes = vec![0xFF, 0xD8];
    bytes.extend(segment(0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"));
    if let Some(exif) = exif {
        bytes.extend(segment(0xE1, &[b"Exif\0\0", exif].concat()));
    }
    if !comment.is_empty() {
        bytes.extend(segment(0xFE, comment));
    }
    bytes.extend(segment(0xDA, b"\x01\x01\0\0\x3F\0"));
    bytes.extend(SCAN);
    bytes.extend([0xFF, 0xD9]);
    bytes
}

/// A PNG with these chunks between its header and its data.
pub(crate) fn png(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let chunk = |kind: &[u8; 4], data: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(kind);
        crc.update(data);
        let len = u32::try_from(data.len()).unwrap();
        [&len.to_be_bytes()[..], kind, data, &crc.sum().to_be_bytes()].concat()
    };
    let mut bytes = b"\x89PNG\r\n\x1A\n".to_vec();
    bytes.extend(chunk(b"IHDR", b"\0\0\0\x01\0\0\0\x01\x08\0\0\0\0"));
    for (kind, data) in chunks {
        bytes.extend(chunk(kind, data));
    }
    bytes.extend(chunk(b"IDAT", b"\x78\x9C\x63\x60\0\0\0\x02\0\x01"));
    bytes.extend(chunk(b"IEND", b""));
    bytes
}

/// Base64 with padding (RFC 4648).
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let joined = chunk.iter().fold(0_u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let shown = place <= chunk.len();
            out.push(if shown {
                char::from(ALPHABET[(joined >> (18 - 6 * place) & 63) as usize])
            } else {
                '='
            });
        }
    }
    out
}

/// Whether a detector found something.
pub(crate) fn finds(report: &Report, detector: &str) -> bool {
    report
        .matches()
        .iter()
        .any(|found| found.detector.as_str() == detector)
}
