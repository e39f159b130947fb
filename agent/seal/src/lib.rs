//! Keys in, envelopes out: MLS, media, franking, the encrypted state store.
mod cbor;
mod compliance;
mod device;
pub mod frank;
mod identity;
pub mod limits;
pub mod media;
mod member;
pub mod sealed_store;
mod story;

pub use compliance::{ComplianceError, CompliancePublicKey, INFO as COMPLIANCE_INFO};
pub use device::{DeviceSigner, FileDeviceKey, SIGNATURE_BYTES, SignerError};
pub use identity::{GATEWAY_SENDER, LeafRefused, SUITE_ID};
pub use member::{
    AudienceState, CommitRefused, Created, JoinError, Joined, Member, MemberError,
    MembershipChange, ProcessError, Processed, ROSTER_EXTENSION, RecordChange, StageError,
    StagedCommit,
};
pub use sealed_store::{RecordCipher, RecordError};
pub use story::{
    AcceptanceFacts, ClearError, Cleared, Clearing, Composition, Delivery, DraftFile, DraftParts,
    FileEntry, FileKey, Manifest, ManifestError, OpenError, OpenedStory, PROTOCOL, SealError,
    Sealed, SealedBlob, clear, open_blob, open_story, seal,
};

#[cfg(test)]
mod tests;
