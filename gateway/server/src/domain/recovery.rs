//! What a crash left, settled before anything is served (K12, L4).
//!
//! | half done | settled |
//! | --- | --- |
//! | a story that is held | finished if its entry is in the ledger, else dropped: its agent sends again |
//! | an event that is held | likewise |
//! | a group's change or a takeback that is in the ledger only | the ledger says that it had no effect: it is asked for again |
//! | an entry of the directory log that the ledger does not know | the ledger gets it |
//! | anything else that was done and is owed to the ledger, as a purge | the ledger gets it |
//! | an erasure | its keys are destroyed |
//!
//! What no crash explains is refused: a ledger that ends before what the database knows of it, and a database without a
//! story or an event that the ledger says was accepted, or without several changes that it says were made. Either was
//! damaged or put back from a copy, and to go on would lose what was acknowledged without a word.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use policies::terms::EntryId;
use serde_json::{Value, json};

use super::erasure;
use super::record::{Kind, Record};
use crate::config::keys::Keys;
use crate::relay;
use crate::store::crash::{self, Mark};
use crate::store::logs::{DirectoryLog, Ledger, ReadEntry};
use crate::store::{Store, events};

/// Ledger entries looked at in one go.
const STEP: u64 = 1_024;

/// Settles what the last run left half done; what needs an entry only if the ledger `is_open`.
pub(crate) async fn recover(
    store: &Store,
    ledger: &Ledger,
    directory: &DirectoryLog,
    keys: &Keys,
    now_s: u64,
    is_open: bool,
) -> anyhow::Result<()> {
    let mark = store.mark().await?;
    if let Some(mark) = mark.filter(|_| is_open) {
        check_agreement(store, ledger, mark, now_s).await?;
    }
    let held_from = mark.map_or(0, |mark| mark.held_from);
    let (finished, dropped) = relay::recovery::recover(store, ledger, keys, held_from).await?;
    if finished > 0 || dropped > 0 {
        tracing::info!(finished, dropped, "held stories were settled after a crash");
    }
    settle_events(store, ledger).await?;
    if !is_open {
        return Ok(());
    }
    settle_intents(store, ledger, directory).await?;
    // They are carried out one after the other: a crash cuts one short, not more.
    settle_changes(store, ledger, mark, 1).await
}

/// After a restore: the database of a backup is older than its ledger and has no stories. What the ledger says beyond it
/// is said to be undone, and is not looked for again.
pub(crate) async fn settle_restored(store: &Store, ledger: &Ledger) -> anyhow::Result<()> {
    settle_changes(store, ledger, store.mark().await?, usize::MAX).await?;
    let mut write = store.write().await?;
    crash::mark_held(&mut write, ledger.size()).await?;
    write.commit().await?;
    Ok(())
}

/// Ledger and database must know of each other what was acknowledged.
async fn check_agreement(store: &Store, ledger: &Ledger, mark: Mark, now_s: u64) -> anyhow::Result<()> {
    let (size, known) = (ledger.size(), mark.held_from.max(mark.done_from));
    ensure!(
        size >= known,
        "the ledger has {size} entries and the database knows of {known}: put `ledger/` back as it was, or restore \
         ledger and database from one backup"
    );
    let mut next = mark.held_from;
    let ended_s = now_s.max(mark.forgotten_s);
    while next < size {
        let end = size.min(next.saturating_add(STEP));
        for entry in ledger.entries(next, end).await? {
            ensure!(
                is_known(store, &entry, ended_s).await?,
                "{OLDER}: it does not know what entry {} accepted; {PUT_BACK}",
                entry.index
            );
        }
        next = end;
    }
    Ok(())
}

const OLDER: &str = "the database is older than the ledger";
const PUT_BACK: &str =
    "put `gateway.db` and `gateway.db-wal` back as they were, or restore ledger and database from one backup";

/// Whether what an entry accepted is in the database: stories and events are there before their entries. Of stories that
/// ended by `ended_s` nothing is asked.
async fn is_known(store: &Store, entry: &ReadEntry, ended_s: u64) -> anyhow::Result<bool> {
    let Some(payload) = &entry.payload else {
        return Ok(true);
    };
    let text = |pointer| payload.pointer(pointer).and_then(Value::as_str);
    let is = |kind: Kind| entry.kind == kind.as_str();
    if is(Kind::Relay) {
        let expires_s = payload.get("expires_s").and_then(Value::as_u64);
        return match text("/cti").and_then(|cti| cti.parse().ok()) {
            Some(cti) if expires_s.is_some_and(|expires_s| expires_s > ended_s) => {
                Ok(store.story(cti).await?.is_some())
            }
            Some(_) | None => Ok(true),
        };
    }
    if (is(Kind::Event) || is(Kind::FalsePositive))
        && let Some(id) = text("/event/id").and_then(|id| id.parse().ok())
    {
        return Ok(store.knows_event(id).await?);
    }
    Ok(true)
}

async fn settle_events(store: &Store, ledger: &Ledger) -> anyhow::Result<()> {
    let held = store.held_events().await?;
    let Some(first) = held.iter().map(|held| held.held_from).min() else {
        return Ok(());
    };
    let wanted = held.iter().map(|held| held.entry).collect();
    let recorded = ledger.find_entries(first, wanted).await?;
    let mut write = store.write().await?;
    for event in held {
        if recorded.contains(&event.entry) {
            events::release(&mut write, event.id).await?;
        } else {
            events::drop_held(&mut write, event.id).await?;
        }
    }
    write.commit().await?;
    Ok(())
}

/// Entries that are owed are written now; one that is owed to nothing is not.
async fn settle_intents(store: &Store, ledger: &Ledger, directory: &DirectoryLog) -> anyhow::Result<()> {
    for intent in store.intents().await? {
        let entry = intent.record.entry;
        let erased = (intent.record.kind == Kind::Shred).then(|| intent.record.payload.clone());
        let is_owed = intent
            .directory_index
            .is_none_or(|index| index < directory.size());
        let is_there = || async { ledger.find_entries(intent.ledger_from, vec![entry]).await };
        if is_owed && !is_there().await?.contains(&entry) {
            tracing::info!(kind = intent.record.kind.as_str(), "recorded after a crash");
            ledger
                .append(vec![intent.record])
                .await
                .context("what the last run did cannot be recorded")?;
        }
        if let Some(payload) = erased {
            ledger.shred(erasure::keys(&payload)?).await?;
        }
        store.settle_intent(entry).await?;
    }
    Ok(())
}

/// Entries of changes behind the last one that was carried out had no effect: at most so many.
async fn settle_changes(
    store: &Store,
    ledger: &Ledger,
    mark: Option<Mark>,
    most: usize,
) -> anyhow::Result<()> {
    let size = ledger.size();
    let first = mark.map_or(size, |mark| mark.done_from);
    let (mut changes, mut told) = (Vec::new(), BTreeSet::new());
    let mut next = first;
    while next < size {
        let end = size.min(next.saturating_add(STEP));
        for entry in ledger.entries(next, end).await? {
            let is = |kind: Kind| entry.kind == kind.as_str();
            if is(Kind::Audience) || is(Kind::StoryRevoke) {
                changes.push(entry.entry);
            } else if is(Kind::NoEffect) {
                let of = entry.payload.as_ref().and_then(|payload| payload.get("entry"));
                told.extend(of.and_then(|of| of.as_str()?.parse::<EntryId>().ok()));
            }
        }
        next = end;
    }
    changes.retain(|entry| !told.contains(entry));
    ensure!(
        changes.len() <= most,
        "{OLDER}: it has not carried out {} changes that were recorded; {PUT_BACK}",
        changes.len()
    );
    let records = changes
        .into_iter()
        .map(|entry| Record::new(Kind::NoEffect, None, 0, json!({ "entry": entry })))
        .collect::<anyhow::Result<Vec<_>>>()?;
    if !records.is_empty() {
        tracing::info!(
            changes = records.len(),
            "changes that a crash prevented are said to be none"
        );
        ledger.append(records).await?;
    }
    if ledger.size() > first || mark.is_none() {
        let mut write = store.write().await?;
        crash::mark_done(&mut write, ledger.size()).await?;
        write.commit().await?;
    }
    Ok(())
}
