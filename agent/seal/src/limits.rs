//! Every bound of this crate, with its reason.

/// Leaves in one audience. Others saw unacceptable commit times above 3,000 (M11); a larger audience is split.
pub const AUDIENCE_DEVICES_MAX: usize = 2_000;

/// Text of one story. A story is a message, not a document: longer text travels as a file.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;

/// Files of one story: each adds 32 bytes to the clearance, which every recipient parses.
pub const FILES_MAX: usize = 32;

/// Bytes of one file. Sealing holds a file and its ciphertext in memory at once.
pub const FILE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of a file's or an audience's name: what common file systems allow.
pub const NAME_BYTES_MAX: usize = 255;

/// A manifest is the text, the names and 32 file entries; anything larger is not ours.
pub const MANIFEST_BYTES_MAX: usize = 128 * 1024;

/// Nesting of the CBOR read here: map, list of files, one file.
pub const CBOR_DEPTH_MAX: usize = 4;

/// Handshake messages, welcomes and trees read from the gateway. A commit that adds 1,999 devices is about 1 MiB.
pub const MLS_MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Lifetime of a story: stories vanish after a day.
pub const TTL_S_MAX: u32 = 24 * 60 * 60;

/// Bytes that an app seals at once: the gateway's bound of an envelope.
pub const FOREIGN_BYTES_MAX: usize = 256 * 1024;

/// Bytes of the name of an app's protocol: it travels in the clearance, where everybody reads it.
pub const PROTOCOL_BYTES_MAX: usize = 32;

/// Time between signing a clearance and its last moment of submission (sealing.md, `exp`).
pub const CLEARANCE_LIFETIME_S: u64 = 5 * 60;

/// Difference of two honest clocks that is tolerated (C4).
pub const CLOCK_SKEW_S: u64 = 2 * 60;

/// MLS lifetime of a key package, which openmls compares with the system clock (K11).
pub const KEY_PACKAGE_LIFETIME_S: u64 = 365 * 24 * 60 * 60;

/// Age at which our own rule stops adding a key package: a quarter bounds how long a stolen init key helps (K11).
pub const KEY_PACKAGE_AGE_S_MAX: u64 = 90 * 24 * 60 * 60;

/// One-time key packages of one batch: an upload stays below a few hundred kilobytes.
pub const KEY_PACKAGES_MAX: usize = 256;

/// The sealed part of a clearance is padded to multiples of this, so that its size says nothing (sealing.md).
pub const SEALED_PART_STEP_BYTES: usize = 512;

/// Largest sealed part before encryption; findings beyond it are counted, not listed.
pub const SEALED_PART_BYTES_MAX: usize = 2 * SEALED_PART_STEP_BYTES;

/// Smallest padded envelope or file, so that short stories look alike (C6).
pub const PADDED_BYTES_MIN: usize = 256;
