//! The auditor's work on the ledger. Every read is itself recorded, before it is answered (L4, L9).

pub(super) mod export;
pub(super) mod search;

use gateway_api::error::ErrorCode;
use policies::terms::PersonId;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Reply;
use crate::domain::fault::Fault;
use crate::domain::gateway::Gateway;
use crate::domain::record::Kind;
use crate::domain::search::Filter;
use crate::store::logs::ReadEntry;

/// One of the two logs (K4).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogName {
    Ledger,
    Directory,
}

/// The filter with a person's name, or pseudonym, in it. Names live in the directory alone (K28), people who have left
/// included.
async fn with_person(gateway: &Gateway, filter: Filter, person: Option<&str>) -> Result<Filter, Fault> {
    if let Some(kind) = &filter.kind
        && !Kind::ALL.iter().any(|known| known.as_str() == kind)
    {
        let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        return Err(Fault::bad_request(format!(
            "there is no kind `{kind}`; kinds are {}",
            known.join(", ")
        )));
    }
    let Some(person) = person else {
        return Ok(filter);
    };
    let id = match person.parse::<PersonId>() {
        Ok(id) => id,
        Err(_) => {
            let known = gateway.store.person_by_name(person).await?;
            let unknown = || {
                Fault::new(
                    ErrorCode::NotFound,
                    "nobody of this name is, or was, in the directory",
                )
            };
            known.ok_or_else(unknown)?.id
        }
    };
    Ok(Filter {
        person: Some(id),
        ..filter
    })
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

/// The newest checkpoint of a log, with its key, for an auditor to keep elsewhere.
pub(super) async fn pin(gateway: &Gateway, log: LogName) -> Result<Reply, Fault> {
    gateway.record(Kind::LogRead, None, json!({ "pin": log })).await?;
    let (key, signed) = match log {
        LogName::Ledger => (gateway.ledger.vkey(), gateway.ledger.checkpoint().await?),
        LogName::Directory => (gateway.directory.vkey(), gateway.directory.checkpoint().await?),
    };
    let checkpoint = signed.checkpoint();
    let json = json!({
        "log": log, "size": checkpoint.size, "root": checkpoint.root.to_string(),
        "key": key, "checkpoint": signed.as_str(),
    });
    let text = format!("{} entries, root {}", checkpoint.size, checkpoint.root);
    Ok(Reply::new(json, text))
}

async fn find(gateway: &Gateway, index: u64) -> Result<ReadEntry, Fault> {
    let entries = gateway.ledger.entries(index, index.saturating_add(1)).await?;
    entries
        .into_iter()
        .next()
        .ok_or_else(|| Fault::new(ErrorCode::NotFound, "the ledger has no entry of this number"))
}
