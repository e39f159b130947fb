//! `log export`: what was found, with everything that is needed to check it elsewhere.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use super::super::Reply;
use super::search::sentence;
use super::with_person;
use crate::domain::fault::Fault;
use crate::domain::gateway::Gateway;
use crate::domain::record::Kind;
use crate::domain::search::{self, Filter, Scan};
use crate::evidence::export::{self, Export};
use crate::limits;
use crate::store::bundles::StoredBundle;

/// The export is recorded before anything is read (L4, L9); its own entry is in the ledger that it covers.
pub(crate) async fn export(
    gateway: &Gateway,
    filter: Filter,
    person: Option<&str>,
    out: PathBuf,
) -> Result<Reply, Fault> {
    let filter = with_person(gateway, filter, person).await?;
    if out.exists() {
        return Err(Fault::bad_request(format!(
            "`{}` exists; choose a folder that does not",
            out.display()
        )));
    }
    let payload = json!({ "export": filter });
    gateway.record(Kind::LogExport, filter.person, payload).await?;
    let edge = gateway.ledger.edge();
    let bounds = (limits::EXPORT_ENTRIES_MAX.saturating_add(1), u64::MAX);
    let scan = search::scan(&gateway.ledger, &filter, 0, edge.size(), bounds).await?;
    if scan.found.len() > limits::EXPORT_ENTRIES_MAX {
        return Err(Fault::bad_request(format!(
            "more than {} entries match: export them in parts, with --since and --until",
            limits::EXPORT_ENTRIES_MAX
        )));
    }
    let policies = policies(gateway, &scan).await?;
    let export = Export {
        tenant: gateway.config.tenant.clone(),
        made_at_s: gateway.clock.now_s(),
        filter,
        edge,
        scan,
        policies,
    };
    let ledger = Arc::clone(&gateway.ledger);
    let manifest = tokio::task::spawn_blocking(move || export::write(&ledger, &export, &out))
        .await
        .map_err(anyhow::Error::from)?
        .map_err(|error| Fault::bad_request(format!("the export was not made: {error:#}")))?;
    let coverage = &manifest.coverage;
    let json = json!({
        "entries": manifest.entries.len(), "complete": coverage.is_complete(), "coverage": coverage,
        "root": manifest.root, "key": gateway.ledger.vkey(),
    });
    let text = format!(
        "exported {} entries; {}\ncheck it with: sealgate verify --export DIR --key {}",
        manifest.entries.len(),
        sentence(coverage, None),
        gateway.ledger.vkey()
    );
    Ok(Reply::new(json, text))
}

/// The policies that the entries name, and the one in force. What a device says of its policy may be no version of ours.
async fn policies(gateway: &Gateway, scan: &Scan) -> Result<Vec<StoredBundle>, Fault> {
    let mut versions: BTreeSet<u64> = scan.found.iter().map(|entry| entry.policy_version).collect();
    versions.insert(gateway.policy.load().version());
    let mut policies = Vec::new();
    for version in versions {
        policies.extend(gateway.store.bundle(version).await?);
    }
    Ok(policies)
}
