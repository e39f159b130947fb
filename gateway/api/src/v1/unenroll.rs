//! `POST /v1/unenroll` without a body: the device leaves for good. It is revoked, logged and recorded before the answer,
//! 204; whoever asks again is told `device-revoked`.

/// Path of the route.
pub const PATH: &str = "/v1/unenroll";
