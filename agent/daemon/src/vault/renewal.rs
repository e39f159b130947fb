//! When this device last committed in each audience: a commit renews its keys (M12).

use policies::terms::AudienceId;

use super::{Connection, from_row, to_row};

/// Unix seconds of the last commit; none if this device never committed there.
pub(crate) async fn last_s(connection: &mut Connection, audience: AudienceId) -> anyhow::Result<Option<u64>> {
    let at_s = sqlx::query_scalar::<_, i64>("SELECT at_s FROM renewal WHERE audience = $1")
        .bind(audience.as_bytes().as_slice())
        .fetch_optional(connection)
        .await?;
    Ok(at_s.map(from_row))
}

/// Records a commit of this device.
pub(crate) async fn put(connection: &mut Connection, audience: AudienceId, at_s: u64) -> anyhow::Result<()> {
    sqlx::query(
        "INSERT INTO renewal (audience, at_s) VALUES ($1, $2) ON CONFLICT (audience) DO UPDATE SET at_s = excluded.at_s",
    )
    .bind(audience.as_bytes().as_slice())
    .bind(to_row(at_s))
    .execute(connection)
    .await?;
    Ok(())
}
