//! A draft on its way to the agent, as a frame: a JSON header, then raw parts.
//!
//! ```text
//! u32 header length | header | u32 parts | (u64 length | bytes)*      all big-endian; first the text, then the files
//! ```

use serde::Serialize;

use crate::Error;
use crate::wire::ListId;

/// What is about to be shared. `Debug` prints no content.
#[derive(Clone, Default)]
pub struct Draft<'a> {
    text: &'a str,
    files: Vec<(&'a str, &'a [u8])>,
    labels: Vec<&'a str>,
    reason: Option<&'a str>,
    accept_warning: bool,
}

impl<'a> Draft<'a> {
    /// A draft with this text and no files.
    #[must_use]
    pub fn text(text: &'a str) -> Self {
        Self {
            text,
            ..Self::default()
        }
    }

    /// With a file: its name, and its bytes before they are sealed.
    #[must_use]
    pub fn file(mut self, name: &'a str, bytes: &'a [u8]) -> Self {
        self.files.push((name, bytes));
        self
    }

    /// With a label of the company's beside those that its rules set.
    #[must_use]
    pub fn label(mut self, label: &'a str) -> Self {
        self.labels.push(label);
        self
    }

    /// With the author's reason, where a rule asked for one (`needs_reason`).
    #[must_use]
    pub fn reason(mut self, reason: &'a str) -> Self {
        self.reason = Some(reason);
        self
    }

    /// With the author's confirmation, where a rule warned (`needs_acceptance`).
    #[must_use]
    pub fn accept_warning(mut self) -> Self {
        self.accept_warning = true;
        self
    }

    /// The bytes for the socket.
    pub(crate) fn frame(&self, list: Option<&ListId>) -> Result<Vec<u8>, Error> {
        let header = Header {
            audience: list.map(|list| list.0.as_str()),
            labels: &self.labels,
            reason: self.reason,
            accept_warning: self.accept_warning,
            ttl_s: None,
            names: self.files.iter().map(|(name, _)| *name).collect(),
        };
        let header = serde_json::to_vec(&header).map_err(|error| Error::Unreadable(error.to_string()))?;
        let parts = std::iter::once(self.text.as_bytes()).chain(self.files.iter().map(|(_, bytes)| *bytes));
        let mut frame = length32(header.len())?.to_vec();
        frame.extend(header);
        frame.extend(length32(self.files.len().saturating_add(1))?);
        for part in parts {
            frame.extend((part.len() as u64).to_be_bytes());
            frame.extend(part);
        }
        Ok(frame)
    }
}

impl std::fmt::Debug for Draft<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Draft({} B, {} files)", self.text.len(), self.files.len())
    }
}

#[derive(Serialize)]
struct Header<'a> {
    audience: Option<&'a str>,
    labels: &'a [&'a str],
    reason: Option<&'a str>,
    accept_warning: bool,
    ttl_s: Option<u32>,
    names: Vec<&'a str>,
}

fn length32(length: usize) -> Result<[u8; 4], Error> {
    u32::try_from(length)
        .map(u32::to_be_bytes)
        .map_err(|_| Error::Argument("draft"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that `agent/LOCAL-API.md` describes.
    #[test]
    fn frame_is_as_described() {
        let frame = Draft::text("hi").file("a.txt", b"x").frame(None).unwrap();
        let header = br#"{"audience":null,"labels":[],"reason":null,"accept_warning":false,"ttl_s":null,"names":["a.txt"]}"#;
        let expected = [
            &u32::try_from(header.len()).unwrap().to_be_bytes()[..],
            header,
            &[0, 0, 0, 2],
            &[0, 0, 0, 0, 0, 0, 0, 2],
            b"hi",
            &[0, 0, 0, 0, 0, 0, 0, 1],
            b"x",
        ];
        assert_eq!(frame, expected.concat());
    }

    #[test]
    fn debug_prints_no_content() {
        assert_eq!(format!("{:?}", Draft::text("secret")), "Draft(6 B, 0 files)");
    }
}
