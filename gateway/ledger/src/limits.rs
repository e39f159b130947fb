//! Every bound of the log, with its reason.

/// An entry's bytes: entry bundles carry lengths as 16 bits (C2SP tlog-tiles).
pub const ENTRY_BYTES_MAX: usize = 65_535;
/// Hashes, or entries, of a full tile: height 8 (C2SP tlog-tiles).
pub const TILE_WIDTH: usize = 256;
/// Tile levels: 8 levels of height 8 address every 63-bit size.
pub const TILE_LEVELS: u8 = 8;
/// Entries of a log: the largest size that strangers' tools with signed integers (Go, SQL) can hold.
pub const LOG_SIZE_MAX: u64 = i64::MAX.unsigned_abs();
/// A full entry bundle: 256 entries of the largest size with their lengths. What a reader must be ready to take.
pub const BUNDLE_BYTES_MAX: usize = TILE_WIDTH * (2 + ENTRY_BYTES_MAX);
/// A signed checkpoint: a few lines of text, signatures of witnesses included.
pub const NOTE_BYTES_MAX: usize = 64 * 1024;
/// Signature lines of a note: C2SP signed-note asks readers to take at least 16.
pub const NOTE_SIGNATURES_MAX: usize = 64;
/// A proof file: a checkpoint, and a hash per level of the largest tree.
pub const PROOF_FILE_BYTES_MAX: usize = NOTE_BYTES_MAX + 8 * 1024;
/// A path below the log's folder: seven groups of digits and a partial width fit twice.
pub const TILE_PATH_BYTES_MAX: usize = 96;
/// Names in an entry's header (tenant, writer, kind): one byte of length would allow more than anyone reads.
pub const HEADER_NAME_BYTES_MAX: usize = 64;
