//! Strict CBOR (RFC 8949, section 4.2.1): one reader and one writer for everything that is signed or hashed.
//!
//! The reader refuses what a second encoder could have written otherwise: indefinite lengths, lengths and
//! integers that are not in their shortest form, map keys that are not in ascending order of their bytes
//! (and so duplicates), trailing bytes, floats, and nesting past a bound.

use ciborium::Value;

/// Nesting that our formats need, with room.
const DEPTH_MAX: usize = 16;
/// Items of one value: an item of one byte takes 32 in memory, so this bounds what a peer's bytes grow to (2 MiB).
/// A roster of 2,000 persons and a bundle of 512 parts need far fewer.
const ITEMS_MAX: usize = 65_536;
/// Tag of COSE_Sign1 (RFC 9052), the one tag that is let through.
const TAG_COSE_SIGN1: u64 = 18;

/// Why bytes are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// They end too early.
    #[error("the CBOR ends too early")]
    Truncated,
    /// Something follows.
    #[error("something follows the CBOR item")]
    Trailing,
    /// An indefinite length, a float, an unknown simple value or tag, or a form that is not the shortest.
    #[error("the CBOR is not in its deterministic form")]
    NotDeterministic,
    /// Map keys out of order, or twice.
    #[error("map keys are out of order or twice")]
    KeyOrder,
    /// Nested too deep.
    #[error("the CBOR is nested too deep")]
    TooDeep,
    /// More items than any of our formats has.
    #[error("the CBOR has too many items")]
    TooMany,
    /// Text that is not UTF-8.
    #[error("text is not UTF-8")]
    NotUtf8,
}

/// Reads one item in deterministic form.
///
/// # Errors
/// [`CborError`] for anything that [`canonical`] would not have written.
pub fn strict_value(bytes: &[u8]) -> Result<Value, CborError> {
    let mut reader = Reader {
        rest: bytes,
        items: 0,
    };
    let value = reader.item(0)?;
    if reader.rest.is_empty() {
        Ok(value)
    } else {
        Err(CborError::Trailing)
    }
}

/// Writes an item in deterministic form: map keys in ascending order of their encoded bytes.
#[must_use]
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(value, &mut out);
    out
}

struct Reader<'a> {
    rest: &'a [u8],
    items: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], CborError> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(CborError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    fn head(&mut self) -> Result<(u8, u64), CborError> {
        let first = *self.take(1)?.first().ok_or(CborError::Truncated)?;
        let (major, short) = (first >> 5, first & 0x1f);
        let width = match short {
            0..24 => return Ok((major, u64::from(short))),
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => return Err(CborError::NotDeterministic),
        };
        let argument = self
            .take(width)?
            .iter()
            .fold(0, |sum: u64, byte| (sum << 8) | u64::from(*byte));
        let shortest = match width {
            1 => argument >= 24,
            2 => argument > u64::from(u8::MAX),
            4 => argument > u64::from(u16::MAX),
            _ => argument > u64::from(u32::MAX),
        };
        if shortest && major != 7 {
            Ok((major, argument))
        } else {
            Err(CborError::NotDeterministic)
        }
    }

    fn length(&self, argument: u64) -> Result<usize, CborError> {
        usize::try_from(argument)
            .ok()
            .filter(|length| *length <= self.rest.len())
            .ok_or(CborError::Truncated)
    }

    fn item(&mut self, depth: usize) -> Result<Value, CborError> {
        if depth > DEPTH_MAX {
            return Err(CborError::TooDeep);
        }
        self.items += 1;
        if self.items > ITEMS_MAX {
            return Err(CborError::TooMany);
        }
        let (major, argument) = self.head()?;
        match major {
            0 => Ok(Value::Integer(argument.into())),
            1 => {
                let value = -1 - i128::from(argument);
                Ok(Value::Integer(
                    value.try_into().map_err(|_| CborError::NotDeterministic)?,
                ))
            }
            2 => Ok(Value::Bytes(self.take(self.length(argument)?)?.to_vec())),
            3 => {
                let bytes = self.take(self.length(argument)?)?;
                let text = std::str::from_utf8(bytes).map_err(|_| CborError::NotUtf8)?;
                Ok(Value::Text(text.to_owned()))
            }
            4 => {
                let count = self.length(argument)?;
                Ok(Value::Array(
                    (0..count)
                        .map(|_| self.item(depth + 1))
                        .collect::<Result<_, _>>()?,
                ))
            }
            5 => self.map(argument, depth),
            6 if argument == TAG_COSE_SIGN1 => Ok(Value::Tag(argument, Box::new(self.item(depth + 1)?))),
            7 => match argument {
                20 => Ok(Value::Bool(false)),
                21 => Ok(Value::Bool(true)),
                22 => Ok(Value::Null),
                _ => Err(CborError::NotDeterministic),
            },
            _ => Err(CborError::NotDeterministic),
        }
    }

    fn map(&mut self, argument: u64, depth: usize) -> Result<Value, CborError> {
        let count = self.length(argument)?;
        let mut entries = Vec::new();
        let mut last: Option<&[u8]> = None;
        for _ in 0..count {
            let before = self.rest;
            let key = self.item(depth + 1)?;
            let key_bytes = before
                .get(..before.len() - self.rest.len())
                .ok_or(CborError::Truncated)?;
            if last.is_some_and(|last| last >= key_bytes) {
                return Err(CborError::KeyOrder);
            }
            last = Some(key_bytes);
            entries.push((key, self.item(depth + 1)?));
        }
        Ok(Value::Map(entries))
    }
}

fn write_head(major: u8, argument: u64, out: &mut Vec<u8>) {
    let major = major << 5;
    match argument {
        0..24 => out.push(major | u8::try_from(argument).unwrap_or_default()),
        24..=0xff => out.extend([major | 24, u8::try_from(argument).unwrap_or_default()]),
        0x100..=0xffff => {
            out.push(major | 25);
            out.extend(u16::try_from(argument).unwrap_or_default().to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(major | 26);
            out.extend(u32::try_from(argument).unwrap_or_default().to_be_bytes());
        }
        _ => {
            out.push(major | 27);
            out.extend(argument.to_be_bytes());
        }
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "INVARIANT: ciborium's enum is open, and our formats build no other kind"
)]
fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Integer(integer) => {
            let integer = i128::from(*integer);
            let (major, argument) = if integer < 0 {
                (1, -1 - integer)
            } else {
                (0, integer)
            };
            write_head(major, u64::try_from(argument).unwrap_or(u64::MAX), out);
        }
        Value::Bytes(bytes) => {
            write_head(2, bytes.len() as u64, out);
            out.extend(bytes);
        }
        Value::Text(text) => {
            write_head(3, text.len() as u64, out);
            out.extend(text.as_bytes());
        }
        Value::Array(items) => {
            write_head(4, items.len() as u64, out);
            items.iter().for_each(|item| write(item, out));
        }
        Value::Map(entries) => {
            let mut entries: Vec<_> = entries
                .iter()
                .map(|(key, value)| (canonical(key), value))
                .collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            write_head(5, entries.len() as u64, out);
            for (key, value) in entries {
                out.extend(key);
                write(value, out);
            }
        }
        Value::Tag(tag, item) => {
            write_head(6, *tag, out);
            write(item, out);
        }
        Value::Bool(value) => out.push(0xf4 | u8::from(*value)),
        // Our formats hold nothing else: a float or an unknown kind is written as null, which no reader takes for it.
        _ => out.push(0xf6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8], error: CborError) {
        assert_eq!(strict_value(bytes), Err(error), "{bytes:02x?}");
    }

    /// RFC 8949, appendix A: examples that are in deterministic form come back byte for byte.
    #[test]
    fn published_examples_round_trip() {
        for text in [
            "00",
            "17",
            "1818",
            "1903e8",
            "1a000f4240",
            "1bffffffffffffffff",
            "20",
            "3863",
            "3903e7",
            "40",
            "4401020304",
            "60",
            "6449455446",
            "80",
            "83010203",
            "8301820203820405",
            "a0",
            "a201020304",
            "a26161016162820203",
            "f4",
            "f5",
            "f6",
        ] {
            let bytes = hex::decode(text).unwrap();
            assert_eq!(canonical(&strict_value(&bytes).unwrap()), bytes, "{text}");
        }
    }

    #[test]
    fn other_forms_of_the_same_value_are_refused() {
        refused(&[0x18, 0x17], CborError::NotDeterministic);
        refused(&[0x19, 0x00, 0xff], CborError::NotDeterministic);
        refused(&[0x9f, 0xff], CborError::NotDeterministic);
        refused(&[0x5f, 0x41, 0x00, 0xff], CborError::NotDeterministic);
        refused(&[0xf9, 0x3c, 0x00], CborError::NotDeterministic);
        refused(&[0xc1, 0x00], CborError::NotDeterministic);
        refused(&[0xa2, 0x02, 0x00, 0x01, 0x00], CborError::KeyOrder);
        refused(&[0xa2, 0x01, 0x00, 0x01, 0x00], CborError::KeyOrder);
        refused(&[0x00, 0x00], CborError::Trailing);
        refused(&[0x42, 0x00], CborError::Truncated);
        refused(
            &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            CborError::Truncated,
        );
        refused(&[0x61, 0xff], CborError::NotUtf8);
        refused(&[0x81; 40], CborError::TooDeep);
        let many = [&[0x9a, 0x00, 0x01, 0x00, 0x00], vec![0; ITEMS_MAX].as_slice()].concat();
        refused(&many, CborError::TooMany);
    }
}
