//! The vocabulary: identifiers, names and the small closed sets that every room shares.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// The text is not the hexadecimal form of an identifier.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected {digits} lower-case hexadecimal digits")]
pub struct InvalidId {
    digits: usize,
}

macro_rules! bytes_id {
    ($($(#[$doc:meta])* $name:ident, $len:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Wraps the bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let invalid = InvalidId { digits: 2 * $len };
                let mut bytes = [0; $len];
                if text.bytes().any(|b| b.is_ascii_uppercase()) || hex::decode_to_slice(text, &mut bytes).is_err() {
                    return Err(invalid);
                }
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

bytes_id! {
    /// A device, by the id that the gateway gave it.
    DeviceId, 16;
    /// A person, opaque outside the directory (K28).
    PersonId, 16;
    /// An audience: the id of its MLS group.
    AudienceId, 16;
    /// A story, by the `cti` of its clearance (RFC 8392).
    Cti, 16;
    /// An entry of the ledger.
    EntryId, 16;
    /// An event that an agent reports.
    EventId, 16;
    /// A SHA-256 digest.
    Digest, 32;
}

impl Digest {
    /// SHA-256 (FIPS 180-4) of the bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

/// The text is not a name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a name is 1 to 64 of `a-z 0-9 . _ -` and starts with a letter or digit")]
pub struct InvalidName;

macro_rules! name {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Checks and wraps.
            ///
            /// # Errors
            /// [`InvalidName`] unless it is 1 to 64 of `a-z 0-9 . _ -` and starts with a letter or digit.
            pub fn parse(text: &str) -> Result<Self, InvalidName> {
                let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
                let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
                if first && text.len() <= 64 && text.bytes().all(allowed) { Ok(Self(text.to_owned())) } else { Err(InvalidName) }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::parse(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
            }
        }
    )*};
}

name! {
    /// A company (P23).
    TenantId;
    /// A detector.
    DetectorId;
    /// A coarse family of detectors, the grain at which events are reported (K25).
    Family;
    /// A DLP rule.
    RuleId;
    /// A coarse classification that may leave the device.
    Label;
    /// The app that a story comes from.
    App;
    /// A group of the directory.
    GroupName;
}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// Every variant, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word on the wire and in files.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::terms::UnknownWord;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or($crate::terms::UnknownWord)
            }
        }
    )*};
}

pub(crate) use words;

/// The text is none of the known words.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not one of the known words")]
pub struct UnknownWord;

words! {
    /// What is done about a draft, in rising order.
    Action {
        /// Nothing.
        Allow = "allow",
        /// Recorded.
        Audit = "audit",
        /// The author confirms.
        Warn = "warn",
        /// The author gives a reason.
        Justify = "justify",
        /// What was found is removed.
        Redact = "redact",
        /// Nothing is sealed.
        Block = "block",
    }
    /// How sure a finding is, in rising order (N6).
    Confidence {
        /// A pattern alone, or a known test value.
        Low = "low",
        /// A checksum, or a pattern with context.
        Medium = "medium",
        /// A checksum with context, or an unmistakable form.
        High = "high",
    }
    /// Who is in an audience (K9).
    AudienceClass {
        /// The tenant's own people.
        Internal = "internal",
        /// At least one outsider's device.
        Guest = "guest",
    }
    /// Where a device's key lives.
    Tier {
        /// TPM or Secure Enclave.
        Hardware = "hardware",
        /// The operating system's store.
        OsStore = "os-store",
        /// A file.
        File = "file",
    }
    /// Who sealed a story (K17).
    Binding {
        /// The agent: the sealed bytes are the inspected bytes.
        AgentSealed = "agent-sealed",
        /// Another app, which says that it sealed what was inspected; nobody can prove it.
        AppAsserted = "app-asserted",
    }
    /// What an item is, by its content.
    ItemKind {
        /// Plain text.
        Text = "text",
        /// HTML.
        Html = "html",
        /// A picture.
        Image = "image",
        /// An office document.
        Document = "document",
        /// An archive.
        Archive = "archive",
        /// Anything else.
        Other = "other",
    }
    /// Why an item could not be inspected. Never counted as clean.
    UnscannableReason {
        /// It is encrypted.
        Encrypted = "encrypted",
        /// It does not follow its format.
        Broken = "broken",
        /// It is larger than the limit.
        TooLarge = "too-large",
        /// Its containers are nested too deep.
        TooDeep = "too-deep",
        /// It has too many entries.
        TooManyEntries = "too-many-entries",
        /// It expands too far.
        RatioExceeded = "ratio-exceeded",
        /// The time limit was reached (K21).
        TimeLimit = "time-limit",
        /// Its type is not read.
        UnsupportedType = "unsupported-type",
        /// It should hold text and none came out.
        EmptyExtraction = "empty-extraction",
        /// The work limit was reached.
        WorkLimit = "work-limit",
    }
    /// A check over a matched value (N4).
    Validator {
        /// ISO/IEC 7812-1, annex B.
        Luhn = "luhn",
        /// Issuer ranges of the large schemes.
        CardIssuer = "card-issuer",
        /// ISO 13616: country, length, check digits.
        Iban = "iban",
        /// ABA routing number.
        AbaRouting = "aba-routing",
        /// ISO 9362 country part.
        BicCountry = "bic-country",
        /// United States social security number.
        UsSsn = "us-ssn",
        /// United Kingdom national insurance number.
        UkNino = "uk-nino",
        /// NHS number.
        UkNhs = "uk-nhs",
        /// German tax identification number.
        DeSteuerId = "de-steuer-id",
        /// French NIR.
        FrNir = "fr-nir",
        /// Spanish DNI and NIE.
        EsDni = "es-dni",
        /// Italian codice fiscale.
        ItCodiceFiscale = "it-codice-fiscale",
        /// Dutch BSN.
        NlBsn = "nl-bsn",
        /// Polish PESEL.
        PlPesel = "pl-pesel",
        /// Swiss AHV number.
        ChAhv = "ch-ahv",
        /// Swedish personnummer.
        SeLuhnDate = "se-luhn-date",
        /// Belgian national number.
        BeNationalNumber = "be-national-number",
        /// Brazilian CPF.
        BrCpf = "br-cpf",
        /// CRC-32 of GitHub's tokens.
        GithubCrc32 = "github-crc32",
        /// Not a placeholder.
        NotPlaceholder = "not-placeholder",
        /// A digit and other characters, no code and no hyphenated words.
        NotProse = "not-prose",
        /// RFC 5321 address form.
        Email = "email",
        /// E.164 length.
        PhoneLength = "phone-length",
        /// A public IP address.
        IpPublic = "ip-public",
        /// A JSON Web Token's header.
        JwtHeader = "jwt-header",
    }
}

/// Families that detectors may use, the grain at which events are reported (K25).
pub const FAMILIES: &[&str] = &[
    "payment-card",
    "bank-account",
    "bank-routing",
    "national-id",
    "tax-id",
    "passport",
    "driving-licence",
    "health",
    "secret",
    "credential",
    "private-key",
    "email",
    "phone",
    "postal-address",
    "network-address",
    "crypto-wallet",
    "source-code",
    "finance",
    "classification",
    "sensitivity-label",
    "hr",
    "legal",
    "location",
    "metadata-author",
    "hash-list",
    "fingerprint",
    "exact-data",
    "person-name",
    "custom",
    "unscannable",
];

/// What one detector found in one item. The matched text and its place stay with the inspector.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// The detector.
    pub detector: DetectorId,
    /// Its family.
    pub family: Family,
    /// The highest confidence among its matches.
    pub confidence: Confidence,
    /// Matches.
    pub count: u32,
    /// Different values among them.
    pub distinct: u32,
    /// The item: 0 is the text of the draft, files follow.
    pub item: u16,
}

/// An item that could not be inspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unscannable {
    /// The item.
    pub item: u16,
    /// Why.
    pub reason: UnscannableReason,
}

/// An item, as rules see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemFacts {
    /// What it is.
    pub kind: ItemKind,
    /// Its size.
    pub size_bytes: u64,
}

/// What the inspector could do (K21).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Text in pictures.
    pub ocr: bool,
    /// Names and addresses.
    pub ner: bool,
    /// Parsers in a sandboxed child.
    pub sandbox: bool,
}

/// Everything that rules may know of a draft's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// [`draft_digest`] of the inspected draft.
    pub content: Digest,
    /// Its items, in order.
    pub items: Vec<ItemFacts>,
    /// What was found.
    pub findings: Vec<Finding>,
    /// What could not be inspected.
    pub unscannable: Vec<Unscannable>,
    /// What the inspector could do.
    pub capabilities: Capabilities,
}

/// The policy in force: version, digest of its bundle, index of its entry in the directory log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PolicyRef {
    /// Monotonic.
    pub version: u64,
    /// SHA-256 of the bundle's manifest.
    pub digest: Digest,
    /// Index in the directory log.
    pub log_index: u64,
}

/// Digest of a draft: SHA-256 over `"sealgate/draft/1"` and, for its text and then each file, the length
/// (u64, big-endian) and the bytes. A permit binds it; sealing computes it again over the very buffers (K1).
#[must_use]
pub fn draft_digest<'a>(text: &'a [u8], items: impl Iterator<Item = &'a [u8]>) -> Digest {
    let mut hash = Sha256::new();
    hash.update(b"sealgate/draft/1");
    for part in std::iter::once(text).chain(items) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    Digest(hash.finalize().into())
}
