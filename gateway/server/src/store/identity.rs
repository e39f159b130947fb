//! TLS keys of devices, where devices run, and who is quarantined (E4, E5, E7).

use std::collections::BTreeMap;

use gateway_api::v1::renew::Origin;
use policies::terms::{DeviceId, Digest};
use sqlx::{Row as _, SqliteConnection};

use super::{Store, bytes, corrupt, optional_digest, signed, unsigned};
use crate::domain::quarantine::Cause;
use crate::limits;

/// A certificate that was issued, without its names: these are the device's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// 1 for the first TLS key of the device.
    pub(crate) generation: u64,
    pub(crate) serial: [u8; 16],
    /// SHA-256 of the public key.
    pub(crate) key: Digest,
    /// SHA-256 of the request.
    pub(crate) csr: Digest,
    pub(crate) ends_s: u64,
    /// Kept for the newest alone.
    pub(crate) pem: Option<String>,
}

impl Store {
    /// Every certificate of the device, oldest first.
    pub(crate) async fn certificates(&self, device: DeviceId) -> sqlx::Result<Vec<Certificate>> {
        let rows = sqlx::query(
            "SELECT generation, serial, key, csr, ends_s, pem FROM certificate WHERE device = $1 ORDER BY generation",
        )
        .bind(device.as_bytes().as_slice())
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Certificate {
                    generation: unsigned(row.try_get("generation")?),
                    serial: bytes("serial", row.try_get("serial")?)?,
                    key: Digest::from_bytes(bytes("key", row.try_get("key")?)?),
                    csr: Digest::from_bytes(bytes("csr", row.try_get("csr")?)?),
                    ends_s: unsigned(row.try_get("ends_s")?),
                    pem: row.try_get("pem")?,
                })
            })
            .collect()
    }

    /// The newest generation of each device, and when its certificate ends.
    pub(crate) async fn newest_certificates(&self) -> sqlx::Result<BTreeMap<DeviceId, (u64, u64)>> {
        let rows = sqlx::query(
            "SELECT device, MAX(generation) AS generation, ends_s FROM certificate GROUP BY device",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                let device = DeviceId::from_bytes(bytes("device", row.try_get("device")?)?);
                let newest = (
                    unsigned(row.try_get("generation")?),
                    unsigned(row.try_get("ends_s")?),
                );
                Ok((device, newest))
            })
            .collect()
    }

    /// Whether the key was certified before, for any device.
    pub(crate) async fn is_certified(&self, key: Digest) -> sqlx::Result<bool> {
        let found = sqlx::query_scalar::<_, i64>("SELECT 1 FROM certificate WHERE key = $1")
            .bind(key.as_bytes().as_slice())
            .fetch_optional(&self.pool)
            .await?;
        Ok(found.is_some())
    }

    /// Where the device ran, oldest first.
    pub(crate) async fn origins(&self, device: DeviceId) -> sqlx::Result<Vec<Origin>> {
        let rows = sqlx::query("SELECT machine, boot FROM device_origin WHERE device = $1 ORDER BY position")
            .bind(device.as_bytes().as_slice())
            .fetch_all(&self.pool)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Origin {
                    machine: optional_digest("machine", row.try_get("machine")?)?,
                    boot: optional_digest("boot", row.try_get("boot")?)?,
                })
            })
            .collect()
    }

    /// The device runs here; the oldest places give way.
    pub(crate) async fn add_origin(&self, device: DeviceId, origin: &Origin, now_s: u64) -> sqlx::Result<()> {
        let mut write = self.write().await?;
        sqlx::query("INSERT INTO device_origin (device, machine, boot, since_s) VALUES ($1, $2, $3, $4)")
            .bind(device.as_bytes().as_slice())
            .bind(origin.machine.map(|digest| digest.as_bytes().to_vec()))
            .bind(origin.boot.map(|digest| digest.as_bytes().to_vec()))
            .bind(signed(now_s))
            .execute(&mut *write)
            .await?;
        sqlx::query(
            "DELETE FROM device_origin WHERE device = $1 AND position NOT IN \
             (SELECT position FROM device_origin WHERE device = $1 ORDER BY position DESC LIMIT $2)",
        )
        .bind(device.as_bytes().as_slice())
        .bind(limits::ORIGINS_PER_DEVICE)
        .execute(&mut *write)
        .await?;
        write.commit().await
    }

    /// Every device in quarantine, with its cause.
    pub(crate) async fn quarantined(&self) -> sqlx::Result<BTreeMap<DeviceId, Cause>> {
        let rows = sqlx::query("SELECT device, cause FROM quarantine WHERE released_s IS NULL")
            .fetch_all(&self.pool)
            .await?;
        rows.iter()
            .map(|row| {
                let device = DeviceId::from_bytes(bytes("device", row.try_get("device")?)?);
                let cause = Cause::parse(row.try_get("cause")?).ok_or_else(|| corrupt("cause"))?;
                Ok((device, cause))
            })
            .collect()
    }

    /// Whether the device was released and has not renewed since.
    pub(crate) async fn is_released(&self, device: DeviceId) -> sqlx::Result<bool> {
        let found = sqlx::query_scalar::<_, i64>(
            "SELECT 1 FROM quarantine WHERE device = $1 AND released_s IS NOT NULL",
        )
        .bind(device.as_bytes().as_slice())
        .fetch_optional(&self.pool)
        .await?;
        Ok(found.is_some())
    }
}

/// Shuts a device out.
pub(crate) async fn quarantine(
    connection: &mut SqliteConnection,
    device: DeviceId,
    cause: Cause,
    now_s: u64,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO quarantine (device, cause, since_s) VALUES ($1, $2, $3) ON CONFLICT (device) DO UPDATE \
         SET cause = excluded.cause, since_s = excluded.since_s, released_s = NULL",
    )
    .bind(device.as_bytes().as_slice())
    .bind(cause.as_str())
    .bind(signed(now_s))
    .execute(&mut *connection)
    .await
    .map(drop)
}

/// Ends the quarantine: where the device ran is forgotten, and its next renewal may start from any certificate.
pub(crate) async fn release(
    connection: &mut SqliteConnection,
    device: DeviceId,
    now_s: u64,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE quarantine SET released_s = $2 WHERE device = $1")
        .bind(device.as_bytes().as_slice())
        .bind(signed(now_s))
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM device_origin WHERE device = $1")
        .bind(device.as_bytes().as_slice())
        .execute(&mut *connection)
        .await?;
    Ok(())
}

/// Adds the device's next certificate; those before keep no text, and a release is used up.
pub(crate) async fn add_certificate(
    connection: &mut SqliteConnection,
    device: DeviceId,
    certificate: &Certificate,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE certificate SET pem = NULL WHERE device = $1")
        .bind(device.as_bytes().as_slice())
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM quarantine WHERE device = $1 AND released_s IS NOT NULL")
        .bind(device.as_bytes().as_slice())
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO certificate (device, generation, serial, key, csr, ends_s, pem) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(device.as_bytes().as_slice())
    .bind(signed(certificate.generation))
    .bind(certificate.serial.as_slice())
    .bind(certificate.key.as_bytes().as_slice())
    .bind(certificate.csr.as_bytes().as_slice())
    .bind(signed(certificate.ends_s))
    .bind(certificate.pem.as_deref())
    .execute(connection)
    .await
    .map(drop)
}
