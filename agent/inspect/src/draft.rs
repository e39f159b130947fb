//! What is to be shared: the text and its files, still in clear.

use std::fmt;

use policies::terms::{self, Digest};

/// A draft. It has no serialised form on purpose; `Debug` prints sizes only.
pub struct Draft {
    text: String,
    files: Vec<DraftFile>,
}

/// One attachment of a draft. Its name never leaves the device (K26).
pub struct DraftFile {
    /// Name as the author sees it; used for the path of a [`Place`](crate::Place), never to tell the type.
    pub name: String,
    /// Content.
    pub bytes: Vec<u8>,
}

impl Draft {
    /// A draft of this text and these files, in the author's order.
    #[must_use]
    pub fn new(text: String, files: Vec<DraftFile>) -> Self {
        Self { text, files }
    }

    /// The text: item 0.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The files: items 1 and up.
    #[must_use]
    pub fn files(&self) -> &[DraftFile] {
        &self.files
    }

    /// What a permit binds and sealing recomputes over the very buffers (K1).
    #[must_use]
    pub fn digest(&self) -> Digest {
        terms::draft_digest(
            self.text.as_bytes(),
            self.files.iter().map(|file| file.bytes.as_slice()),
        )
    }

    /// Items with their number, name (none for the text) and bytes.
    pub(crate) fn items(&self) -> impl Iterator<Item = (u16, Option<&str>, &[u8])> {
        let text = (0, None, self.text.as_bytes());
        let files = (1_u16..)
            .zip(&self.files)
            .map(|(n, f)| (n, Some(f.name.as_str()), f.bytes.as_slice()));
        std::iter::once(text).chain(files)
    }
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft")
            .field("text_bytes", &self.text.len())
            .field("files", &self.files)
            .finish()
    }
}

impl fmt::Debug for DraftFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DraftFile")
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R6
    #[test]
    fn debug_of_a_draft_prints_sizes_only() {
        let file = DraftFile {
            name: "salary.txt".into(),
            bytes: vec![7; 3],
        };
        let draft = Draft::new("hello".into(), vec![file]);
        assert_eq!(
            format!("{draft:?}"),
            "Draft { text_bytes: 5, files: [DraftFile { bytes: 3 }] }"
        );
    }
}
