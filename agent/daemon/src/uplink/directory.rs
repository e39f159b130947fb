//! The directory log, followed whole (K4, K8): every entry is fetched, folded into our own tree,
//! and the root is compared with the signed checkpoint. A log that shrank, or whose past changed,
//! is an alarm; what was followed before stays in force.
//!
//! ```text
//! checkpoint (pinned key) ─► size, root ─► entry bundles from our size on ─► own frontier == root?
//!                                             no: fork, nothing of it is believed
//! ```

use anyhow::Context as _;
use gateway_ledger::limits::TILE_WIDTH;
use gateway_ledger::tile::decode_bundle;
use gateway_ledger::{CheckpointKey, Frontier, SignedCheckpoint, TilePath, leaf_hash};
use policies::directory::{Directory, DirectoryEntry};
use policies::terms::{DeviceId, PersonId};

use crate::agent::Agent;
use crate::config::enrollment::{Enrollment, Pins};
use crate::limits::DIRECTORY_ENTRIES_MAX;
use crate::vault::setting::{self, Setting};
use crate::vault::{Connection, Vault, directory_entry};

const ALARM: &str = "directory-log";

/// The log as far as it was followed.
pub(crate) struct Follower {
    key: CheckpointKey,
    frontier: Frontier,
    directory: Directory,
    own: (DeviceId, PersonId),
    /// The largest size that the gateway claimed; asked from here on, so that a refused log does
    /// not end every wait at once.
    claimed: u64,
}

impl Follower {
    /// Rebuilds from the store, and holds it to the last checkpoint.
    ///
    /// # Errors
    /// The stored log is damaged: it does not have the root that was signed for it.
    pub(crate) async fn open(vault: &Vault, pins: &Pins, enrollment: &Enrollment) -> anyhow::Result<Self> {
        let key = CheckpointKey::parse(&pins.directory_log_key).context(
            "`directory_log_key` of the enrollment is no key; ask the administrator for a new token file",
        )?;
        let mut connection = vault.connection().await?;
        let entries = directory_entry::all(&mut connection).await?;
        let checkpoint = setting::read(&mut connection, &vault.cipher, Setting::Checkpoint).await?;
        let own = (enrollment.device, enrollment.person);
        let mut follower = Self {
            key,
            frontier: Frontier::new(),
            directory: Directory::new(),
            own,
            claimed: 0,
        };
        follower.fold(&entries)?;
        if let Some(note) = checkpoint {
            let signed = SignedCheckpoint::open(std::str::from_utf8(&note)?, &follower.key)?;
            let (size, root) = (signed.checkpoint().size, signed.checkpoint().root);
            if (size, root) != (follower.frontier.size(), follower.frontier.root()) {
                anyhow::bail!("the stored directory log is damaged\n  help: sealgate-agent rejoin");
            }
        }
        Ok(follower)
    }

    /// The fold of the log.
    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Entries followed.
    pub(crate) fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// The size to ask with: a log that was refused is not news again.
    pub(crate) fn asked_size(&self) -> u64 {
        self.size().max(self.claimed)
    }

    fn is_of(&self, device: DeviceId, person: PersonId) -> bool {
        self.directory
            .device(device)
            .is_some_and(|logged| logged.person == person)
    }

    fn fold(&mut self, entries: &[Vec<u8>]) -> anyhow::Result<()> {
        for bytes in entries {
            let entry = DirectoryEntry::decode(bytes)?;
            self.directory.apply(self.frontier.size(), &entry)?;
            self.frontier.append(leaf_hash(bytes));
        }
        Ok(())
    }
}

/// Follows the log to the gateway's latest checkpoint.
///
/// # Errors
/// The gateway's, or the store's. A log that is refused is an alarm and no error: what was
/// followed stays in force.
pub(crate) async fn follow(agent: &Agent, follower: &mut Follower) -> anyhow::Result<()> {
    let note = agent.gateway.checkpoint().await?;
    let checkpoint = match std::str::from_utf8(&note).map(|text| SignedCheckpoint::open(text, &follower.key))
    {
        Ok(Ok(checkpoint)) => checkpoint,
        Ok(Err(error)) => {
            return refuse(
                agent,
                &format!("its checkpoint does not verify with the pinned key: {error}"),
            );
        }
        Err(_) => return refuse(agent, "its checkpoint is no text"),
    };
    let (size, root) = (checkpoint.checkpoint().size, checkpoint.checkpoint().root);
    follower.claimed = follower.claimed.max(size);
    if size < follower.size() {
        show_later(agent).await;
        return refuse(
            agent,
            &format!("it has {size} entries, and had {} before", follower.size()),
        );
    }
    if size > DIRECTORY_ENTRIES_MAX {
        return refuse(agent, &format!("it claims {size} entries"));
    }
    let entries = fetch(agent, follower.size(), size).await?;
    let mut next = Follower {
        key: follower.key.clone(),
        frontier: follower.frontier.clone(),
        directory: follower.directory.clone(),
        own: follower.own,
        claimed: follower.claimed,
    };
    if let Err(error) = next.fold(&entries) {
        return refuse(
            agent,
            &format!("an entry does not follow from those before it: {error:#}"),
        );
    }
    if next.frontier.root() != root {
        return refuse(
            agent,
            "its past was changed: it does not contain the log that was followed before",
        );
    }
    store(agent, follower, &next, &entries, checkpoint.as_str()).await?;
    *follower = next;
    agent.all_clear(ALARM);
    agent.changed();
    tracing::info!(size, "directory log followed");
    Ok(())
}

/// A gateway that was put back to an earlier state must know before it writes: the checkpoint that was followed proves
/// it.
async fn show_later(agent: &Agent) {
    let shown = async {
        let note = followed_checkpoint(agent)
            .await?
            .context("no checkpoint was followed")?;
        agent.gateway.show_checkpoint(&note).await?;
        anyhow::Ok(())
    };
    if let Err(error) = shown.await {
        tracing::warn!(error = %format!("{error:#}"), "the gateway could not be shown its later checkpoint");
    }
}

/// The signed checkpoint of the log as it was followed.
pub(crate) async fn followed_checkpoint(agent: &Agent) -> anyhow::Result<Option<String>> {
    let mut connection = agent.vault.connection().await?;
    let note = setting::read(&mut connection, &agent.vault.cipher, Setting::Checkpoint).await?;
    Ok(note.map(|note| String::from_utf8(note.to_vec())).transpose()?)
}

fn refuse(agent: &Agent, why: &str) -> anyhow::Result<()> {
    agent.alarm(ALARM, format!("the gateway's directory log is refused: {why}; what was known before stays in force. Tell your security team"));
    Ok(())
}

async fn fetch(agent: &Agent, from: u64, size: u64) -> anyhow::Result<Vec<Vec<u8>>> {
    let width = TILE_WIDTH as u64;
    let mut entries = Vec::new();
    let mut position = from;
    while position < size {
        let path = TilePath::entries(position / width, size).context("the log does not reach so far")?;
        let bundle = agent.gateway.tile(&path.to_string()).await?;
        let decoded =
            decode_bundle(&bundle, path.width()).context("the gateway's entry bundle cannot be read")?;
        let skipped = usize::try_from(position % width)?;
        entries.extend(decoded.into_iter().skip(skipped).map(<[u8]>::to_vec));
        position = (position / width).saturating_add(1).saturating_mul(width);
    }
    if entries.len() as u64 != size.saturating_sub(from) {
        anyhow::bail!("the gateway's directory log has fewer entries than its checkpoint says");
    }
    Ok(entries)
}

async fn store(
    agent: &Agent,
    before: &Follower,
    next: &Follower,
    entries: &[Vec<u8>],
    note: &str,
) -> anyhow::Result<()> {
    let mut transaction = agent.vault.begin().await?;
    for (position, entry) in (before.size()..).zip(entries) {
        directory_entry::append(&mut transaction, position, entry).await?;
    }
    setting::write(
        &mut transaction,
        &agent.vault.cipher,
        Setting::Checkpoint,
        note.as_bytes(),
    )
    .await?;
    tell_of_own_devices(agent, &mut transaction, next, entries).await?;
    transaction.commit().await?;
    Ok(())
}

/// K8, K4: a person is told of each device that is logged as theirs, and of each of them that joins again.
async fn tell_of_own_devices(
    agent: &Agent,
    connection: &mut Connection,
    follower: &Follower,
    entries: &[Vec<u8>],
) -> anyhow::Result<()> {
    let (own_device, own_person) = follower.own;
    for bytes in entries {
        let told = match DirectoryEntry::decode(bytes) {
            Ok(DirectoryEntry::DeviceAdd { device, person, .. })
                if person == own_person && device != own_device =>
            {
                format!(
                    "device {device} was enrolled in your name; if it is not yours, tell your administrator"
                )
            }
            Ok(DirectoryEntry::DeviceRejoin { device, .. })
                if device != own_device && follower.is_of(device, own_person) =>
            {
                format!(
                    "your device {device} lost its state and joins its audiences again; if that was not you, tell your administrator"
                )
            }
            Ok(_) | Err(_) => continue,
        };
        agent.notice(connection, &told).await?;
    }
    Ok(())
}
