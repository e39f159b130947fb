//! Zip archives, and the documents that are zip archives inside.

use std::io::{Cursor, Read};

use ::zip::ZipArchive;
use ::zip::result::ZipError;
use policies::terms::{ItemKind, UnscannableReason};

use super::{Extractor, Origin, document};

/// Length of the record that ends a directory, without its comment (APPNOTE 4.3.16).
const DIRECTORY_END: usize = 22;

/// Length of a header in the directory, without what varies (APPNOTE 4.3.12).
const DIRECTORY_ENTRY: usize = 46;

type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

/// Extracts every member, what stands around the archive, its names and its comments.
pub(crate) fn extract(extractor: &mut Extractor<'_>, bytes: &[u8], origin: &Origin) -> ItemKind {
    let mut archive = match Archive::new(Cursor::new(bytes)) {
        Ok(archive) => archive,
        Err(error) => {
            extractor.unread(origin, reason(&error));
            return ItemKind::Archive;
        }
    };
    if entries(bytes, &archive) != Some(archive.len()) {
        extractor.unread(origin, UnscannableReason::Broken);
    }
    let names = names(&archive);
    let is_document = document::is_document(names.iter().map(String::as_str));
    let segments_before = extractor.segments.len();
    let unread_before = extractor.unread.len();
    around(extractor, bytes, &archive, origin);
    for index in 0..archive.len() {
        let read = extractor
            .budget
            .entry()
            .and_then(|()| read_member(extractor, &mut archive, index, origin));
        match read {
            Ok(Some(member)) => member.extract(extractor, is_document),
            Ok(None) => {}
            Err(reason) => {
                let name = names.get(index).map_or("member", String::as_str);
                extractor.unread(&origin.member(name), reason);
                if ends_the_walk(reason) {
                    break;
                }
            }
        }
    }
    let nothing = extractor.segments.len() == segments_before && extractor.unread.len() == unread_before;
    if is_document && nothing {
        extractor.unread(origin, UnscannableReason::EmptyExtraction);
    }
    extractor.name(origin, &names.join("\n\u{1}\n"));
    if is_document {
        ItemKind::Document
    } else {
        ItemKind::Archive
    }
}

/// What is before the first member and behind the directory, and the archive's comment.
fn around(extractor: &mut Extractor<'_>, bytes: &[u8], archive: &Archive<'_>, origin: &Origin) {
    let before = usize::try_from(archive.offset()).unwrap_or(0);
    if before > 0 {
        let head = bytes.get(..before).unwrap_or_default();
        extractor.extract(head, &origin.member("data in front of the archive"));
    }
    let comment = String::from_utf8_lossy(archive.comment()).into_owned();
    extractor.metadata(
        origin,
        &comment,
        bytes.len().saturating_sub(archive.comment().len())..bytes.len(),
    );
    let end =
        memchr::memmem::rfind(bytes, b"PK\x05\x06").map(|at| at + DIRECTORY_END + archive.comment().len());
    if let Some(behind) = end
        .and_then(|end| bytes.get(end..))
        .filter(|behind| !behind.is_empty())
    {
        extractor.extract(behind, &origin.member("data behind the archive"));
    }
}

/// Headers in the directory (APPNOTE 4.3.12). Of members with one name the archive keeps only the last.
fn entries(bytes: &[u8], archive: &Archive<'_>) -> Option<usize> {
    let mut at = usize::try_from(archive.central_directory_start()).ok()?;
    let mut count = 0;
    while let Some(header) = bytes.get(at..at.checked_add(DIRECTORY_ENTRY)?)
        && header.starts_with(b"PK\x01\x02")
    {
        let lengths = header.get(28..34)?;
        let variable: usize = lengths
            .chunks_exact(2)
            .filter_map(|pair| Some(usize::from(u16::from_le_bytes(pair.try_into().ok()?))))
            .sum();
        at = at.checked_add(DIRECTORY_ENTRY + variable)?;
        count += 1;
    }
    Some(count)
}

/// Names of the members, in their order; empty where a name cannot be read.
fn names(archive: &Archive<'_>) -> Vec<String> {
    archive
        .file_names()
        .map(|name| name.map(String::from).unwrap_or_default())
        .collect()
}

struct Member {
    origin: Origin,
    bytes: Vec<u8>,
}

impl Member {
    fn extract(self, extractor: &mut Extractor<'_>, in_document: bool) {
        let name = self.origin.path.last().map(String::as_str).unwrap_or_default();
        if in_document && document::is_part(name) {
            document::extract(extractor, &self.bytes, &self.origin);
        } else {
            extractor.extract(&self.bytes, &self.origin);
        }
    }
}

fn read_member(
    extractor: &mut Extractor<'_>,
    archive: &mut Archive<'_>,
    index: usize,
    origin: &Origin,
) -> Result<Option<Member>, UnscannableReason> {
    let raw = archive.by_index_raw(index).map_err(|error| reason(&error))?;
    let encrypted = raw.encrypted();
    let comment = raw.comment().to_owned();
    drop(raw);
    if encrypted {
        return Err(UnscannableReason::Encrypted);
    }
    let file = archive.by_index(index).map_err(|error| reason(&error))?;
    let name = file.name().map_err(|error| reason(&error))?.into_owned();
    let compressed = file.compressed_size();
    let is_folder = file.is_dir();
    let mut bytes = Vec::new();
    let allowance = extractor.budget.allowance(compressed);
    file.take(allowance.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|_| UnscannableReason::Broken)?;
    extractor.budget.expand(compressed, bytes.len() as u64)?;
    let origin = origin.member(&name);
    extractor.metadata(&origin, &comment, 0..bytes.len());
    Ok((!is_folder || !bytes.is_empty()).then_some(Member { origin, bytes }))
}

fn reason(error: &ZipError) -> UnscannableReason {
    match error {
        ZipError::UnsupportedArchive(text) if *text == ZipError::PASSWORD_REQUIRED => {
            UnscannableReason::Encrypted
        }
        ZipError::UnsupportedArchive(_) => UnscannableReason::UnsupportedType,
        ZipError::CompressionMethodNotSupported(_) => UnscannableReason::UnsupportedType,
        ZipError::InvalidPassword => UnscannableReason::Encrypted,
        ZipError::Io(_)
        | ZipError::InvalidArchive(_)
        | ZipError::FileNotFound
        | ZipError::DecompressedSizeLimitExceeded { .. }
        | ZipError::DecompressedSizeUnknown
        | _ => UnscannableReason::Broken,
    }
}

/// Whether a limit of the whole draft is used up.
fn ends_the_walk(reason: UnscannableReason) -> bool {
    matches!(
        reason,
        UnscannableReason::TooLarge | UnscannableReason::TooManyEntries | UnscannableReason::WorkLimit
    )
}
