//! Enrollment tokens: hashed, single use, bounded life (E1).

use policies::terms::{AudienceClass, Digest, PersonId};
use sqlx::Row as _;

use super::{Store, bytes, class_of, class_text, signed, unsigned};

/// A token, without its secret.
pub(crate) struct Token {
    pub(crate) id: [u8; 16],
    pub(crate) hash: Digest,
    pub(crate) person: PersonId,
    pub(crate) class: AudienceClass,
    pub(crate) expires_s: u64,
    pub(crate) used_s: Option<u64>,
    pub(crate) revoked_s: Option<u64>,
}

impl Store {
    pub(crate) async fn add_token(&self, token: &Token, now_s: u64) -> sqlx::Result<()> {
        sqlx::query("INSERT INTO token (id, hash, person, class, created_s, expires_s) VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(token.id.as_slice())
            .bind(token.hash.as_bytes().as_slice())
            .bind(token.person.as_bytes().as_slice())
            .bind(class_text(token.class))
            .bind(signed(now_s))
            .bind(signed(token.expires_s))
            .execute(&self.pool)
            .await
            .map(drop)
    }

    /// Every token, newest first.
    pub(crate) async fn tokens(&self) -> sqlx::Result<Vec<Token>> {
        let rows = sqlx::query(
            "SELECT id, hash, person, class, expires_s, used_s, revoked_s FROM token ORDER BY created_s DESC, id",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(token).collect()
    }

    /// Spends the token with this hash, if it is live: the one that does it gets it, everybody after gets none.
    pub(crate) async fn spend_token(&self, hash: Digest, now_s: u64) -> sqlx::Result<Option<Token>> {
        let row = sqlx::query(
            "UPDATE token SET used_s = $2 WHERE hash = $1 AND used_s IS NULL AND revoked_s IS NULL AND expires_s > $2 \
             RETURNING id, hash, person, class, expires_s, used_s, revoked_s",
        )
        .bind(hash.as_bytes().as_slice())
        .bind(signed(now_s))
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(token).transpose()
    }

    /// Revokes an unused token; false when there is none of this id.
    pub(crate) async fn revoke_token(&self, id: &[u8; 16], now_s: u64) -> sqlx::Result<bool> {
        let revoked = sqlx::query_scalar::<_, i64>(
            "UPDATE token SET revoked_s = $2 WHERE id = $1 AND used_s IS NULL AND revoked_s IS NULL RETURNING 1",
        )
        .bind(id.as_slice())
        .bind(signed(now_s))
        .fetch_optional(&self.pool)
        .await?;
        Ok(revoked.is_some())
    }
}

fn token(row: &sqlx::sqlite::SqliteRow) -> sqlx::Result<Token> {
    Ok(Token {
        id: bytes("id", row.try_get("id")?)?,
        hash: Digest::from_bytes(bytes("hash", row.try_get("hash")?)?),
        person: PersonId::from_bytes(bytes("person", row.try_get("person")?)?),
        class: class_of(row.try_get("class")?)?,
        expires_s: unsigned(row.try_get("expires_s")?),
        used_s: row.try_get::<Option<i64>, _>("used_s")?.map(unsigned),
        revoked_s: row.try_get::<Option<i64>, _>("revoked_s")?.map(unsigned),
    })
}
