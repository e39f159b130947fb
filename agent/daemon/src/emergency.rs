//! Blocks that cannot be recorded, since the disk or the spool is full (S5): a file that has its room already counts
//! them, so that enforcement goes on and nothing is dropped silently. Once there is room, the last of them becomes an
//! event that says how many others there were.
//!
//! The file is overwritten in place: on a file system that copies on write a full disk may refuse even that, and then the
//! command fails, with nothing sealed.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::Context as _;
use gateway_api::v1::events::{Event, Unrecorded};
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use crate::agent::Agent;
use crate::compose::{answer, record};
use crate::limits::EMERGENCY_BYTES;
use crate::local::wire::ActivityEntry;
use crate::spool;
use crate::vault::cipher::StateCipher;
use crate::vault::setting::{self, Setting};
use crate::vault::{Vault, files};

/// What `status` calls it.
const ALARM: &str = "unrecorded";
/// The file: length (u32, big-endian), then so many encrypted bytes.
const LENGTH_BYTES: usize = 4;

/// The counting file.
pub(crate) struct Emergency {
    file: File,
    counted: Option<Counted>,
}

/// What was not recorded.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Counted {
    /// The last of them, with the number of the others.
    event: Event,
    unrecorded: Unrecorded,
    /// Its line of the journal.
    entry: ActivityEntry,
}

impl Emergency {
    /// Opens the file, or makes it and takes its room.
    ///
    /// # Errors
    /// It cannot be made or read.
    pub(crate) fn open(path: &Path, cipher: &StateCipher) -> anyhow::Result<Self> {
        let failed = || format!("the emergency file `{}` cannot be used", path.display());
        if !path.exists() {
            // Random, so that no file system stores it in less.
            let mut bytes = vec![0; usize::try_from(EMERGENCY_BYTES)?];
            rand::rng().fill_bytes(&mut bytes);
            bytes.iter_mut().take(LENGTH_BYTES).for_each(|byte| *byte = 0);
            files::write_secret(path, &bytes)?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .with_context(failed)?;
        let counted = read(&file, cipher).with_context(failed)?;
        Ok(Self { file, counted })
    }

    /// How many blocks wait to be reported.
    pub(crate) fn count(&self) -> u64 {
        let counted = self.counted.as_ref();
        counted.map_or(0, |counted| counted.unrecorded.others.saturating_add(1))
    }

    /// Counts one more. Those that came out of the file before the agent died, or before it could empty the file, are not
    /// counted with it.
    async fn add(&mut self, vault: &Vault, entry: ActivityEntry, event: Event) -> anyhow::Result<()> {
        if self.is_settled(vault).await {
            self.counted = None;
        }
        let unrecorded = Unrecorded {
            others: self.count(),
            from_s: self
                .counted
                .as_ref()
                .map_or(event.at_s, |counted| counted.unrecorded.from_s),
        };
        let counted = Counted {
            event,
            unrecorded,
            entry,
        };
        let sealed = vault
            .cipher
            .seal("emergency", &[], &serde_json::to_vec(&counted)?)?;
        let length = u32::try_from(sealed.len())?.to_be_bytes();
        let bytes = [length.as_slice(), &sealed].concat();
        anyhow::ensure!(
            u64::try_from(bytes.len())? <= EMERGENCY_BYTES,
            "an event is too long for the emergency file"
        );
        self.write(&bytes)?;
        self.counted = Some(counted);
        Ok(())
    }

    /// Whether what is counted was reported. One that cannot be looked up counts: rather twice than not at all.
    async fn is_settled(&self, vault: &Vault) -> bool {
        let Some(counted) = &self.counted else {
            return false;
        };
        let settled = async {
            let mut connection = vault.connection().await?;
            setting::read(&mut connection, &vault.cipher, Setting::EmergencySettled).await
        };
        match settled.await {
            Ok(settled) => is_of(settled.as_deref(), &counted.event),
            Err(error) => {
                tracing::warn!(error = %format!("{error:#}"), "whether counted blocks were reported is not known");
                false
            }
        }
    }

    /// Forgets what was reported.
    fn clear(&mut self) -> anyhow::Result<()> {
        self.counted = None;
        self.write(&[0; LENGTH_BYTES])
    }

    fn write(&self, bytes: &[u8]) -> anyhow::Result<()> {
        self.file.write_all_at(bytes, 0)?;
        self.file.sync_data()?;
        Ok(())
    }
}

fn read(file: &File, cipher: &StateCipher) -> anyhow::Result<Option<Counted>> {
    anyhow::ensure!(
        file.metadata()?.len() >= EMERGENCY_BYTES,
        "it is damaged; remove it"
    );
    let mut length = [0; LENGTH_BYTES];
    file.read_exact_at(&mut length, 0)?;
    let length = u64::from(u32::from_be_bytes(length));
    if length == 0 {
        return Ok(None);
    }
    anyhow::ensure!(length <= EMERGENCY_BYTES, "it is damaged; remove it");
    let mut sealed = vec![0; usize::try_from(length)?];
    file.read_exact_at(&mut sealed, u64::try_from(LENGTH_BYTES)?)?;
    let body = cipher
        .open("emergency", &[], &sealed)
        .context("it is damaged; remove it")?;
    Ok(Some(serde_json::from_slice(&body)?))
}

/// Whether this event is the one that last came out of the file.
fn is_of(settled: Option<&Vec<u8>>, event: &Event) -> bool {
    settled.is_some_and(|settled| settled.as_slice() == event.id.as_bytes())
}

/// Counts a block whose event cannot be recorded.
///
/// # Errors
/// Not even the emergency file can be written.
pub(crate) async fn count(agent: &Agent, entry: ActivityEntry, event: Event) -> anyhow::Result<()> {
    let mut emergency = agent.emergency.lock().await;
    emergency.add(&agent.vault, entry, event).await?;
    tell(agent, emergency.count());
    drop(emergency);
    agent.changed();
    Ok(())
}

/// Says in `status` how many blocks are counted and not recorded.
pub(crate) fn tell(agent: &Agent, count: u64) {
    if count == 0 {
        agent.all_clear(ALARM);
    } else {
        agent.alarm(
            ALARM,
            format!(
                "{count} blocked drafts could not be recorded: the disk or the spool of events is full, or cannot be \
                 written; make room, or connect the device. They are counted, and reported once there is room"
            ),
        );
    }
}

/// Records what was counted, if there is room by now, in one transaction with its line of the journal.
///
/// # Errors
/// There is no room yet.
pub(crate) async fn settle(agent: &Agent) -> anyhow::Result<()> {
    let mut emergency = agent.emergency.lock().await;
    let Some(counted) = emergency.counted.clone() else {
        return Ok(());
    };
    let cipher = &agent.vault.cipher;
    let id = counted.event.id;
    let mut transaction = agent.vault.begin().await?;
    let settled = setting::read(&mut transaction, cipher, Setting::EmergencySettled).await?;
    // A crash between the transaction and the file is no reason to report it twice.
    if !is_of(settled.as_deref(), &counted.event) {
        let event = Event {
            unrecorded: Some(counted.unrecorded),
            ..counted.event
        };
        let event = spool::append(&mut transaction, &agent.vault, agent.moment()?, event).await?;
        let entry = ActivityEntry {
            reported: answer::shown(&event),
            ..counted.entry
        };
        record::write(agent, &mut transaction, &entry).await?;
        setting::write(&mut transaction, cipher, Setting::EmergencySettled, id.as_bytes()).await?;
        transaction.commit().await?;
    }
    emergency.clear()?;
    tell(agent, 0);
    drop(emergency);
    agent.changed();
    Ok(())
}

#[cfg(test)]
mod tests {
    use policies::terms::Action;

    use super::*;
    use crate::config::paths::Paths;
    use crate::local::wire::Outcome;
    use crate::spool::tests::drafted;

    fn line() -> ActivityEntry {
        ActivityEntry {
            at_s: 7,
            audience: "team".to_owned(),
            outcome: Outcome::Blocked,
            action: Action::Block,
            rules: Vec::new(),
            story: None,
            reported: None,
            clearance: None,
            id: None,
            dispute: None,
        }
    }

    async fn remember(vault: &Vault, event: &Event) {
        let mut transaction = vault.begin().await.unwrap();
        let name = Setting::EmergencySettled;
        setting::write(&mut transaction, &vault.cipher, name, event.id.as_bytes())
            .await
            .unwrap();
        transaction.commit().await.unwrap();
    }

    /// S5: the agent died after blocks were reported and before the file was emptied; the next block that cannot be
    /// recorded counts alone.
    #[tokio::test]
    async fn reported_blocks_are_not_counted_again() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        let vault = Vault::open(&paths).await.unwrap();
        let open = || Emergency::open(&paths.emergency(), &vault.cipher).unwrap();
        let mut emergency = open();
        for id in [1, 2] {
            emergency.add(&vault, line(), drafted(id)).await.unwrap();
        }
        remember(&vault, &drafted(2)).await;

        let mut emergency = open();
        emergency.add(&vault, line(), drafted(3)).await.unwrap();
        assert_eq!((emergency.count(), open().count()), (1, 1));
        emergency.add(&vault, line(), drafted(4)).await.unwrap();
        assert_eq!((emergency.count(), open().count()), (2, 2));
    }
}
