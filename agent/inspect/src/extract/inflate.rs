//! gzip (RFC 1952) and zlib (RFC 1950) streams, within the limits.

use std::io::Read;

use flate2::read::{MultiGzDecoder, ZlibDecoder};
use policies::terms::UnscannableReason;

use super::{Extractor, Origin};
use crate::limits::Budget;

/// Extracts the content of a gzip stream.
pub(crate) fn extract_gzip(extractor: &mut Extractor<'_>, bytes: &[u8], origin: &Origin) {
    match inflate(extractor.budget, MultiGzDecoder::new(bytes), bytes.len()) {
        Ok(content) => {
            extractor.extract(&content, &origin.member("gzip content"));
        }
        Err(reason) => extractor.unread(origin, reason),
    }
}

/// Extracts the content of a zlib stream.
pub(crate) fn extract_zlib(extractor: &mut Extractor<'_>, bytes: &[u8], origin: &Origin) {
    let mut stream = ZlibDecoder::new(bytes);
    match inflate(extractor.budget, &mut stream, bytes.len()) {
        Ok(content) => {
            extractor.extract(&content, &origin.member("zlib content"));
            let end = usize::try_from(stream.total_in()).unwrap_or(usize::MAX);
            if let Some(behind) = bytes.get(end..).filter(|behind| !behind.is_empty()) {
                extractor.extract(behind, &origin.member("data behind the zlib content"));
            }
        }
        Err(reason) => extractor.unread(origin, reason),
    }
}

/// The content of a zlib stream.
pub(crate) fn zlib(budget: &mut Budget, bytes: &[u8]) -> Result<Vec<u8>, UnscannableReason> {
    inflate(budget, ZlibDecoder::new(bytes), bytes.len())
}

fn inflate(budget: &mut Budget, stream: impl Read, compressed: usize) -> Result<Vec<u8>, UnscannableReason> {
    let compressed = compressed as u64;
    let mut content = Vec::new();
    let allowance = budget.allowance(compressed);
    stream
        .take(allowance.saturating_add(1))
        .read_to_end(&mut content)
        .map_err(|_| UnscannableReason::Broken)?;
    budget.expand(compressed, content.len() as u64)?;
    Ok(content)
}
