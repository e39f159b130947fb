//! Publication of a bundle: verified against the pinned roots, newer than any before, in the directory log before it is
//! in force (K6, R2, B3).

use gateway_api::error::ErrorCode;
use policies::bundle::UnverifiedBundle;
use policies::directory::{Directory, DirectoryEntry};
use serde_json::json;

use super::Reply;
use crate::domain::fault::Fault;
use crate::domain::gateway::Gateway;
use crate::domain::policy;
use crate::domain::record::Kind;
use crate::limits;
use crate::store::bundles::StoredBundle;

pub(super) async fn publish(gateway: &Gateway, bytes: Vec<u8>) -> Result<Reply, Fault> {
    let refused = |detail: String| Fault::new(ErrorCode::BundleRefused, detail);
    if bytes.len() > limits::BUNDLE_BYTES_MAX {
        return Err(refused(format!(
            "the bundle is larger than {} bytes",
            limits::BUNDLE_BYTES_MAX
        )));
    }
    gateway.check_open()?;
    let _publishing = gateway.publishing.lock().await;
    let now_s = gateway.clock.now_s();
    let trust = policy::trust(&gateway.config)?;
    let groups = policy::groups_by_person(&gateway.store).await?;
    let floor = gateway
        .store
        .newest_bundles()
        .await?
        .first()
        .map_or(0, |bundle| bundle.version);
    let unverified = UnverifiedBundle::parse(&bytes).map_err(|error| refused(error.to_string()))?;
    let (version, digest) = (unverified.version(), unverified.digest());
    if version <= floor {
        return Err(refused(format!(
            "version {version} is not newer than version {floor}, which was published before"
        )));
    }
    // Verified and compiled at the index that its entry will have; logged only then.
    // A crash may have left it logged and not in force: then its entry stands already.
    let logged = gateway.directory.read(|directory| directory.bundle(&digest));
    let log_index = logged.map_or_else(|| gateway.directory.size(), |(index, _)| index);
    let highest = gateway.directory.read(Directory::highest_version);
    if version < highest {
        return Err(refused(format!(
            "version {version} is older than version {highest} of the directory log; publish that one again"
        )));
    }
    let prospective = StoredBundle {
        version,
        digest,
        log_index,
        activated_s: now_s,
        bytes,
    };
    policy::activate(prospective.clone(), &trust, &groups, now_s)
        .await
        .map_err(|error| refused(format!("{error:#}")))?;
    let log_index = match logged {
        Some((index, _)) => index,
        None => {
            let entry = DirectoryEntry::PolicyBundle {
                version,
                digest,
                at_s: now_s,
            };
            gateway
                .directory
                .append(entry)
                .await
                .map_err(|error| gateway.storage_fault(&error))?
        }
    };
    gateway
        .record(
            Kind::Bundle,
            None,
            json!({ "version": version, "digest": digest, "log_index": log_index }),
        )
        .await?;
    gateway
        .store
        .add_bundle(&StoredBundle {
            log_index,
            ..prospective
        })
        .await?;
    gateway.reload_policy().await?;
    gateway.wake.everyone();
    let json = json!({ "version": version, "digest": digest, "log_index": log_index });
    Ok(Reply::new(
        json,
        format!("version {version} is in force, entry {log_index} of the directory log"),
    ))
}
