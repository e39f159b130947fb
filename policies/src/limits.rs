//! Bounds of everything that somebody else writes.

/// A bundle with its parts, bytes: the example's photos and archives with room; an agent holds two in memory.
pub const BUNDLE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Parts of a bundle.
pub const PARTS_MAX: usize = 512;
/// One text file of a policy folder, bytes: the parsers' positions are 32 bits wide and authors read these files.
pub const TEXT_FILE_BYTES_MAX: usize = 1024 * 1024;
/// Detectors of one plan: each costs compile time and memory in every agent.
pub const DETECTORS_MAX: usize = 1_000;
/// Rules of one plan: each is decided for every draft, and an employee can read them all (R3).
pub const RULES_MAX: usize = 500;
/// Entries of any list in a rule or detector.
pub const LIST_MAX: usize = 500;
/// A sentence, name or link that an author writes, bytes.
pub const TEXT_BYTES_MAX: usize = 2_000;
/// A detector's pattern, bytes.
pub const PATTERN_BYTES_MAX: usize = 8_000;
/// Context around a match, characters.
pub const WITHIN_MAX: u32 = 2_000;
/// Labels of a tenant: few and coarse (R9).
pub const LABELS_MAX: usize = 8;
/// Lifetime of a story, seconds: a day.
pub const LIFETIME_S_MAX: u64 = 86_400;
/// Lines of sharing rules: casbin alone is linear in them (gateway.md, Z4).
pub const SHARING_LINES_MAX: usize = 100_000;
/// Depth of roles: casbin follows ten levels and no more (Z1).
pub const ROLE_DEPTH_MAX: usize = 9;
/// Nesting of a sharing condition.
pub const MATCHER_DEPTH_MAX: usize = 32;
/// A sharing condition, bytes.
pub const MATCHER_BYTES_MAX: usize = 4_000;
/// Problems that are told at once: more than an author reads.
pub const PROBLEMS_MAX: usize = 200;
/// How long a policy may be stale before its `offline_mode` acts, unless it says otherwise, seconds (B4): 14 days.
pub const OFFLINE_GRACE_S: u64 = 14 * 86_400;
/// The longest such time: a quarter of a year.
pub const OFFLINE_GRACE_S_MAX: u64 = 90 * 86_400;
/// How far a bundle's version may rise at once, against fast-forward to the end of the numbers (B3).
pub const VERSION_JUMP_MAX: u64 = 1_000_000;
/// How long a bundle may be in force, seconds: a year and a month (B1).
pub const BUNDLE_LIFETIME_S_MAX: u64 = 400 * 86_400;
/// How far a bundle's or timestamp's time of issue may lie ahead of ours, seconds (C4).
pub const CLOCK_SKEW_S: u64 = 120;
/// Signatures of one bundle: two are needed (K6), more are room for n of m.
pub const SIGNATURES_MAX: usize = 16;
/// How long a justification may wait to be used, seconds (P9).
pub const JUSTIFICATION_LIFETIME_S: u64 = 600;
/// A justification, bytes: it travels in the clearance's sealed part, which has at most 1,024 B (K17).
pub const JUSTIFICATION_BYTES_MAX: usize = 500;
/// Bytes of a clearance without its blobs' digests: about 1,000 with the padded sealed part (K17), doubled.
pub const CLEARANCE_BYTES_MAX_BASE: usize = 2_048;
/// Blobs that one story may have: their digests travel in its clearance.
pub const BLOBS_MAX: usize = 64;
/// How long a clearance may wait to be submitted, seconds (sealing.md, claims).
pub const SUBMIT_WITHIN_S: u64 = 300;
/// Devices of a list that an app seals to: about 9 KB, which travel with each story for its recipients to check.
pub const LIST_DEVICES_MAX: usize = 512;
/// Bytes of a signed device list: its ids, 17 B each, and room for the rest.
pub const LIST_BYTES_MAX: usize = 17 * LIST_DEVICES_MAX + 256;
