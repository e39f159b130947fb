//! What an entry of the ledger is (L1, K27): a clear header without personal data, and a sealed payload.
//!
//! ```text
//! version 0x01 | tenant | at_s u64 | writer_id | writer_seq u64 | kind | policy_version u64 | dek_id 16 | entry_id 16 | payload ...
//! ```
//! Numbers are big-endian; a name is one byte of length and its bytes. The payload is the rest: AES-256-GCM under the
//! key `dek_id`, with the header's bytes as associated data. This crate does not look into it.

use crate::limits::{ENTRY_BYTES_MAX, HEADER_NAME_BYTES_MAX};

const VERSION: u8 = 0x01;

/// The clear part of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whose ledger.
    pub tenant: String,
    /// When, Unix seconds, by the writer's clock. The index orders, not this (L6).
    pub at_s: u64,
    /// The gateway node that wrote it; never a person or a device.
    pub writer_id: String,
    /// Dense per writer: a gap shows.
    pub writer_seq: u64,
    /// What kind of entry, such as `relay`.
    pub kind: String,
    /// The policy in force.
    pub policy_version: u64,
    /// Names the key of the payload.
    pub dek_id: [u8; 16],
    /// Random name of the entry.
    pub entry_id: [u8; 16],
}

/// An entry of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The clear part.
    pub header: Header,
    /// The sealed part.
    pub payload: Vec<u8>,
}

/// Why an entry was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// A header name that is empty, too long, or has other characters.
    #[error(
        "`{0}` of the entry's header is not a name: 1 to {HEADER_NAME_BYTES_MAX} of a-z, 0-9, `.`, `_`, `-`, `/`"
    )]
    InvalidName(&'static str),
    /// More bytes than a log takes.
    #[error("the entry of {0} bytes is larger than the {ENTRY_BYTES_MAX} bytes that a log takes")]
    TooLarge(usize),
    /// Bytes of a version that this program does not read.
    #[error("the entry has format {0}; read it with a newer version of this program")]
    UnknownVersion(u8),
    /// Bytes that end within the header.
    #[error("the entry ends within its header")]
    Truncated,
}

impl Header {
    /// The header's bytes, which the payload's encryption authenticates.
    ///
    /// # Errors
    /// If a name is none.
    pub fn encode(&self) -> Result<Vec<u8>, EntryError> {
        let mut bytes = vec![VERSION];
        put_name(&mut bytes, "tenant", &self.tenant)?;
        bytes.extend_from_slice(&self.at_s.to_be_bytes());
        put_name(&mut bytes, "writer_id", &self.writer_id)?;
        bytes.extend_from_slice(&self.writer_seq.to_be_bytes());
        put_name(&mut bytes, "kind", &self.kind)?;
        bytes.extend_from_slice(&self.policy_version.to_be_bytes());
        bytes.extend_from_slice(&self.dek_id);
        bytes.extend_from_slice(&self.entry_id);
        Ok(bytes)
    }
}

impl Entry {
    /// The entry's bytes.
    ///
    /// # Errors
    /// If a name is none, or the whole is too large.
    pub fn encode(&self) -> Result<Vec<u8>, EntryError> {
        let mut bytes = self.header.encode()?;
        bytes.extend_from_slice(&self.payload);
        check_size(&bytes)?;
        Ok(bytes)
    }

    /// Reads an entry. The header has one form only: encoding it again gives the same bytes.
    ///
    /// # Errors
    /// If the bytes are not an entry.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        check_size(bytes)?;
        let mut reader = Reader(bytes);
        match reader.array::<1>()? {
            [VERSION] => {}
            [other] => return Err(EntryError::UnknownVersion(other)),
        }
        let header = Header {
            tenant: reader.name("tenant")?,
            at_s: reader.number()?,
            writer_id: reader.name("writer_id")?,
            writer_seq: reader.number()?,
            kind: reader.name("kind")?,
            policy_version: reader.number()?,
            dek_id: reader.array()?,
            entry_id: reader.array()?,
        };
        Ok(Self {
            header,
            payload: reader.0.to_vec(),
        })
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], EntryError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(EntryError::Truncated)?;
        self.0 = rest;
        Ok(*array)
    }

    fn number(&mut self) -> Result<u64, EntryError> {
        self.array().map(u64::from_be_bytes)
    }

    fn name(&mut self, field: &'static str) -> Result<String, EntryError> {
        let [length] = self.array()?;
        let (name, rest) = self
            .0
            .split_at_checked(length.into())
            .ok_or(EntryError::Truncated)?;
        self.0 = rest;
        let name = str::from_utf8(name).map_err(|_| EntryError::InvalidName(field))?;
        check_name(field, name)?;
        Ok(name.to_owned())
    }
}

fn put_name(bytes: &mut Vec<u8>, field: &'static str, name: &str) -> Result<(), EntryError> {
    check_name(field, name)?;
    bytes.push(u8::try_from(name.len()).map_err(|_| EntryError::InvalidName(field))?);
    bytes.extend_from_slice(name.as_bytes());
    Ok(())
}

fn check_name(field: &'static str, name: &str) -> Result<(), EntryError> {
    let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'/');
    let valid = (1..=HEADER_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed);
    if valid {
        Ok(())
    } else {
        Err(EntryError::InvalidName(field))
    }
}

fn check_size(bytes: &[u8]) -> Result<(), EntryError> {
    if bytes.len() > ENTRY_BYTES_MAX {
        Err(EntryError::TooLarge(bytes.len()))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry() -> Entry {
        let header = Header {
            tenant: "acme".to_owned(),
            at_s: 1_800_000_000,
            writer_id: "gateway-1".to_owned(),
            writer_seq: 17,
            kind: "relay".to_owned(),
            policy_version: 3,
            dek_id: [0xd1; 16],
            entry_id: [0xe2; 16],
        };
        Entry {
            header,
            payload: b"sealed".to_vec(),
        }
    }

    #[test]
    fn bytes_of_an_entry_stay_as_they_are() {
        insta::assert_snapshot!(hex::encode(entry().encode().unwrap()), @"010461636d65000000006b49d20009676174657761792d3100000000000000110572656c61790000000000000003d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e27365616c6564");
    }

    #[test]
    fn entry_reads_back() {
        assert_eq!(Entry::decode(&entry().encode().unwrap()), Ok(entry()));
    }

    #[test]
    fn names_other_than_names_are_refused() {
        let mut entry = entry();
        for kind in ["", "Relay", "a b", "ä", &"x".repeat(65)] {
            entry.header.kind = kind.to_owned();
            assert_eq!(entry.encode(), Err(EntryError::InvalidName("kind")));
        }
    }

    #[test]
    fn entry_ends_at_65535_bytes() {
        let mut entry = entry();
        let header = entry.header.encode().unwrap().len();
        entry.payload = vec![0; ENTRY_BYTES_MAX - header];
        assert!(entry.encode().is_ok());
        entry.payload.push(0);
        assert_eq!(entry.encode(), Err(EntryError::TooLarge(65_536)));
    }

    #[test]
    fn header_cut_anywhere_is_refused() {
        let header = entry().header.encode().unwrap();
        for end in 0..header.len() {
            assert!(Entry::decode(&header[..end]).is_err());
        }
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(entry) = Entry::decode(&bytes) {
                prop_assert_eq!(entry.encode(), Ok(bytes));
            }
        }
    }
}
