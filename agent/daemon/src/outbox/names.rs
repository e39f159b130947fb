//! Names of outbox files (O4, O9).

use icu_normalizer::ComposingNormalizerBorrowed;

use super::manifest::SUFFIX;
use crate::limits::OUTBOX_NAME_BYTES_MAX;

/// What the outbox does with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameVerdict {
    /// A file to take.
    Take,
    /// A file that its program is still writing: hidden, `.tmp`, `~`, `.part` (O4).
    Unfinished,
    /// The manifest of another file (O4).
    Manifest,
    /// A name that could deceive whoever reads it (O9).
    Refuse(&'static str),
}

/// Judges a name; `None` is a name that is not UTF-8.
pub(crate) fn judge(name: Option<&str>) -> NameVerdict {
    let Some(name) = name else {
        return NameVerdict::Refuse("its name is not valid UTF-8");
    };
    let lower = name.to_ascii_lowercase();
    let unfinished = name.starts_with('.')
        || name.ends_with('~')
        || [".tmp", ".part", ".partial", ".crdownload", ".swp"]
            .iter()
            .any(|end| lower.ends_with(end));
    if unfinished {
        return NameVerdict::Unfinished;
    }
    if name.ends_with(SUFFIX) {
        return NameVerdict::Manifest;
    }
    if name.len() > OUTBOX_NAME_BYTES_MAX {
        return NameVerdict::Refuse("its name is too long");
    }
    if name.chars().any(deceives) {
        return NameVerdict::Refuse("its name holds control or direction characters");
    }
    NameVerdict::Take
}

/// A name as it is shown and sent: composed (NFC), as most systems and people write it. The file itself keeps its
/// bytes (O9).
pub(crate) fn composed(name: &str) -> String {
    ComposingNormalizerBorrowed::new_nfc()
        .normalize(name)
        .into_owned()
}

/// Control characters, and those that turn the direction of the text after them.
fn deceives(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// O9: macOS gives decomposed names; nobody sees the difference.
    #[test]
    fn names_are_shown_composed() {
        assert_eq!(composed("Gru\u{308}ße.pdf"), "Grüße.pdf");
        assert_eq!(composed("Grüße.pdf"), "Grüße.pdf");
    }

    /// O4, O9
    #[test]
    fn names_are_judged() {
        for (name, verdict) in [
            (Some("deploy-notes.txt"), NameVerdict::Take),
            (Some("Grüße.pdf"), NameVerdict::Take),
            (Some("notes.txt.outbox.json"), NameVerdict::Manifest),
            (Some(".deploy-notes.tmp"), NameVerdict::Unfinished),
            (Some("notes.TMP"), NameVerdict::Unfinished),
            (Some("notes.txt~"), NameVerdict::Unfinished),
            (
                Some("invoice\u{202e}fdp.exe"),
                NameVerdict::Refuse("its name holds control or direction characters"),
            ),
            (
                Some("a\nb"),
                NameVerdict::Refuse("its name holds control or direction characters"),
            ),
            (None, NameVerdict::Refuse("its name is not valid UTF-8")),
        ] {
            assert_eq!(judge(name), verdict, "{name:?}");
        }
        assert_eq!(
            judge(Some(&"x".repeat(300))),
            NameVerdict::Refuse("its name is too long")
        );
    }
}
