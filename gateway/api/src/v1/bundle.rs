//! `GET /v1/bundle`: the bundle in force, with its ETag (`"<digest>"`); `If-None-Match` answers 304.

/// Path of the route. Query `wait_s=` (at most 55) makes it a long poll when the ETag matches.
pub const PATH: &str = "/v1/bundle";
/// Header with the signed timestamp that proves freshness (K6), base64url.
pub const TIMESTAMP_HEADER: &str = "Sealgate-Timestamp";
