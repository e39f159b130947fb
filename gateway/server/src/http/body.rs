//! Request bodies, with a size and a deadline each: actix sets no deadline on slow ones (H3).

use actix_web::web::Payload;
use futures_util::StreamExt as _;
use gateway_api::error::ErrorCode;
use serde::de::DeserializeOwned;

use crate::domain::fault::Fault;
use crate::limits;

/// Reads a whole body.
pub(super) async fn read(payload: &mut Payload, bytes_max: usize) -> Result<Vec<u8>, Fault> {
    let reading = async {
        let mut body = Vec::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| Fault::bad_request("the body broke off"))?;
            if body.len().saturating_add(chunk.len()) > bytes_max {
                return Err(Fault::new(
                    ErrorCode::BodyTooLarge,
                    format!("this route takes {bytes_max} bytes"),
                ));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    };
    tokio::time::timeout(limits::BODY_TIMEOUT, reading)
        .await
        .map_err(|_| Fault::bad_request("the body took too long"))?
}

/// Reads a JSON body. What serde says about it may quote values, so only the place is told.
pub(super) async fn json<T: DeserializeOwned>(payload: &mut Payload, bytes_max: usize) -> Result<T, Fault> {
    let body = read(payload, bytes_max).await?;
    serde_json::from_slice(&body).map_err(|error| {
        Fault::bad_request(format!(
            "the body is not the expected JSON (line {}, column {})",
            error.line(),
            error.column()
        ))
    })
}
