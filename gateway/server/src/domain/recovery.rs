//! What a crash left, settled before anything is served (K12, L4).
//!
//! | half done | settled |
//! | --- | --- |
//! | a story that is held | finished if its entry is in the ledger, else dropped: its agent sends again |
//! | an event that is held | likewise |
//! | a group's change or a takeback that is in the ledger only | the ledger says that it had no effect: it is asked for again |
//! | an entry of the directory log that the ledger does not know | the ledger gets it |
//! | a purge that the ledger does not know | the ledger gets it |

use std::collections::BTreeSet;

use anyhow::Context as _;
use policies::terms::EntryId;
use serde_json::json;

use super::record::{Kind, Record};
use crate::config::keys::Keys;
use crate::relay;
use crate::store::crash::{self, Mark};
use crate::store::logs::{DirectoryLog, Ledger};
use crate::store::{Store, events};

/// Ledger entries looked at in one go.
const STEP: u64 = 1_024;

/// Settles what the last run left half done; what needs an entry only if the ledger `is_open`.
pub(crate) async fn recover(
    store: &Store,
    ledger: &Ledger,
    directory: &DirectoryLog,
    keys: &Keys,
    is_open: bool,
) -> anyhow::Result<()> {
    let mark = store.mark().await?;
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
    settle_changes(store, ledger, mark).await
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
        store.settle_intent(entry).await?;
    }
    Ok(())
}

/// Entries of changes behind the last one that was carried out had no effect.
async fn settle_changes(store: &Store, ledger: &Ledger, mark: Option<Mark>) -> anyhow::Result<()> {
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
    let records = changes
        .into_iter()
        .filter(|entry| !told.contains(entry))
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
