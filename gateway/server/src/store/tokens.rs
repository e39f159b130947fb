//! Enrollment tokens: hashed, of few uses, bounded life, bound to a machine where asked (E1).

use policies::terms::{AudienceClass, Digest, PersonId};
use sqlx::{Row as _, SqliteConnection};

use super::{Store, bytes, class_of, class_text, optional_digest, signed, unsigned};

/// A token, without its secret.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) id: [u8; 16],
    pub(crate) hash: Digest,
    pub(crate) person: PersonId,
    pub(crate) class: AudienceClass,
    pub(crate) expires_s: u64,
    /// Devices that it enrols at most.
    pub(crate) uses_max: u64,
    pub(crate) uses: u64,
    /// Digest of the one host name that it counts for.
    pub(crate) host: Option<Digest>,
    /// Digest of the one machine's serial number that it counts for.
    pub(crate) serial: Option<Digest>,
    /// Whether an administrator approves each device.
    pub(crate) approval: bool,
    pub(crate) revoked_s: Option<u64>,
}

const COLUMNS: &str = "id, hash, person, class, expires_s, uses_max, uses, host, serial, approval, revoked_s";

impl Store {
    /// Every token, newest first.
    pub(crate) async fn tokens(&self) -> sqlx::Result<Vec<Token>> {
        let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM token ORDER BY created_s DESC, id"));
        let rows = sqlx::query(sql).fetch_all(&self.pool).await?;
        rows.iter().map(token).collect()
    }

    /// The token with this hash, live or not.
    pub(crate) async fn token(&self, hash: Digest) -> sqlx::Result<Option<Token>> {
        let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM token WHERE hash = $1"));
        let row = sqlx::query(sql)
            .bind(hash.as_bytes().as_slice())
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(token).transpose()
    }
}

/// Adds a token.
pub(crate) async fn add(connection: &mut SqliteConnection, token: &Token, now_s: u64) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO token (id, hash, person, class, created_s, expires_s, uses_max, host, serial, approval) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(token.id.as_slice())
    .bind(token.hash.as_bytes().as_slice())
    .bind(token.person.as_bytes().as_slice())
    .bind(class_text(token.class))
    .bind(signed(now_s))
    .bind(signed(token.expires_s))
    .bind(signed(token.uses_max))
    .bind(token.host.map(|digest| digest.as_bytes().to_vec()))
    .bind(token.serial.map(|digest| digest.as_bytes().to_vec()))
    .bind(token.approval)
    .execute(&mut *connection)
    .await
    .map(drop)
}

/// Revokes a token that has uses left; false when there is none of this id.
pub(crate) async fn revoke(
    connection: &mut SqliteConnection,
    id: &[u8; 16],
    now_s: u64,
) -> sqlx::Result<bool> {
    let revoked = sqlx::query_scalar::<_, i64>(
        "UPDATE token SET revoked_s = $2 WHERE id = $1 AND uses < uses_max AND revoked_s IS NULL RETURNING 1",
    )
    .bind(id.as_slice())
    .bind(signed(now_s))
    .fetch_optional(&mut *connection)
    .await?;
    Ok(revoked.is_some())
}

/// Spends one use of a token, if it is live: of two that come at once for the last use, one gets it.
pub(crate) async fn spend(connection: &mut SqliteConnection, id: [u8; 16], now_s: u64) -> sqlx::Result<bool> {
    let spent = sqlx::query(
        "UPDATE token SET uses = uses + 1, used_s = $2 WHERE id = $1 AND uses < uses_max AND revoked_s IS NULL \
         AND expires_s > $2",
    )
    .bind(id.as_slice())
    .bind(signed(now_s))
    .execute(connection)
    .await?;
    Ok(spent.rows_affected() > 0)
}

fn token(row: &sqlx::sqlite::SqliteRow) -> sqlx::Result<Token> {
    Ok(Token {
        id: bytes("id", row.try_get("id")?)?,
        hash: Digest::from_bytes(bytes("hash", row.try_get("hash")?)?),
        person: PersonId::from_bytes(bytes("person", row.try_get("person")?)?),
        class: class_of(row.try_get("class")?)?,
        expires_s: unsigned(row.try_get("expires_s")?),
        uses_max: unsigned(row.try_get("uses_max")?),
        uses: unsigned(row.try_get("uses")?),
        host: optional_digest("host", row.try_get("host")?)?,
        serial: optional_digest("serial", row.try_get("serial")?)?,
        approval: row.try_get("approval")?,
        revoked_s: row.try_get::<Option<i64>, _>("revoked_s")?.map(unsigned),
    })
}
