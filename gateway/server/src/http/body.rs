//! Request bodies, with a size and a deadline each: actix sets no deadline on slow ones (H3).

use std::io::Read as _;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::CONTENT_ENCODING;
use actix_web::web::{Bytes, Payload};
use anyhow::Context as _;
use futures_util::StreamExt as _;
use gateway_api::error::ErrorCode;
use gateway_api::v1::events::ZSTD_WINDOW_LOG_MAX;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::config::Network;
use crate::domain::fault::Fault;
use crate::domain::gateway::Gateway;

/// A body on its way in.
pub(super) struct Incoming<'a> {
    payload: &'a mut Payload,
    network: Network,
    began: Instant,
    received_bytes: u64,
}

impl<'a> Incoming<'a> {
    pub(super) fn new(gateway: &Gateway, payload: &'a mut Payload) -> Self {
        Self {
            payload,
            network: gateway.config.network,
            began: Instant::now(),
            received_bytes: 0,
        }
    }

    /// The next piece; none at the end.
    ///
    /// Whatever has come moves the deadline on by the time that it may have taken: drop by drop is too slow.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        let patience = Duration::from_secs(self.network.patience_s);
        let earned = Duration::from_secs(self.received_bytes / self.network.body_bytes_per_s_min);
        let too_slow = || Fault::new(ErrorCode::BodyTooSlow, "the body pauses, or comes drop by drop");
        let deadline = self.began + patience + earned;
        let next = tokio::time::timeout_at(deadline, self.payload.next());
        let Some(piece) = next.await.map_err(|_| too_slow())? else {
            return Ok(None);
        };
        let piece = piece.map_err(|_| Fault::bad_request("the body broke off"))?;
        self.received_bytes = self
            .received_bytes
            .saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        Ok(Some(piece))
    }
}

/// Reads a whole body.
pub(super) async fn read(
    gateway: &Gateway,
    payload: &mut Payload,
    bytes_max: usize,
) -> Result<Vec<u8>, Fault> {
    let mut incoming = Incoming::new(gateway, payload);
    let mut body = Vec::new();
    while let Some(piece) = incoming.next().await? {
        if body.len().saturating_add(piece.len()) > bytes_max {
            return Err(too_large(bytes_max));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

fn too_large(bytes_max: usize) -> Fault {
    Fault::new(
        ErrorCode::BodyTooLarge,
        format!("this route takes {bytes_max} bytes"),
    )
}

/// Reads a JSON body. What serde says about it may quote values, so only the place is told.
pub(super) async fn json<T: DeserializeOwned>(
    gateway: &Gateway,
    payload: &mut Payload,
    bytes_max: usize,
) -> Result<T, Fault> {
    parse(&read(gateway, payload, bytes_max).await?)
}

/// Reads a JSON body that may be compressed with zstd; `bytes_max` holds for what is sent and for what comes out of it.
pub(super) async fn encoded_json<T: DeserializeOwned>(
    gateway: &Gateway,
    request: &HttpRequest,
    payload: &mut Payload,
    bytes_max: usize,
) -> Result<T, Fault> {
    let body = read(gateway, payload, bytes_max).await?;
    match request
        .headers()
        .get(CONTENT_ENCODING)
        .map(|name| name.as_bytes())
    {
        None => parse(&body),
        Some(b"zstd") => parse(&decompress(&body, bytes_max)?),
        Some(_) => Err(Fault::bad_request(
            "this route takes `zstd` or no content encoding",
        )),
    }
}

/// Stops at `bytes_max`, however much a few bytes would become.
fn decompress(body: &[u8], bytes_max: usize) -> Result<Vec<u8>, Fault> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(body).context("zstd cannot be started")?;
    decoder
        .window_log_max(ZSTD_WINDOW_LOG_MAX)
        .context("zstd cannot be started")?;
    let mut text = Vec::new();
    let stop = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    decoder
        .take(stop)
        .read_to_end(&mut text)
        .map_err(|_| Fault::bad_request("the body is not zstd, or its window is too large"))?;
    if text.len() > bytes_max {
        return Err(too_large(bytes_max));
    }
    Ok(text)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| {
        Fault::bad_request(format!(
            "the body is not the expected JSON (line {}, column {})",
            error.line(),
            error.column()
        ))
    })
}
