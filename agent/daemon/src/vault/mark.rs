//! How far the MLS state has come (M7): a count that rises in the transaction of each change, under the last logged
//! rejoin. The gateway remembers the highest, and so knows a copy of the folder that was put back.

use gateway_api::v1::rejoin::StateMark;

use super::Connection;
use super::cipher::StateCipher;
use super::setting::{self, Setting};

/// The mark of what is stored.
pub(crate) async fn read(connection: &mut Connection, cipher: &StateCipher) -> anyhow::Result<StateMark> {
    Ok(StateMark {
        rejoin: setting::read_number(connection, cipher, Setting::StateRejoin).await?,
        count: setting::read_number(connection, cipher, Setting::StateCount).await?,
    })
}

/// One change more; part of the transaction that stores the change.
pub(super) async fn raise(connection: &mut Connection, cipher: &StateCipher) -> anyhow::Result<()> {
    let count = setting::read_number(connection, cipher, Setting::StateCount).await?;
    setting::write_number(connection, cipher, Setting::StateCount, count.saturating_add(1)).await
}

/// A logged rejoin begins a count of its own.
pub(crate) async fn begin(
    connection: &mut Connection,
    cipher: &StateCipher,
    rejoin: u64,
) -> anyhow::Result<()> {
    setting::write_number(connection, cipher, Setting::StateRejoin, rejoin).await?;
    setting::write_number(connection, cipher, Setting::StateCount, 0).await
}
