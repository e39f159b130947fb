//! Enrollments, from the spent token to the certificate (E1).

use policies::terms::{AudienceClass, DeviceId, Digest, PersonId};
use sqlx::{Row as _, SqliteConnection};

use super::{Store, bytes, class_of, class_text, corrupt, signed, unsigned};

/// How far an enrollment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// An administrator must approve it.
    Waiting,
    /// What is missing is done with the next request.
    Approved,
    Denied,
    Done {
        certificate_pem: String,
    },
}

impl State {
    const fn name(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Done { .. } => "done",
        }
    }
}

/// A device that spent a token.
#[derive(Clone, Debug)]
pub(crate) struct Enrollment {
    /// Digest of what was asked: the same request finds it again.
    pub(crate) request: Digest,
    pub(crate) token: [u8; 16],
    /// The device to be.
    pub(crate) device: DeviceId,
    pub(crate) person: PersonId,
    pub(crate) class: AudienceClass,
    pub(crate) key: [u8; 33],
    pub(crate) csr_pem: String,
    pub(crate) at_s: u64,
    pub(crate) state: State,
}

const COLUMNS: &str = "request, token, device, person, class, key, csr, at_s, state, certificate";

impl Store {
    pub(crate) async fn enrollment(&self, request: Digest) -> sqlx::Result<Option<Enrollment>> {
        let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM enrollment WHERE request = $1"));
        let row = sqlx::query(sql)
            .bind(request.as_bytes().as_slice())
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(enrollment).transpose()
    }

    /// Those that an administrator must decide on, oldest first.
    pub(crate) async fn waiting_enrollments(&self) -> sqlx::Result<Vec<Enrollment>> {
        let sql = sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM enrollment WHERE state = 'waiting' ORDER BY at_s, request"
        ));
        let rows = sqlx::query(sql).fetch_all(&self.pool).await?;
        rows.iter().map(enrollment).collect()
    }
}

/// Decides on one that waits; false when it does not.
pub(crate) async fn decide(
    connection: &mut SqliteConnection,
    request: Digest,
    approve: bool,
) -> sqlx::Result<bool> {
    let state = if approve { State::Approved } else { State::Denied };
    let changed = sqlx::query("UPDATE enrollment SET state = $2 WHERE request = $1 AND state = 'waiting'")
        .bind(request.as_bytes().as_slice())
        .bind(state.name())
        .execute(&mut *connection)
        .await?;
    Ok(changed.rows_affected() > 0)
}

/// Denies those of a person that wait or are approved and not done: how many.
pub(crate) async fn deny_all(connection: &mut SqliteConnection, person: PersonId) -> sqlx::Result<u64> {
    let denied = sqlx::query(
        "UPDATE enrollment SET state = $2 WHERE person = $1 AND state IN ('waiting', 'approved')",
    )
    .bind(person.as_bytes().as_slice())
    .bind(State::Denied.name())
    .execute(&mut *connection)
    .await?;
    Ok(denied.rows_affected())
}

/// Notes that the enrollment is over.
pub(crate) async fn finish(
    connection: &mut SqliteConnection,
    request: Digest,
    certificate_pem: &str,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE enrollment SET state = 'done', certificate = $2 WHERE request = $1")
        .bind(request.as_bytes().as_slice())
        .bind(certificate_pem)
        .execute(connection)
        .await
        .map(drop)
}

/// Notes a device that spent a token.
pub(crate) async fn add(connection: &mut SqliteConnection, enrollment: &Enrollment) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO enrollment (request, token, device, person, class, key, csr, at_s, state) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(enrollment.request.as_bytes().as_slice())
    .bind(enrollment.token.as_slice())
    .bind(enrollment.device.as_bytes().as_slice())
    .bind(enrollment.person.as_bytes().as_slice())
    .bind(class_text(enrollment.class))
    .bind(enrollment.key.as_slice())
    .bind(enrollment.csr_pem.as_str())
    .bind(signed(enrollment.at_s))
    .bind(enrollment.state.name())
    .execute(connection)
    .await
    .map(drop)
}

fn enrollment(row: &sqlx::sqlite::SqliteRow) -> sqlx::Result<Enrollment> {
    let certificate: Option<String> = row.try_get("certificate")?;
    let state = match (row.try_get("state")?, certificate) {
        ("waiting", None) => State::Waiting,
        ("approved", None) => State::Approved,
        ("denied", None) => State::Denied,
        ("done", Some(certificate_pem)) => State::Done { certificate_pem },
        _ => return Err(corrupt("state")),
    };
    Ok(Enrollment {
        request: Digest::from_bytes(bytes("request", row.try_get("request")?)?),
        token: bytes("token", row.try_get("token")?)?,
        device: DeviceId::from_bytes(bytes("device", row.try_get("device")?)?),
        person: PersonId::from_bytes(bytes("person", row.try_get("person")?)?),
        class: class_of(row.try_get("class")?)?,
        key: bytes("key", row.try_get("key")?)?,
        csr_pem: row.try_get("csr")?,
        at_s: unsigned(row.try_get("at_s")?),
        state,
    })
}
