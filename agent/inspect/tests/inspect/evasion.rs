//! The evasion matrix (V8): each transform over an example of each detector. Written into README.md.

use std::fmt::Write as _;

use agent_inspect::{Draft, DraftFile, Engine, Limits};

use crate::support::{base64, docx, engine, finds, jpeg, png, zip};

/// Texts that the named detector finds as they stand.
const TEXTS: [(&str, &str); 8] = [
    ("card-number", "my card 4539 3195 0343 6467"),
    ("iban", "iban DE02 1203 0000 0000 2020 51"),
    ("us-ssn", "ssn 536-90-4399"),
    ("ch-ahv", "AHV-Nummer 756.9217.0769.85"),
    ("es-dni", "DNI 54362315-K"),
    ("email-address", "write to ana.lima@acme.example"),
    ("aws-access-key-id", concat!("AK", "IAZ5GM7PXQ2RN4TKWD")),
    (
        "connection-string-password",
        "DATABASE_URL=postgres://ledger:tr0mbone-Kettle-41@db.acme.example/ledger",
    ),
];

type Transform = fn(&str) -> Draft;

/// Ways to write, encode and hide a text.
const TRANSFORMS: [(&str, Transform); 25] = [
    ("plain", |t| said(t.to_owned())),
    ("zero-width space after every character", |t| {
        said(each(t, |c| format!("{c}\u{200B}")))
    }),
    ("soft hyphen after every character", |t| {
        said(each(t, |c| format!("{c}\u{AD}")))
    }),
    ("fullwidth", |t| {
        said(each(t, |c| {
            if c.is_ascii_graphic() {
                shift(c, 0xFEE0)
            } else {
                c.to_string()
            }
        }))
    }),
    ("mathematical digits", |t| {
        said(each(t, |c| {
            if c.is_ascii_digit() {
                shift(c, 0x1D7CE - 0x30)
            } else {
                c.to_string()
            }
        }))
    }),
    ("Arabic digits", |t| {
        said(each(t, |c| {
            if c.is_ascii_digit() {
                shift(c, 0x660 - 0x30)
            } else {
                c.to_string()
            }
        }))
    }),
    ("Cyrillic look-alikes", |t| {
        said(each(t, |c| {
            "aeopcxAEOPCXBKHMT".find(c).map_or(c.to_string(), |at| {
                "аеорсхАЕОРСХВКНМТ".chars().nth(at).unwrap().to_string()
            })
        }))
    }),
    ("strike-through marks on digits", |t| {
        said(each(t, |c| {
            if c.is_ascii_digit() {
                format!("{c}\u{336}")
            } else {
                c.to_string()
            }
        }))
    }),
    ("base64", |t| said(base64(t.as_bytes()))),
    ("base64, URL-safe, bare", |t| {
        said(
            base64(t.as_bytes())
                .replace('+', "-")
                .replace('/', "_")
                .trim_end_matches('=')
                .to_owned(),
        )
    }),
    ("base64 twice", |t| said(base64(base64(t.as_bytes()).as_bytes()))),
    ("base64 of UTF-16", |t| said(base64(&utf16(t)))),
    ("base64 of gzip", |t| said(base64(&gzip(t.as_bytes())))),
    ("hexadecimal", |t| said(each_byte(t, |b| format!("{b:02x}")))),
    ("hexadecimal with spaces", |t| {
        said(each_byte(t, |b| format!("{b:02X} ")))
    }),
    ("percent", |t| said(each_byte(t, |b| format!("%{b:02X}")))),
    ("HTML references", |t| {
        said(each(t, |c| format!("&#{};", u32::from(c))))
    }),
    ("\\u escapes", |t| {
        said(each(t, |c| format!("\\u{:04x}", u32::from(c))))
    }),
    ("quoted-printable", |t| {
        said(each_byte(t, |b| format!("={b:02X}")))
    }),
    ("markup between characters", |t| {
        filed("a.html", each(t, |c| format!("{c}<!-- --><i></i>")).into_bytes())
    }),
    ("UTF-16 file", |t| {
        filed("a.txt", [&[0xFF, 0xFE][..], &utf16(t)].concat())
    }),
    ("zip in a zip, renamed", |t| {
        filed("a.jpg", zip(&[("b.dat", &zip(&[("c.txt", t.as_bytes())]))]))
    }),
    ("docx, split over runs", |t| {
        filed(
            "a.docx",
            docx(&each(t, |c| format!("<w:r><w:t>{c}</w:t></w:r>")), &[]),
        )
    }),
    ("JPEG comment", |t| filed("a.jpg", jpeg(None, t.as_bytes()))),
    ("behind a PNG", |t| {
        filed("a.png", [png(&[]), t.as_bytes().to_vec()].concat())
    }),
];

fn said(text: String) -> Draft {
    Draft::new(text, Vec::new())
}

fn filed(name: &str, bytes: Vec<u8>) -> Draft {
    Draft::new(
        String::new(),
        vec![DraftFile {
            name: name.to_owned(),
            bytes,
        }],
    )
}

fn each(text: &str, write: impl Fn(char) -> String) -> String {
    text.chars().map(write).collect()
}

fn each_byte(text: &str, write: impl Fn(u8) -> String) -> String {
    text.bytes().map(write).collect()
}

fn shift(c: char, by: u32) -> String {
    char::from_u32(u32::from(c) + by).unwrap().to_string()
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn matrix(engine: &Engine) -> String {
    let mut table = String::from("| |");
    for (detector, _) in TEXTS {
        write!(table, " {detector} |").unwrap();
    }
    table.push_str("\n| --- |");
    table.push_str(&" --- |".repeat(TEXTS.len()));
    for (name, transform) in TRANSFORMS {
        write!(table, "\n| {name} |").unwrap();
        for (detector, text) in TEXTS {
            let report = engine.inspect(&transform(text), &Limits::default());
            table.push_str(if finds(&report, detector) {
                " found |"
            } else {
                " missed |"
            });
        }
    }
    table.push('\n');
    table
}

/// V8: run with `UPDATE_README=1` to write the table.
#[test]
fn the_readme_shows_the_evasion_matrix_as_it_is() {
    const BEGIN: &str = "<!-- evasion matrix -->\n";
    const END: &str = "<!-- end of evasion matrix -->";
    let table = matrix(&engine());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let (head, rest) = readme.split_once(BEGIN).unwrap();
    let (shown, tail) = rest.split_once(END).unwrap();
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(path, format!("{head}{BEGIN}{table}{END}{tail}")).unwrap();
    } else {
        assert_eq!(
            shown, table,
            "run this test with UPDATE_README=1 and commit the README"
        );
    }
}

/// V1, V3
#[test]
fn no_transform_hides_a_card_number() {
    let engine = engine();
    let (detector, text) = TEXTS[0];
    let missed: Vec<&str> = TRANSFORMS
        .iter()
        .filter(|(_, transform)| !finds(&engine.inspect(&transform(text), &Limits::default()), detector))
        .map(|(name, _)| *name)
        .collect();
    assert_eq!(missed, Vec::<&str>::new());
}
