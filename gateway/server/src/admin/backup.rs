//! Backup, and what follows a restore.

use std::path::Path;

use serde_json::json;

use super::Reply;
use crate::backup::make::{self, Places};
use crate::config::files;
use crate::domain::fault::Fault;
use crate::domain::gateway::Gateway;
use crate::domain::record::Kind;
use crate::domain::restored;

/// Recorded before anything leaves (L4).
pub(super) async fn make(gateway: &Gateway, places: Places) -> Result<Reply, Fault> {
    places
        .check()
        .map_err(|error| Fault::bad_request(format!("{error:#}")))?;
    let with_subject_keys = places.subject_keys.is_some();
    gateway
        .record(Kind::Backup, None, json!({ "subject_keys": with_subject_keys }))
        .await?;
    let manifest = make::make(gateway, places)
        .await
        .map_err(|error| Fault::bad_request(format!("the backup was not made: {error:#}")))?;
    let apart = if with_subject_keys {
        "the subjects' keys are in their own file: keep it apart from the ledger"
    } else {
        "without --subject-keys: the payloads of a restored ledger cannot be read"
    };
    let text = format!(
        "backed up {} ledger entries and {} of the directory log\nkeep the key apart from the backup\n{apart}",
        manifest.ledger_size, manifest.directory_size
    );
    let json = json!({
        "made_at_s": manifest.made_at_s, "ledger_size": manifest.ledger_size,
        "directory_size": manifest.directory_size, "subject_keys": with_subject_keys,
    });
    Ok(Reply::new(json, text))
}

pub(super) async fn confirm(gateway: &Gateway) -> Result<Reply, Fault> {
    restored::confirm(gateway).await?;
    let json = json!({ "ledger_size": gateway.ledger.size(), "directory_size": gateway.directory.size() });
    Ok(Reply::new(
        json,
        "confirmed and recorded; stories are accepted. People, groups and tokens are those of the backup: do again what was \
         changed since",
    ))
}

pub(super) async fn recover(gateway: &Gateway, file: &Path) -> Result<Reply, Fault> {
    let followed = serde_json::from_slice(&files::read(file)?)
        .map_err(|_| Fault::bad_request("this file is none that `sealgate-agent directory` wrote"))?;
    let added = restored::recover(gateway, followed).await?;
    let size = gateway.directory.size();
    Ok(Reply::new(
        json!({ "added": added, "directory_size": size }),
        format!(
            "{added} entries came back; the directory log has {size}\nnext: sealgate restore --confirm --dir DIR"
        ),
    ))
}
