//! A draft from a local frame, and back into one.

use agent_inspect::{Draft, DraftFile};
use zeroize::Zeroizing;

use crate::exit::Exit;
use crate::limits;
use crate::local::frame;
use crate::local::wire::{LocalProblem, ShareHeader};

/// Reads a frame: its header and the draft.
///
/// # Errors
/// It is no frame, no UTF-8 text, or larger than a draft may be.
pub(crate) fn from_frame(bytes: &[u8]) -> Result<(ShareHeader, Draft), LocalProblem> {
    let (header, parts) = frame::decode::<ShareHeader>(bytes).map_err(|error| usage(&error.to_string()))?;
    let draft = build(&header.names, parts)?;
    Ok((header, draft))
}

/// Writes a frame of the same draft, to be kept encrypted.
///
/// # Errors
/// It is larger than a frame may be.
pub(crate) fn to_frame(header: &ShareHeader, draft: &Draft) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut parts = vec![draft.text().as_bytes()];
    parts.extend(draft.files().iter().map(|file| file.bytes.as_slice()));
    Ok(frame::encode(header, &parts)?)
}

/// Builds a draft from its text and files.
///
/// # Errors
/// A bound is passed; the message names it.
pub(crate) fn build(names: &[String], parts: Vec<Zeroizing<Vec<u8>>>) -> Result<Draft, LocalProblem> {
    let bytes: u64 = parts.iter().map(|part| part.len() as u64).sum();
    if bytes > limits::DRAFT_BYTES_MAX {
        return Err(usage(&format!(
            "a story holds at most {} MiB",
            limits::DRAFT_BYTES_MAX / 1_048_576
        )));
    }
    let mut parts = parts.into_iter();
    let Some(text) = parts.next() else {
        return Err(usage("the draft has no text part"));
    };
    if text.len() > limits::TEXT_BYTES_MAX {
        return Err(usage(&format!(
            "a text holds at most {} KiB; attach it as a file",
            limits::TEXT_BYTES_MAX / 1024
        )));
    }
    let Ok(text) = String::from_utf8(text.to_vec()) else {
        return Err(usage("the text is not UTF-8; attach it as a file"));
    };
    if names.len() != parts.len() || names.len() > limits::DRAFT_FILES_MAX {
        return Err(usage(&format!(
            "a story holds at most {} files",
            limits::DRAFT_FILES_MAX
        )));
    }
    let files = names.iter().zip(parts).map(|(name, bytes)| DraftFile {
        name: name.clone(),
        bytes: bytes.to_vec(),
    });
    Ok(Draft::new(text, files.collect()))
}

fn usage(message: &str) -> LocalProblem {
    LocalProblem {
        message: message.to_owned(),
        help: None,
        exit: Exit::Usage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_survives_being_kept() {
        let header = ShareHeader {
            names: vec!["a.txt".to_owned()],
            ..ShareHeader::default()
        };
        let frame = frame::encode(&header, &[b"words", b"\x00\x01"]).unwrap();
        let (read, draft) = from_frame(&frame).unwrap();
        assert_eq!(draft.text(), "words");
        assert_eq!(to_frame(&read, &draft).unwrap(), frame);
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_with_help() {
        let frame = frame::encode(&ShareHeader::default(), &[b"\xff"]).unwrap();
        assert!(
            from_frame(&frame)
                .unwrap_err()
                .message
                .contains("attach it as a file")
        );
    }
}
