//! PNG (W3C, third edition): text chunks, EXIF, and what stands behind the image.

use std::ops::Range;

use policies::terms::UnscannableReason;

use super::{Extractor, Origin, exif, inflate, jpeg};

const SIGNATURE: usize = 8;

struct Chunk {
    kind: [u8; 4],
    data: Range<usize>,
}

/// Adds what the metadata says, and the data behind the image as an item of its own.
pub(crate) fn extract(extractor: &mut Extractor<'_>, bytes: &[u8], origin: &Origin) {
    let Some((chunks, end)) = chunks(bytes) else {
        extractor.unread(origin, UnscannableReason::Broken);
        return;
    };
    for chunk in &chunks {
        let data = bytes.get(chunk.data.clone()).unwrap_or_default();
        match &chunk.kind {
            b"eXIf" => exif::extract(extractor, data, chunk.data.clone(), origin),
            b"tEXt" => jpeg::describe(extractor, data, chunk.data.clone(), origin),
            b"zTXt" => compressed(
                extractor,
                data,
                after_zeros(data, 1).map(|at| at + 1),
                chunk,
                origin,
            ),
            b"iTXt" if is_compressed(data) => {
                compressed(extractor, data, after_international(data), chunk, origin)
            }
            b"iTXt" => jpeg::describe(extractor, data, chunk.data.clone(), origin),
            _ => {}
        }
    }
    let behind = bytes.get(end..).unwrap_or_default();
    if behind.iter().any(|b| *b != 0) {
        extractor.extract(behind, &origin.member("data behind the image"));
    }
}

/// Offset behind the end chunk; none if the bytes are no whole PNG.
pub(crate) fn image_end(bytes: &[u8]) -> Option<usize> {
    chunks(bytes).map(|(_, end)| end)
}

fn compressed(
    extractor: &mut Extractor<'_>,
    data: &[u8],
    from: Option<usize>,
    chunk: &Chunk,
    origin: &Origin,
) {
    let Some((keyword, stream)) = from.and_then(|from| data.split_at_checked(from)) else {
        extractor.unread(origin, UnscannableReason::Broken);
        return;
    };
    match inflate::zlib(extractor.budget, stream) {
        Ok(text) => jpeg::describe(
            extractor,
            &[keyword, b"\n", &text].concat(),
            chunk.data.clone(),
            origin,
        ),
        Err(reason) => extractor.unread(origin, reason),
    }
}

/// Offset behind the `n`-th zero.
fn after_zeros(data: &[u8], n: usize) -> Option<usize> {
    memchr::memchr_iter(0, data).nth(n - 1).map(|at| at + 1)
}

/// An international text says whether it is compressed right behind its keyword.
fn is_compressed(data: &[u8]) -> bool {
    after_zeros(data, 1).and_then(|at| data.get(at)) == Some(&1)
}

/// Behind keyword, two flags, language and translated keyword.
fn after_international(data: &[u8]) -> Option<usize> {
    let language = after_zeros(data, 1)? + 2;
    let translated = language + after_zeros(data.get(language..)?, 1)?;
    Some(translated + after_zeros(data.get(translated..)?, 1)?)
}

/// Chunks with their data, and the offset behind the end chunk.
fn chunks(bytes: &[u8]) -> Option<(Vec<Chunk>, usize)> {
    let mut chunks = Vec::new();
    let mut at = SIGNATURE;
    loop {
        let len: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        let kind: [u8; 4] = bytes.get(at + 4..at + 8)?.try_into().ok()?;
        let len = usize::try_from(u32::from_be_bytes(len)).ok()?;
        let data = at + 8..(at + 8).checked_add(len)?;
        bytes.get(data.clone())?;
        at = data.end.checked_add(4).filter(|end| *end <= bytes.len())?;
        chunks.push(Chunk { kind, data });
        if kind == *b"IEND" {
            return Some((chunks, at));
        }
    }
}
