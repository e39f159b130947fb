//! Receipts of deletion (D3): for each hour, what was accepted in it, what ended in it and what of that is gone; twice a
//! day, whether the record and what is stored know of the same stories. Each is an entry of the ledger.

use std::collections::BTreeSet;

use policies::terms::EntryId;
use serde_json::json;

use crate::domain::fault::Fault;
use crate::domain::gateway::Gateway;
use crate::domain::record::{Kind, Record};
use crate::store::receipts;

const HOUR_S: u64 = 3_600;
/// Ids of stories are kept for a day after these have ended (C1): time enough to hold them against the record.
const RECONCILED_EVERY_S: u64 = 12 * HOUR_S;
/// Between a story's admission and its entry.
const SLACK_S: u64 = 600;
/// Ledger entries looked at in one go.
const STEP: u64 = 1_024;

/// Writes the receipts that are due by `now_s`. An hour's is due an hour after its end: by then its purge is over.
pub(super) async fn run(gateway: &Gateway, now_s: u64) -> Result<(), Fault> {
    let newest_s = gateway.store.last_receipt_s().await?;
    if newest_s.is_some_and(|newest_s| newest_s > now_s) {
        // Of a clock that was ahead and confirmed (K19): hours that are yet to come get their receipts then.
        let mut write = gateway.store.write().await?;
        receipts::forget_after(&mut write, now_s).await?;
        write.commit().await?;
    }
    let Some(mut last_s) = gateway.store.last_receipt_s().await? else {
        let mut write = gateway.store.write().await?;
        receipts::put(&mut write, now_s.saturating_sub(now_s % HOUR_S), 0).await?;
        return Ok(write.commit().await?);
    };
    while last_s.saturating_add(2 * HOUR_S) <= now_s {
        let end_s = last_s.saturating_add(HOUR_S);
        let (mut records, mut wrong) = (Vec::new(), 0_u64);
        for (record, faults) in [hour(gateway, last_s, end_s).await?]
            .into_iter()
            .chain(half_day(gateway, end_s).await?)
        {
            records.push(record);
            wrong = wrong.saturating_add(faults);
        }
        write(gateway, end_s, wrong, records).await?;
        last_s = end_s;
    }
    Ok(())
}

/// A receipt, and how much of what it says should not be.
type Receipt = (Record, u64);

async fn hour(gateway: &Gateway, from_s: u64, end_s: u64) -> Result<Receipt, Fault> {
    let counted = gateway.store.count_deletion(from_s, end_s).await?;
    let left = counted.ended.saturating_sub(counted.shredded);
    let payload = json!({
        "from_s": from_s, "end_s": end_s, "accepted": counted.accepted, "ended": counted.ended,
        "shredded": counted.shredded, "blobs_left": counted.blobs_left,
    });
    let record = gateway.entry(Kind::DeletionReceipt, None, payload)?;
    Ok((record, left.saturating_add(counted.blobs_left)))
}

/// Holds the record against what is stored, at noon and at midnight (UTC).
async fn half_day(gateway: &Gateway, end_s: u64) -> Result<Option<Receipt>, Fault> {
    if !end_s.is_multiple_of(RECONCILED_EVERY_S) {
        return Ok(None);
    }
    let from_s = end_s.saturating_sub(RECONCILED_EVERY_S);
    let Recorded {
        within,
        around,
        restored,
    } = recorded(gateway, from_s, end_s).await?;
    let stored = gateway.store.accepted_entries(from_s, end_s).await?;
    let known = gateway
        .store
        .accepted_entries(from_s.saturating_sub(SLACK_S), end_s.saturating_add(SLACK_S))
        .await?;
    let unrecorded = stored.difference(&around).count() as u64;
    let unaccounted = within.difference(&known).count() as u64;
    let payload = json!({
        "from_s": from_s, "end_s": end_s, "recorded": within.len(), "stored": stored.len(),
        "unrecorded": unrecorded, "unaccounted": unaccounted, "restored": restored,
    });
    // The database of a backup is older than its ledger.
    let unaccounted = if restored { 0 } else { unaccounted };
    let record = gateway.entry(Kind::DeletionReconciliation, None, payload)?;
    Ok(Some((record, unrecorded.saturating_add(unaccounted))))
}

/// What the ledger has of a half day.
#[derive(Default)]
struct Recorded {
    /// Entries of relayed stories.
    within: BTreeSet<EntryId>,
    /// Those, and others in [`SLACK_S`] around.
    around: BTreeSet<EntryId>,
    /// A backup was put back since.
    restored: bool,
}

async fn recorded(gateway: &Gateway, from_s: u64, end_s: u64) -> Result<Recorded, Fault> {
    let mut found = Recorded::default();
    let mut end = gateway.ledger.size();
    while end > 0 {
        let first = end.saturating_sub(STEP);
        let entries = gateway.ledger.entries(first, end).await?;
        found.restored |= entries.iter().any(|entry| entry.kind == Kind::Restore.as_str());
        for entry in entries.iter().filter(|entry| entry.kind == Kind::Relay.as_str()) {
            if (from_s..end_s).contains(&entry.at_s) {
                found.within.insert(entry.entry);
            }
            if (from_s.saturating_sub(SLACK_S)..end_s.saturating_add(SLACK_S)).contains(&entry.at_s) {
                found.around.insert(entry.entry);
            }
        }
        // The ledger's order is that of time, but for a clock that was set.
        let oldest_s = entries.first().map_or(0, |entry| entry.at_s);
        if oldest_s.saturating_add(SLACK_S) < from_s {
            break;
        }
        end = first;
    }
    Ok(found)
}

/// Notes how far the receipts are, and writes them.
async fn write(gateway: &Gateway, end_s: u64, wrong: u64, records: Vec<Record>) -> Result<(), Fault> {
    let mut write = gateway.store.write().await?;
    receipts::put(&mut write, end_s, wrong).await?;
    gateway.record_with(write, records).await?;
    if wrong > 0 {
        tracing::error!(wrong, "receipts of deletion do not agree with what is stored");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
