//! Masking in place.

use crate::identify::Encoding;
use crate::place::Transform;
use crate::redact::{Change, ChangeKind, NotRedactable};
use crate::report::Located;
use crate::secret::mask;

/// Family whose values are masked whole: the end of a secret is a part of the secret.
const SECRETS: &[&str] = &["secret", "credential", "private-key"];
/// Letters and digits that stay of other values.
const SHOWN: usize = 4;

/// The bytes with every match masked.
pub(super) fn masked(
    item: u16,
    bytes: &[u8],
    encoding: Encoding,
    found: &[&Located],
    changes: &mut Vec<Change>,
) -> Result<Vec<u8>, NotRedactable> {
    let mut found = found.to_vec();
    // Wider first, so that what overlaps it is left out.
    found.sort_by_key(|f| (f.place.span.start, usize::MAX - f.place.span.end));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    for one in found {
        let span = one.place.span.clone();
        if span.end <= at {
            continue;
        }
        let start = span.start.max(at);
        let text = mask_for(one, start == span.start);
        out.extend_from_slice(bytes.get(at..start).ok_or(NotRedactable::Type { item })?);
        out.extend(encoded(&text, encoding));
        at = span.end;
        changes.push(Change {
            item,
            kind: ChangeKind::Masked {
                detector: one.detector.clone(),
                mask: text,
            },
        });
    }
    out.extend_from_slice(bytes.get(at..).ok_or(NotRedactable::Type { item })?);
    Ok(out)
}

/// The value under its mask; encoded or partly masked values go whole, since what is left of them would still decode.
fn mask_for(found: &Located, whole: bool) -> String {
    let encoded = [Transform::Base64, Transform::Hex]
        .iter()
        .any(|t| found.place.chain.contains(t));
    let secret = SECRETS.contains(&found.family.as_str());
    match (encoded, whole && !secret) {
        (true, _) => "[removed]".to_owned(),
        (false, true) => mask(found.value.reveal(), SHOWN),
        (false, false) => mask(found.value.reveal(), 0),
    }
}

fn encoded(text: &str, encoding: Encoding) -> Vec<u8> {
    match encoding {
        Encoding::Utf8 => text.as_bytes().to_vec(),
        Encoding::Utf16Be => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        Encoding::Utf16Le => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        Encoding::Windows1252 => text.chars().map(|c| u8::try_from(c).unwrap_or(b'*')).collect(),
    }
}
