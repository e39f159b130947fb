//! What a story costs whoever relays it durably (K31), each part measured alone, in CPU time of this process: one ES256
//! verification, the story's rows in a SQLite transaction of a batch, its entry in a synced append of a batch.
//!
//! The fourth part, TLS and HTTP for the same bytes, is measured at the gateway: [`crate::world::World::exchange`].

use std::fs::File;
use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use agent_seal::{DeviceSigner as _, FileDeviceKey};
use anyhow::{Context as _, ensure};
use gateway_ledger::commit::{put_commit, put_entry, start_frame};
use gateway_ledger::{Frontier, leaf_hash};
use policies::terms::DeviceId;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{QueryBuilder, Sqlite};

use crate::measure;
use crate::process;

/// Verifications: about half a second, so that the kernel's 10 ms ticks measure them.
const VERIFICATIONS: usize = 5_000;
/// Stories whose rows and entries are written.
const STORIES: usize = 8_192;
/// What AES-GCM adds to a stored part: its tag; to a wrapped key: nonce and tag.
const TAG_BYTES: usize = 16;
const WRAPPED_KEY_BYTES: usize = 12 + 32 + TAG_BYTES;

/// A story as it is stored.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) envelope_bytes: usize,
    pub(crate) clearance_bytes: usize,
    pub(crate) acceptance_bytes: usize,
    pub(crate) entry_bytes: usize,
    /// Stories that share a commit.
    pub(crate) batch: usize,
}

/// CPU time per story, microseconds.
#[derive(Clone, Copy)]
pub(crate) struct Primitives {
    pub(crate) verify_us: f64,
    pub(crate) rows_us: f64,
    pub(crate) entry_us: f64,
}

impl Primitives {
    /// Writes below `folder`, which must lie on the gateway's disk.
    pub(crate) async fn measure(folder: &Path, sizes: Sizes) -> anyhow::Result<Self> {
        Ok(Self {
            verify_us: verify(sizes)?,
            rows_us: rows(folder, sizes).await?,
            entry_us: entry(folder, sizes)?,
        })
    }
}

/// With the code that the gateway verifies clearances with.
fn verify(sizes: Sizes) -> anyhow::Result<f64> {
    let key = FileDeviceKey::generate(DeviceId::from_bytes([7; 16]), &mut rand::rng())?;
    let message = vec![0x5E; sizes.clearance_bytes];
    let signature = key.sign(&message)?;
    let public = key.public_key();
    let before = process::cpu("self");
    for _ in 0..VERIFICATIONS {
        ensure!(
            public.verify(black_box(&message), black_box(&signature)),
            "a signature does not verify"
        );
    }
    each_us(before, VERIFICATIONS)
}

/// In the gateway's own schema, under its pragmas, with as few statements as the rows can be written with.
async fn rows(folder: &Path, sizes: Sizes) -> anyhow::Result<f64> {
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("gateway/server/migrations");
    let options = SqliteConnectOptions::new()
        .filename(folder.join("rows.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .pragma("secure_delete", "ON")
        .pragma("fullfsync", "ON");
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await?;
    Migrator::new(migrations).await?.run(&pool).await?;
    let audience = [0xA0; 16].as_slice();
    sqlx::query("INSERT INTO audience (id, epoch, tree_hash, class, state, sequence, removal_pending) VALUES ($1, 1, $1, 'internal', $1, 0, 0)")
        .bind(audience)
        .execute(&pool)
        .await?;
    let mut next = 0;
    let before = process::cpu("self");
    while next < STORIES {
        let batch = next..next.saturating_add(sizes.batch).min(STORIES);
        write_batch(&pool, audience, batch.clone(), sizes).await?;
        next = batch.end;
    }
    let us = each_us(before, STORIES)?;
    pool.close().await;
    Ok(us)
}

async fn write_batch(
    pool: &SqlitePool,
    audience: &[u8],
    batch: std::ops::Range<usize>,
    sizes: Sizes,
) -> anyhow::Result<()> {
    let rows: Vec<(i64, [u8; 16])> = batch
        .map(|number| Ok((i64::try_from(number)?, rand::random())))
        .collect::<anyhow::Result<_>>()?;
    let (envelope, clearance) = (
        vec![0xE5; sizes.envelope_bytes + TAG_BYTES],
        vec![0xC1; sizes.clearance_bytes + TAG_BYTES],
    );
    let (acceptance, digest) = (vec![0xAC; sizes.acceptance_bytes], [0xD1; 32]);
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    let mut stories = QueryBuilder::<Sqlite>::new(
        "INSERT INTO story (cti, device, audience, epoch, state, envelope_digest, clearance_digest, entry, at_s, \
         expires_s, forget_s, sequence, acceptance, wrapped_key, envelope, clearance) ",
    );
    stories.push_values(&rows, |mut row, (number, cti)| {
        row.push_bind(cti.as_slice())
            .push_bind(audience)
            .push_bind(audience)
            .push("1, 'deliverable'")
            .push_bind(digest.as_slice())
            .push_bind(digest.as_slice())
            .push_bind(cti.as_slice())
            .push("1700000000, 1700086400, 1700172800")
            .push_bind(number)
            .push_bind(acceptance.as_slice())
            .push_bind([0x3E; WRAPPED_KEY_BYTES].as_slice())
            .push_bind(envelope.as_slice())
            .push_bind(clearance.as_slice());
    });
    stories.build().execute(&mut *transaction).await?;
    let mut log =
        QueryBuilder::<Sqlite>::new("INSERT INTO audience_log (audience, sequence, kind, at_s, cti) ");
    log.push_values(&rows, |mut row, (number, cti)| {
        row.push_bind(audience)
            .push_bind(number)
            .push("'story', 1700000000")
            .push_bind(cti.as_slice());
    });
    log.build().execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(())
}

/// With the ledger's own hashing and framing.
fn entry(folder: &Path, sizes: Sizes) -> anyhow::Result<f64> {
    let mut file = File::create(folder.join("entries.log"))?;
    let mut edge = Frontier::new();
    file.write_all(&start_frame(&edge))?;
    let entry = vec![0x1E; sizes.entry_bytes];
    let mut next = 0;
    let before = process::cpu("self");
    while next < STORIES {
        let end = next.saturating_add(sizes.batch).min(STORIES);
        let mut bytes = Vec::new();
        for _ in next..end {
            let leaf = leaf_hash(black_box(&entry));
            put_entry(&mut bytes, &entry, &leaf);
            edge.append(leaf);
        }
        put_commit(&mut bytes, &edge);
        file.write_all(&bytes)?;
        file.sync_data()?;
        next = end;
    }
    each_us(before, STORIES)
}

fn each_us(before: Option<Duration>, things: usize) -> anyhow::Result<f64> {
    let cpu = process::cpu_since("self", before).context("CPU time is measured on Linux alone")?;
    Ok(cpu.as_secs_f64() * 1e6 / measure::count(things))
}
