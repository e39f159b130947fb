//! `PUT /v1/blobs/{digest}`: streamed, hash-checked, size-limited; durable before it is answered.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::{Data, Path, Payload};
use gateway_api::error::ErrorCode;
use policies::terms::Digest;
use sha2::{Digest as _, Sha256};

use super::digest;
use crate::domain::fault::Fault;
use crate::domain::gateway::{Device, Gateway};
use crate::domain::random;
use crate::http::body::Incoming;
use crate::http::problem::ApiResult;
use crate::limits;
use crate::store::blobs::{Blob, ObjectWriter};
use crate::store::bucket_keys;
use crate::store::objects::{ChunkSealer, ObjectKey};

pub(in crate::http::v1) async fn put(
    gateway: Data<Arc<Gateway>>,
    device: Device,
    path: Path<String>,
    mut payload: Payload,
) -> ApiResult {
    let wanted = digest(&path)?;
    gateway.check_open()?;
    if gateway
        .store
        .blob(wanted)
        .await?
        .is_some_and(|blob| blob.device == device.id)
    {
        return Ok(HttpResponse::Ok().finish());
    }
    let object = random::bytes::<16>()?;
    let mut writer = gateway.objects.write(&object).await?;
    let received = match receive(Incoming::new(&gateway, &mut payload), &mut writer, wanted).await {
        Ok(received) => received,
        Err(fault) => {
            writer.abort().await;
            return Err(fault.into());
        }
    };
    writer.complete().await?;
    let (size_bytes, key) = received;
    let width_s = gateway.config.expiry.bucket_s;
    let staged_s = limits::ORPHAN_BLOB_S.max(width_s.saturating_mul(2));
    let expires_s = bucket_keys::floor(gateway.clock.now_s().saturating_add(staged_s), width_s);
    let wrapped_key = key.wrap(&*gateway.bucket_keys.key(expires_s)?, &object)?;
    let blob = Blob {
        digest: wanted,
        object,
        device: device.id,
        size_bytes,
        expires_s,
        wrapped_key,
        cti: None,
    };
    if gateway.store.add_blob(&blob).await? {
        return Ok(HttpResponse::Created().finish());
    }
    gateway.objects.remove(&object).await?;
    Ok(HttpResponse::Ok().finish())
}

/// Encrypts while it hashes: (size, key of the object).
async fn receive(
    mut incoming: Incoming<'_>,
    writer: &mut ObjectWriter,
    wanted: Digest,
) -> Result<(u64, ObjectKey), Fault> {
    let mut sealer = ChunkSealer::new(ObjectKey::generate()?);
    let mut hash = Sha256::new();
    let mut size_bytes = 0_u64;
    while let Some(chunk) = incoming.next().await? {
        size_bytes = size_bytes.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        if size_bytes > limits::BLOB_BYTES_MAX {
            return Err(Fault::new(
                ErrorCode::BodyTooLarge,
                format!("a blob has at most {} bytes", limits::BLOB_BYTES_MAX),
            ));
        }
        hash.update(&chunk);
        sealer
            .update(&chunk, writer.buffer())
            .map_err(anyhow::Error::from)?;
        writer.flush().await?;
    }
    let key = sealer.finish(writer.buffer()).map_err(anyhow::Error::from)?;
    if Digest::from_bytes(hash.finalize().into()) != wanted {
        return Err(Fault::new(ErrorCode::BlobMismatch, "the bytes have another hash"));
    }
    Ok((size_bytes, key))
}
