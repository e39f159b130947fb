//! Single values by name: cursors, the policy floor, the last checkpoint.

use sqlx::Row as _;
use zeroize::Zeroizing;

use super::Connection;
use super::cipher::StateCipher;

/// The names in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    /// Highest bundle version that was ever in force (B3), u64 big-endian.
    PolicyFloor,
    /// Version of the bundle that decides, u64 big-endian.
    PolicyActive,
    /// Version of the bundle before it, to which the agent may return (B7), u64 big-endian.
    PolicyPrevious,
    /// The bundle that does not come into force here again, JSON.
    PolicyRejected,
    /// How the bundle does since its activation (B7), JSON.
    PolicyProbation,
    /// How far this device came with the newest bundle (B10), JSON.
    PolicyAck,
    /// Until when the policy is known to be the latest (B4), u64 big-endian.
    PolicyFreshUntil,
    /// 1 while an agent runs on the folder: one that starts and finds it knows of a crash (B7), u64 big-endian.
    Running,
    /// Last signed checkpoint of the directory log, text.
    Checkpoint,
    /// Last inbox item processed, u64 big-endian.
    InboxCursor,
    /// Directory groups of the owner, JSON.
    Groups,
    /// Names of people by id, JSON.
    People,
    /// Latest signed time seen, u64 big-endian (B5).
    SignedTime,
    /// Index of the last `device-rejoin` entry of this device, u64 big-endian (M7).
    StateRejoin,
    /// Changes of the MLS state since then, u64 big-endian (M7).
    StateCount,
    /// The rejoin that was begun and has not come to its end (M4, M5), JSON; empty where there is none.
    RejoinBegun,
    /// Audiences that are to be joined again, and those in which that did not help (M5), JSON.
    Behind,
    /// When key packages were last uploaded, Unix seconds, u64 big-endian (K11).
    KeyPackagesAt,
    /// Wall and boot clock as last seen, JSON (K19).
    Clock,
    /// Number and digest of the event that was added last (S3), JSON.
    LastEvent,
    /// Id of the event that last came out of the emergency file (S5).
    EmergencySettled,
    /// A second copy of the renewal of the certificate that was begun (E4): the serial number of the certificate that is
    /// renewed, a line feed, PEM; empty where there is none.
    RenewalBegun,
}

impl Setting {
    const fn name(self) -> &'static str {
        match self {
            Self::PolicyFloor => "policy-floor",
            Self::PolicyActive => "policy-active",
            Self::PolicyPrevious => "policy-previous",
            Self::PolicyRejected => "policy-rejected",
            Self::PolicyProbation => "policy-probation",
            Self::PolicyAck => "policy-ack",
            Self::PolicyFreshUntil => "policy-fresh-until",
            Self::Running => "running",
            Self::Checkpoint => "checkpoint",
            Self::InboxCursor => "inbox-cursor",
            Self::Groups => "groups",
            Self::People => "people",
            Self::SignedTime => "signed-time",
            Self::StateRejoin => "state-rejoin",
            Self::StateCount => "state-count",
            Self::RejoinBegun => "rejoin-begun",
            Self::Behind => "behind",
            Self::KeyPackagesAt => "key-packages-at",
            Self::Clock => "clock",
            Self::LastEvent => "last-event",
            Self::EmergencySettled => "emergency-settled",
            Self::RenewalBegun => "renewal-begun",
        }
    }
}

/// Reads a value.
pub(crate) async fn read(
    connection: &mut Connection,
    cipher: &StateCipher,
    setting: Setting,
) -> anyhow::Result<Option<Zeroizing<Vec<u8>>>> {
    let row = sqlx::query("SELECT value FROM setting WHERE name = $1")
        .bind(setting.name())
        .fetch_optional(connection)
        .await?;
    row.map(|row| cipher.open("setting", setting.name().as_bytes(), row.get(0)))
        .transpose()
}

/// Writes a value.
pub(crate) async fn write(
    connection: &mut Connection,
    cipher: &StateCipher,
    setting: Setting,
    value: &[u8],
) -> anyhow::Result<()> {
    let value = cipher.seal("setting", setting.name().as_bytes(), value)?;
    sqlx::query(
        "INSERT INTO setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .bind(setting.name())
    .bind(value)
    .execute(connection)
    .await?;
    Ok(())
}

/// Reads a number; none reads as 0.
pub(crate) async fn read_number(
    connection: &mut Connection,
    cipher: &StateCipher,
    setting: Setting,
) -> anyhow::Result<u64> {
    let Some(bytes) = read(connection, cipher, setting).await? else {
        return Ok(0);
    };
    let bytes: [u8; 8] = bytes
        .as_slice()
        .try_into()
        .map_err(|_| anyhow::anyhow!("the setting `{}` is damaged", setting.name()))?;
    Ok(u64::from_be_bytes(bytes))
}

/// Writes a number.
pub(crate) async fn write_number(
    connection: &mut Connection,
    cipher: &StateCipher,
    setting: Setting,
    value: u64,
) -> anyhow::Result<()> {
    write(connection, cipher, setting, &value.to_be_bytes()).await
}
