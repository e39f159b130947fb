//! One frame: a JSON header and the raw parts of a draft. It crosses the local socket, and it is
//! what a kept draft is at rest (encrypted). Content never becomes JSON.
//!
//! ```text
//! u32 header length | header | u32 parts | (u64 length | bytes)*      all big-endian
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::limits;

/// The raw parts of a frame: the text, then the files.
pub(crate) type Parts = Vec<Zeroizing<Vec<u8>>>;

/// Why bytes are no frame.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum FrameError {
    #[error("the frame ends early")]
    Short,
    #[error("the frame is larger than the agent takes")]
    Large,
    #[error("the frame's header cannot be read")]
    Header,
}

/// Writes a frame.
///
/// # Errors
/// The header cannot be written, or a part is too large.
pub(crate) fn encode<H: Serialize>(header: &H, parts: &[&[u8]]) -> Result<Zeroizing<Vec<u8>>, FrameError> {
    let header = serde_json::to_vec(header).map_err(|_| FrameError::Header)?;
    let total: usize = parts.iter().map(|part| part.len() + 8).sum();
    let mut frame = Zeroizing::new(Vec::with_capacity(header.len() + total + 8));
    frame.extend(length32(header.len())?);
    frame.extend(&header);
    frame.extend(length32(parts.len())?);
    for part in parts {
        frame.extend((part.len() as u64).to_be_bytes());
        frame.extend_from_slice(part);
    }
    Ok(frame)
}

/// Reads a frame; nothing may follow it.
///
/// # Errors
/// Anything else than one whole frame within the limits.
pub(crate) fn decode<H: DeserializeOwned>(frame: &[u8]) -> Result<(H, Parts), FrameError> {
    let mut rest = frame;
    let header_bytes = u32::from_be_bytes(array(&mut rest)?) as usize;
    if header_bytes > limits::FRAME_HEADER_BYTES_MAX {
        return Err(FrameError::Large);
    }
    let header = serde_json::from_slice(take(&mut rest, header_bytes)?).map_err(|_| FrameError::Header)?;
    let count = u32::from_be_bytes(array(&mut rest)?) as usize;
    if count > limits::DRAFT_FILES_MAX + 1 {
        return Err(FrameError::Large);
    }
    let mut parts = Vec::with_capacity(count);
    for _ in 0..count {
        let length = usize::try_from(u64::from_be_bytes(array(&mut rest)?)).map_err(|_| FrameError::Large)?;
        parts.push(Zeroizing::new(take(&mut rest, length)?.to_vec()));
    }
    if rest.is_empty() {
        Ok((header, parts))
    } else {
        Err(FrameError::Large)
    }
}

fn length32(length: usize) -> Result<[u8; 4], FrameError> {
    Ok(u32::try_from(length)
        .map_err(|_| FrameError::Large)?
        .to_be_bytes())
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], FrameError> {
    let (taken, left) = rest.split_at_checked(length).ok_or(FrameError::Short)?;
    *rest = left;
    Ok(taken)
}

fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], FrameError> {
    take(rest, N)?.try_into().map_err(|_| FrameError::Short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_survives_the_socket() {
        let frame = encode(&"header", &[b"text", b"", b"\x00\xff"]).unwrap();
        let (header, parts) = decode::<String>(&frame).unwrap();
        assert_eq!(header, "header");
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_slice()).collect();
        assert_eq!(parts, [b"text".as_slice(), b"", b"\x00\xff"]);
    }

    #[test]
    fn every_cut_frame_is_refused() {
        let frame = encode(&"header", &[b"text"]).unwrap();
        for length in 0..frame.len() {
            assert!(decode::<String>(&frame[..length]).is_err(), "{length}");
        }
        let mut longer = frame.to_vec();
        longer.push(0);
        assert_eq!(decode::<String>(&longer), Err(FrameError::Large));
    }
}
