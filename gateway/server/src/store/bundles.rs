//! Published bundles, and which version a device is known to hold (K20).

use gateway_api::v1::bundle::{Ack, Rejection};
use policies::terms::{DeviceId, Digest};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::{Store, Write, bytes, corrupt, signed, unsigned};

/// A published bundle.
#[derive(Clone, Debug)]
pub(crate) struct StoredBundle {
    pub(crate) version: u64,
    pub(crate) digest: Digest,
    pub(crate) log_index: u64,
    pub(crate) activated_s: u64,
    pub(crate) bytes: Vec<u8>,
}

/// How far a device came with a bundle (B10).
#[derive(Clone, Copy, Debug)]
pub(crate) struct PolicyState {
    pub(crate) device: DeviceId,
    pub(crate) ack: Ack,
    pub(crate) at_s: u64,
}

impl Store {
    /// The two newest bundles, newest first.
    pub(crate) async fn newest_bundles(&self) -> sqlx::Result<Vec<StoredBundle>> {
        let rows = sqlx::query(
            "SELECT version, digest, log_index, activated_s, bytes FROM bundle ORDER BY version DESC LIMIT 2",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }

    /// A published bundle.
    pub(crate) async fn bundle(&self, version: u64) -> sqlx::Result<Option<StoredBundle>> {
        let row = sqlx::query(
            "SELECT version, digest, log_index, activated_s, bytes FROM bundle WHERE version = $1",
        )
        .bind(signed(version))
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(read).transpose()
    }

    pub(crate) async fn add_bundle(&self, bundle: &StoredBundle) -> sqlx::Result<()> {
        sqlx::query(
            "INSERT INTO bundle (version, digest, log_index, activated_s, bytes) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(signed(bundle.version))
        .bind(bundle.digest.as_bytes().as_slice())
        .bind(signed(bundle.log_index))
        .bind(signed(bundle.activated_s))
        .bind(bundle.bytes.as_slice())
        .execute(&self.pool)
        .await
        .map(drop)
    }

    /// Since when the device has been known to hold `version` or a later one.
    pub(crate) async fn policy_ack(&self, device: DeviceId, version: u64) -> sqlx::Result<Option<u64>> {
        let at_s =
            sqlx::query_scalar::<_, i64>("SELECT at_s FROM policy_ack WHERE device = $1 AND version >= $2")
                .bind(device.as_bytes().as_slice())
                .bind(signed(version))
                .fetch_optional(&self.pool)
                .await?;
        Ok(at_s.map(unsigned))
    }

    /// Notes that the device holds `version`; the first time counts.
    pub(crate) async fn set_policy_ack(
        &self,
        device: DeviceId,
        version: u64,
        now_s: u64,
    ) -> sqlx::Result<()> {
        if self.policy_ack(device, version).await?.is_some() {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO policy_ack (device, version, at_s) VALUES ($1, $2, $3) ON CONFLICT (device) DO UPDATE \
             SET version = excluded.version, at_s = excluded.at_s WHERE policy_ack.version < excluded.version",
        )
        .bind(device.as_bytes().as_slice())
        .bind(signed(version))
        .bind(signed(now_s))
        .execute(&self.pool)
        .await
        .map(drop)
    }

    /// How far each device came with the newest bundle that it spoke of.
    pub(crate) async fn policy_states(&self) -> sqlx::Result<Vec<PolicyState>> {
        let rows = sqlx::query(
            "SELECT device, version, state, reason, active, at_s FROM policy_state ORDER BY device",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(policy_state).collect()
    }
}

/// How far the device came with the newest bundle that it spoke of.
pub(crate) async fn policy_state_of(
    connection: &mut SqliteConnection,
    device: DeviceId,
) -> sqlx::Result<Option<PolicyState>> {
    let row = sqlx::query(
        "SELECT device, version, state, reason, active, at_s FROM policy_state WHERE device = $1",
    )
    .bind(device.as_bytes().as_slice())
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(policy_state).transpose()
}

pub(crate) async fn set_policy_state(
    write: &mut Write,
    device: DeviceId,
    ack: &Ack,
    now_s: u64,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO policy_state (device, version, state, reason, active, at_s) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (device) DO UPDATE SET version = excluded.version, state = excluded.state, \
         reason = excluded.reason, active = excluded.active, at_s = excluded.at_s",
    )
    .bind(device.as_bytes().as_slice())
    .bind(signed(ack.version))
    .bind(ack.state.as_str())
    .bind(ack.reason.map(Rejection::as_str))
    .bind(signed(ack.active))
    .bind(signed(now_s))
    .execute(&mut **write)
    .await
    .map(drop)
}

fn policy_state(row: &sqlx::sqlite::SqliteRow) -> sqlx::Result<PolicyState> {
    let state: &str = row.try_get("state")?;
    let reason: Option<&str> = row.try_get("reason")?;
    Ok(PolicyState {
        device: DeviceId::from_bytes(bytes("device", row.try_get("device")?)?),
        ack: Ack {
            version: unsigned(row.try_get("version")?),
            state: word("state", state)?,
            reason: reason.map(|reason| word("reason", reason)).transpose()?,
            active: unsigned(row.try_get("active")?),
        },
        at_s: unsigned(row.try_get("at_s")?),
    })
}

/// A word of the wire.
fn word<T: serde::de::DeserializeOwned>(column: &'static str, text: &str) -> sqlx::Result<T> {
    serde_json::from_value(text.into()).map_err(|_| corrupt(column))
}

fn read(row: &SqliteRow) -> sqlx::Result<StoredBundle> {
    Ok(StoredBundle {
        version: unsigned(row.try_get("version")?),
        digest: Digest::from_bytes(bytes("digest", row.try_get("digest")?)?),
        log_index: unsigned(row.try_get("log_index")?),
        activated_s: unsigned(row.try_get("activated_s")?),
        bytes: row.try_get("bytes")?,
    })
}
