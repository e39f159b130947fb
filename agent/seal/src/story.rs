//! A story's way: a permit and the inspected buffers become `Sealed`, then `Cleared`; a delivery becomes `OpenedStory`.
//! What an app seals by itself goes the same way beside it (`foreign`).

mod clear;
mod foreign;
mod manifest;
mod open;
mod seal;

pub use clear::{ClearError, Cleared, Clearing, clear};
pub use foreign::{
    AssertError, Asserted, ClearedAsserted, ForeignStory, Protocol, clear_asserted, open_foreign,
    verified_list,
};
pub use manifest::{FileEntry, Manifest, ManifestError};
pub use open::{AcceptanceFacts, Delivery, FileKey, OpenError, OpenedStory, open_blob, open_story};
pub use seal::{Composition, DraftFile, DraftParts, SealError, Sealed, SealedBlob, seal};

use ciborium::Value;
use policies::terms::Cti;

#[cfg(test)]
pub(crate) use manifest::frame;

use crate::cbor;
use crate::frank::TAG_BYTES;

/// The protocol of our envelopes, as a clearance names it.
pub const PROTOCOL: &str = "mls-1.0/0x0001";

/// What the gateway can read of an envelope: the MLS associated data, canonical CBOR `{1: tag, 2: cti}`.
pub(crate) fn associated(tag: &[u8; TAG_BYTES], cti: Cti) -> Vec<u8> {
    cbor::encode(vec![
        (1, Value::Bytes(tag.to_vec())),
        (2, Value::Bytes(cti.as_bytes().to_vec())),
    ])
}

/// Reads [`associated`].
pub(crate) fn read_associated(bytes: &[u8]) -> Result<([u8; TAG_BYTES], Cti), cbor::Malformed> {
    let mut fields = cbor::Fields::parse(bytes)?;
    let tag = fields.array(1)?;
    let cti = fields.array(2)?;
    fields.finish()?;
    Ok((tag, Cti::from_bytes(cti)))
}

/// What the media of one file are bound to: the story and the file's place in it.
pub(crate) fn media_context(cti: Cti, index: u16) -> Vec<u8> {
    [
        b"sealgate/media/1".as_slice(),
        cti.as_bytes(),
        &index.to_be_bytes(),
    ]
    .concat()
}
