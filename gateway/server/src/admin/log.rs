//! The auditor's work on the ledger. Every read is itself recorded, before it is answered (L4, L9).

use std::path::Path;

use gateway_api::error::ErrorCode;
use serde_json::json;

use super::{Reply, lines};
use crate::domain::fault::Fault;
use crate::domain::gateway::Gateway;
use crate::domain::record::Kind;
use crate::limits;
use crate::store::logs::ReadEntry;

/// What is looked for.
pub(super) struct Search {
    pub(super) kind: Option<String>,
    pub(super) since_s: Option<u64>,
    pub(super) until_s: Option<u64>,
    pub(super) limit: usize,
}

/// Entries in order; complete, or said to be incomplete.
pub(super) async fn search(gateway: &Gateway, search: &Search) -> Result<Reply, Fault> {
    let query = json!({ "kind": search.kind, "since_s": search.since_s, "until_s": search.until_s });
    let size = gateway.ledger.size();
    gateway
        .record(Kind::LogRead, None, json!({ "search": query }))
        .await?;
    let limit = search.limit.clamp(1, limits::SEARCH_RESULTS_MAX);
    let first = size.saturating_sub(limits::SEARCH_ENTRIES_MAX);
    let wanted = |entry: &ReadEntry| {
        search.kind.as_ref().is_none_or(|kind| *kind == entry.kind)
            && search.since_s.is_none_or(|since_s| entry.at_s >= since_s)
            && search.until_s.is_none_or(|until_s| entry.at_s < until_s)
    };
    let mut found = Vec::new();
    let mut complete = first == 0;
    let mut next = first;
    while next < size {
        for entry in gateway.ledger.entries(next, size).await? {
            next = entry.index.saturating_add(1);
            if !wanted(&entry) {
                continue;
            }
            if found.len() == limit {
                complete = false;
                next = size;
                break;
            }
            found.push(entry);
        }
    }
    let text = found
        .iter()
        .map(|entry| format!("{:>8}  {}  {}", entry.index, entry.at_s, entry.kind));
    let mut text = lines(text.collect(), "nothing was found");
    if !complete {
        text.push_str("\nthis is not complete: narrow the search, or raise --limit");
    }
    let entries: Vec<_> = found.iter().map(ReadEntry::to_json).collect();
    Ok(Reply::new(
        json!({ "entries": entries, "complete": complete }),
        text,
    ))
}

pub(super) async fn show(gateway: &Gateway, index: u64) -> Result<Reply, Fault> {
    gateway
        .record(Kind::LogRead, None, json!({ "index": index }))
        .await?;
    let entry = find(gateway, index).await?.to_json();
    let text = serde_json::to_string_pretty(&entry).map_err(anyhow::Error::from)?;
    Ok(Reply::new(entry, text))
}

/// Gives out what an agent sealed for compliance; whoever asks opens it with the compliance key, which the gateway never
/// sees (K25).
pub(super) async fn open(gateway: &Gateway, index: u64) -> Result<Reply, Fault> {
    gateway
        .record(Kind::LogOpen, None, json!({ "index": index }))
        .await?;
    let entry = find(gateway, index).await?.to_json();
    let payload = entry.get("payload");
    let field = |name: &str| {
        let event = payload.and_then(|payload| payload.get("event"));
        [payload, event]
            .into_iter()
            .flatten()
            .find_map(|part| part.get(name))
            .cloned()
            .unwrap_or_default()
    };
    let sealed = field("sealed");
    if sealed.is_null() {
        return Err(Fault::new(
            ErrorCode::NotFound,
            "this entry holds nothing that was sealed for compliance",
        ));
    }
    let cti = field("cti");
    let id = if cti.is_null() { field("id") } else { cti };
    Ok(Reply::new(
        json!({ "index": index, "id": id, "sealed": sealed, "entry": entry }),
        String::new(),
    ))
}

pub(super) async fn publish(gateway: &Gateway) -> Result<Reply, Fault> {
    gateway.ledger.publish().await?;
    gateway.directory.publish().await?;
    let json = json!({ "ledger": gateway.ledger.size(), "directory": gateway.directory.size() });
    let text = format!(
        "published {} ledger entries, {} of the directory log",
        gateway.ledger.size(),
        gateway.directory.size()
    );
    Ok(Reply::new(json, text))
}

/// Writes a folder that `sealgate verify` takes, with the entries as JSON lines beside it.
pub(super) async fn export(gateway: &Gateway, out: &Path) -> Result<Reply, Fault> {
    let payload = json!({ "entries": gateway.ledger.size() });
    gateway.record(Kind::LogExport, None, payload).await?;
    gateway.ledger.publish().await?;
    let entries = gateway.ledger.export(out).await?;
    Ok(Reply::new(
        json!({ "entries": entries }),
        format!("exported {entries} entries"),
    ))
}

async fn find(gateway: &Gateway, index: u64) -> Result<ReadEntry, Fault> {
    let entries = gateway.ledger.entries(index, index.saturating_add(1)).await?;
    entries
        .into_iter()
        .next()
        .ok_or_else(|| Fault::new(ErrorCode::NotFound, "the ledger has no entry of this number"))
}
