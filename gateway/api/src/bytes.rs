//! Bytes in JSON: base64url without padding (RFC 4648, section 5).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// Opaque bytes on the wire. `Debug` prints the length only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    /// The text form: base64url without padding.
    #[must_use]
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.0)
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// Anything that is not base64url without padding.
    pub fn from_text(text: &str) -> Result<Self, NotBase64> {
        URL_SAFE_NO_PAD.decode(text).map(Self).map_err(|_| NotBase64)
    }
}

/// The text is not base64url without padding.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not base64url without padding")]
pub struct NotBase64;

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({} B)", self.0.len())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_text())
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64url text without padding")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
                Bytes::from_text(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_the_text_form() {
        let bytes = Bytes(vec![0, 255, 254, 62, 63]);
        assert_eq!(Bytes::from_text(&bytes.to_text()), Ok(bytes));
    }

    #[test]
    fn debug_prints_no_byte() {
        assert_eq!(format!("{:?}", Bytes(vec![1, 2, 3])), "Bytes(3 B)");
    }

    #[test]
    fn padding_is_refused() {
        assert_eq!(Bytes::from_text("AA=="), Err(NotBase64));
    }
}
