//! Key packages: one-time ones are handed out once, the last resort when none is left.

use policies::terms::{DeviceId, Digest};

use super::{Store, signed};
use crate::limits;

impl Store {
    /// Adds a device's packages, or renews them all; a last resort replaces the earlier one. Those over the bound are
    /// dropped.
    pub(crate) async fn add_key_packages(
        &self,
        device: DeviceId,
        one_time: &[Vec<u8>],
        last_resort: Option<&[u8]>,
        renew: bool,
    ) -> sqlx::Result<u32> {
        let mut write = self.write().await?;
        if renew {
            sqlx::query("DELETE FROM key_package WHERE device = $1 AND last_resort = 0")
                .bind(device.as_bytes().as_slice())
                .execute(&mut *write)
                .await?;
        }
        let mut stock = stock(&mut write, device).await?;
        for package in one_time {
            if stock >= limits::KEY_PACKAGES_PER_DEVICE_MAX {
                break;
            }
            insert(&mut write, device, false, package).await?;
            stock = stock.saturating_add(1);
        }
        if let Some(package) = last_resort {
            sqlx::query("DELETE FROM key_package WHERE device = $1 AND last_resort = 1")
                .bind(device.as_bytes().as_slice())
                .execute(&mut *write)
                .await?;
            insert(&mut write, device, true, package).await?;
        }
        let stock = self::stock(&mut write, device).await?;
        write.commit().await?;
        Ok(stock)
    }

    /// One-time packages that are left.
    pub(crate) async fn key_package_stock(&self, device: DeviceId) -> sqlx::Result<u32> {
        stock(&mut *self.pool.acquire().await?, device).await
    }

    /// Claims a package of each device that has one, in the order asked.
    pub(crate) async fn claim_key_packages(
        &self,
        devices: &[DeviceId],
    ) -> sqlx::Result<Vec<(DeviceId, Vec<u8>)>> {
        let mut write = self.write().await?;
        let mut claimed = Vec::with_capacity(devices.len());
        for device in devices {
            let one_time = sqlx::query_scalar::<_, Vec<u8>>(
                "DELETE FROM key_package WHERE id = (SELECT id FROM key_package WHERE device = $1 AND last_resort = 0 \
                 ORDER BY id LIMIT 1) RETURNING package",
            )
            .bind(device.as_bytes().as_slice())
            .fetch_optional(&mut *write)
            .await?;
            let package = match one_time {
                Some(package) => Some(package),
                None => {
                    sqlx::query_scalar(
                        "SELECT package FROM key_package WHERE device = $1 AND last_resort = 1 LIMIT 1",
                    )
                    .bind(device.as_bytes().as_slice())
                    .fetch_optional(&mut *write)
                    .await?
                }
            };
            claimed.extend(package.map(|package| (*device, package)));
        }
        write.commit().await?;
        Ok(claimed)
    }

    /// Forgets a revoked device's packages.
    pub(crate) async fn drop_key_packages(&self, device: DeviceId) -> sqlx::Result<()> {
        sqlx::query("DELETE FROM key_package WHERE device = $1")
            .bind(device.as_bytes().as_slice())
            .execute(&self.pool)
            .await
            .map(drop)
    }
}

async fn stock(connection: &mut sqlx::SqliteConnection, device: DeviceId) -> sqlx::Result<u32> {
    let count = sqlx::query_scalar::<_, i64>(
        "SELECT COUNT(*) FROM key_package WHERE device = $1 AND last_resort = 0",
    )
    .bind(device.as_bytes().as_slice())
    .fetch_one(connection)
    .await?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

async fn insert(
    connection: &mut sqlx::SqliteConnection,
    device: DeviceId,
    last_resort: bool,
    package: &[u8],
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO key_package (device, last_resort, digest, package) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
    )
    .bind(device.as_bytes().as_slice())
    .bind(signed(u64::from(last_resort)))
    .bind(Digest::of(package).as_bytes().as_slice())
    .bind(package)
    .execute(connection)
    .await
    .map(drop)
}

#[cfg(test)]
mod tests {
    use crate::relay::tests::{World, device};

    /// K11: old packages that nobody claimed are handed out no more once their device has renewed them.
    #[tokio::test]
    async fn renewed_packages_take_the_place_of_all_earlier_ones() {
        let world = World::new().await;
        let store = &world.gateway.store;
        let upload = async |one_time: &[&[u8]], last_resort: &[u8], renew| {
            let one_time: Vec<Vec<u8>> = one_time.iter().map(|package| package.to_vec()).collect();
            let stock = store.add_key_packages(device(), &one_time, Some(last_resort), renew);
            stock.await.unwrap()
        };
        assert_eq!(upload(&[b"old", b"older"], b"old last", false).await, 2);
        assert_eq!(upload(&[b"more"], b"old last", false).await, 3);

        assert_eq!(upload(&[b"fresh"], b"fresh last", true).await, 1);

        for expected in [&b"fresh"[..], b"fresh last", b"fresh last"] {
            let claimed = store.claim_key_packages(&[device()]).await.unwrap();
            assert_eq!(claimed, [(device(), expected.to_vec())]);
        }
    }
}
