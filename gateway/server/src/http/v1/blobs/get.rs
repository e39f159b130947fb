//! `GET /v1/blobs/{digest}`: streamed, for members of the group of the live story that names it.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::body::SizedStream;
use actix_web::web::{Bytes, Data, Path};
use futures_util::stream::{self, BoxStream, StreamExt as _};

use super::digest;
use crate::domain::fault::Fault;
use crate::domain::gateway::{Device, Gateway};
use crate::http::device;
use crate::http::problem::ApiResult;
use crate::store::objects::{ChunkOpener, NotOpened, ObjectKey};
use crate::store::stories::StoryState;

pub(in crate::http::v1) async fn get(
    gateway: Data<Arc<Gateway>>,
    device: Device,
    path: Path<String>,
) -> ApiResult {
    let blob = gateway
        .store
        .blob(digest(&path)?)
        .await?
        .ok_or_else(Fault::not_found)?;
    let cti = blob.cti.ok_or_else(Fault::not_found)?;
    let story = gateway.store.story(cti).await?.ok_or_else(Fault::not_found)?;
    let is_live = story.state == StoryState::Deliverable && story.expires_s > gateway.clock.now_s();
    if !is_live || !gateway.store.may_read(story.audience, device.id, cti).await? {
        return Err(Fault::not_found().into());
    }
    let bucket = gateway
        .bucket_keys
        .existing(blob.expires_s)?
        .ok_or_else(Fault::not_found)?;
    let key = ObjectKey::unwrap(&bucket, &blob.object, &blob.wrapped_key).map_err(anyhow::Error::from)?;
    let stored = gateway.objects.read(&blob.object).await?;
    device::check_admitted(&gateway, &device)?;
    Ok(HttpResponse::Ok().body(SizedStream::new(blob.size_bytes, clear(stored, key))))
}

/// Where the decryption of a stream stands.
enum State {
    Reading(BoxStream<'static, object_store::Result<Bytes>>, ChunkOpener),
    Done,
}

/// The stored stream, opened chunk by chunk; damage ends it with an error.
fn clear(
    stored: BoxStream<'static, object_store::Result<Bytes>>,
    key: ObjectKey,
) -> BoxStream<'static, Result<Bytes, Box<dyn std::error::Error>>> {
    let steps = stream::try_unfold(
        State::Reading(stored, ChunkOpener::new(key)),
        |state| async move {
            let State::Reading(mut stored, mut opener) = state else {
                return Ok::<_, Damaged>(None);
            };
            match stored.next().await {
                Some(piece) => {
                    let clear = opener.update(&piece.map_err(|_| Damaged)?)?;
                    Ok(Some((Bytes::from(clear), State::Reading(stored, opener))))
                }
                None => Ok(Some((Bytes::from(opener.finish()?), State::Done))),
            }
        },
    );
    steps.map(|piece| piece.map_err(Into::into)).boxed()
}

#[derive(Debug, thiserror::Error)]
#[error("a stored blob is damaged")]
struct Damaged;

impl From<NotOpened> for Damaged {
    fn from(_: NotOpened) -> Self {
        Self
    }
}
