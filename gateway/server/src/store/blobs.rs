//! Blobs: rows here, encrypted objects behind `object_store` (local files, later S3).

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};
use policies::terms::{Cti, DeviceId, Digest};
use sqlx::{Row as _, SqliteConnection};

use super::{Store, Write, bytes, signed, unsigned};
use crate::config::files;
use crate::metrics::{BlobWork, Metrics};

/// Parts of a multipart upload: the smallest that S3 takes.
const PART_BYTES: usize = 5 * 1024 * 1024;

/// A stored blob.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    /// Random name of the encrypted object.
    pub(crate) object: [u8; 16],
    pub(crate) device: DeviceId,
    /// Of the agent's ciphertext.
    pub(crate) size_bytes: u64,
    /// End of the bucket whose key wraps this blob's key.
    pub(crate) expires_s: u64,
    pub(crate) wrapped_key: Vec<u8>,
    /// The story that names it; none until one does.
    pub(crate) cti: Option<Cti>,
}

const COLUMNS: &str = "digest, object, device, size_bytes, expires_s, wrapped_key, cti";

impl Store {
    pub(crate) async fn blob(&self, digest: Digest) -> sqlx::Result<Option<Blob>> {
        blob(&mut *self.pool.acquire().await?, digest).await
    }

    /// Adds a blob; false when it is there already.
    pub(crate) async fn add_blob(&self, blob: &Blob) -> sqlx::Result<bool> {
        let added = sqlx::query_scalar::<_, i64>(
            "INSERT INTO blob (digest, object, device, size_bytes, expires_s, wrapped_key) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (digest) DO NOTHING RETURNING 1",
        )
        .bind(blob.digest.as_bytes().as_slice())
        .bind(blob.object.as_slice())
        .bind(blob.device.as_bytes().as_slice())
        .bind(signed(blob.size_bytes))
        .bind(signed(blob.expires_s))
        .bind(blob.wrapped_key.as_slice())
        .fetch_optional(&self.pool)
        .await?;
        Ok(added.is_some())
    }

    /// Blobs whose bucket has ended.
    pub(crate) async fn ended_blobs(&self, now_s: u64) -> sqlx::Result<Vec<Blob>> {
        let sql = format!("SELECT {COLUMNS} FROM blob WHERE expires_s <= $1 ORDER BY expires_s, digest");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(signed(now_s))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(parse).collect()
    }

    /// Blobs that a story names.
    pub(crate) async fn blobs_of(&self, cti: Cti) -> sqlx::Result<Vec<Blob>> {
        let sql = format!("SELECT {COLUMNS} FROM blob WHERE cti = $1 ORDER BY digest");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(cti.as_bytes().as_slice())
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(parse).collect()
    }

    /// Objects that have a row.
    pub(crate) async fn known_objects(&self) -> sqlx::Result<Vec<[u8; 16]>> {
        let rows = sqlx::query_scalar::<_, Vec<u8>>("SELECT object FROM blob")
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(|object| bytes("object", object)).collect()
    }
}

pub(crate) async fn blob(connection: &mut SqliteConnection, digest: Digest) -> sqlx::Result<Option<Blob>> {
    let sql = format!("SELECT {COLUMNS} FROM blob WHERE digest = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(digest.as_bytes().as_slice())
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(parse).transpose()
}

/// Gives a blob to its story: it expires with it, under the story's bucket.
pub(crate) async fn assign(
    write: &mut Write,
    digest: Digest,
    cti: Cti,
    expires_s: u64,
    wrapped_key: &[u8],
) -> sqlx::Result<()> {
    sqlx::query("UPDATE blob SET cti = $2, expires_s = $3, wrapped_key = $4 WHERE digest = $1")
        .bind(digest.as_bytes().as_slice())
        .bind(cti.as_bytes().as_slice())
        .bind(signed(expires_s))
        .bind(wrapped_key)
        .execute(&mut **write)
        .await
        .map(drop)
}

pub(crate) async fn remove(write: &mut Write, digest: Digest) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM blob WHERE digest = $1")
        .bind(digest.as_bytes().as_slice())
        .execute(&mut **write)
        .await
        .map(drop)
}

fn parse(row: &sqlx::sqlite::SqliteRow) -> sqlx::Result<Blob> {
    Ok(Blob {
        digest: Digest::from_bytes(bytes("digest", row.try_get("digest")?)?),
        object: bytes("object", row.try_get("object")?)?,
        device: DeviceId::from_bytes(bytes("device", row.try_get("device")?)?),
        size_bytes: unsigned(row.try_get("size_bytes")?),
        expires_s: unsigned(row.try_get("expires_s")?),
        wrapped_key: row.try_get("wrapped_key")?,
        cti: match row.try_get::<Option<Vec<u8>>, _>("cti")? {
            Some(cti) => Some(Cti::from_bytes(bytes("cti", &cti)?)),
            None => None,
        },
    })
}

/// Encrypted objects, by random name.
#[derive(Clone)]
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    metrics: Arc<Metrics>,
}

/// An object being written; dropped or aborted, nothing of it stays.
pub(crate) struct ObjectWriter {
    upload: Box<dyn object_store::MultipartUpload>,
    pending: Vec<u8>,
    metrics: Arc<Metrics>,
}

impl Objects {
    /// Files below `folder`, fsynced before an upload counts.
    pub(crate) fn open(folder: &Path, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        files::ensure_folder(folder)?;
        remove_unfinished(folder).context("cannot remove unfinished blobs")?;
        let store = LocalFileSystem::new_with_prefix(folder)
            .context("cannot open the folder of blobs")?
            .with_fsync(true);
        Ok(Self {
            store: Arc::new(store),
            metrics,
        })
    }

    pub(crate) async fn write(&self, object: &[u8; 16]) -> anyhow::Result<ObjectWriter> {
        let upload = self
            .store
            .put_multipart(&path(object))
            .await
            .inspect_err(|_| self.metrics.fail_blob(BlobWork::Write))
            .context("cannot begin to store a blob")?;
        Ok(ObjectWriter {
            upload,
            pending: Vec::new(),
            metrics: Arc::clone(&self.metrics),
        })
    }

    pub(crate) async fn read(
        &self,
        object: &[u8; 16],
    ) -> anyhow::Result<BoxStream<'static, object_store::Result<bytes::Bytes>>> {
        Ok(self
            .store
            .get(&path(object))
            .await
            .inspect_err(|_| self.metrics.fail_blob(BlobWork::Read))
            .context("cannot read a blob")?
            .into_stream())
    }

    /// Removes an object; one that is gone already is no fault.
    pub(crate) async fn remove(&self, object: &[u8; 16]) -> anyhow::Result<()> {
        match self.store.delete(&path(object)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => {
                self.metrics.fail_blob(BlobWork::Remove);
                Err(error).context("cannot remove a blob")
            }
        }
    }

    /// Every object there is.
    pub(crate) async fn all(&self) -> anyhow::Result<Vec<[u8; 16]>> {
        let mut objects = Vec::new();
        let mut listing = self.store.list(None);
        while let Some(meta) = listing.next().await {
            let meta = meta
                .inspect_err(|_| self.metrics.fail_blob(BlobWork::List))
                .context("cannot list the blobs")?;
            let name = hex::decode(meta.location.as_ref()).unwrap_or_default();
            objects.extend(<[u8; 16]>::try_from(name.as_slice()));
        }
        Ok(objects)
    }
}

impl ObjectWriter {
    /// Where encrypted bytes are appended; [`Self::flush`] sends them when there are enough.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.pending
    }

    pub(crate) async fn flush(&mut self) -> anyhow::Result<()> {
        if self.pending.len() < PART_BYTES {
            return Ok(());
        }
        self.put().await
    }

    pub(crate) async fn complete(mut self) -> anyhow::Result<()> {
        self.put().await?;
        self.upload
            .complete()
            .await
            .inspect_err(|_| self.metrics.fail_blob(BlobWork::Write))
            .context("cannot store a blob")?;
        Ok(())
    }

    pub(crate) async fn abort(mut self) {
        if let Err(error) = self.upload.abort().await {
            tracing::warn!(%error, "an unfinished blob could not be removed");
        }
    }

    async fn put(&mut self) -> anyhow::Result<()> {
        let part = std::mem::take(&mut self.pending);
        self.upload
            .put_part(PutPayload::from(part))
            .await
            .inspect_err(|_| self.metrics.fail_blob(BlobWork::Write))
            .context("cannot store a part of a blob")
    }
}

/// What a crash left of an upload: `object_store` writes it beside the object, marked with `#`, and never lists it.
fn remove_unfinished(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().contains('#') {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn path(object: &[u8; 16]) -> object_store::path::Path {
    object_store::path::Path::from(hex::encode(object))
}
