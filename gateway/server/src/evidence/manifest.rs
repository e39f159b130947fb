//! What an export says of itself.

use std::collections::{BTreeMap, BTreeSet};

use policies::terms::{Digest, TenantId};
use serde::{Deserialize, Serialize};

use super::{CHECKPOINT, KEY, LINES, README, entry_path, policy_path, proof_path};
use crate::domain::search::{Coverage, Filter};

/// The manifest of an export.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) tenant: TenantId,
    /// Unix seconds, by the gateway's clock.
    pub(crate) made_at_s: u64,
    /// What was looked for.
    pub(crate) filter: Filter,
    /// What was looked at.
    pub(crate) coverage: Coverage,
    /// Root of the ledger's tree, base64.
    pub(crate) root: String,
    /// The entries that were found, in order.
    pub(crate) entries: Vec<u64>,
    /// The policies that these entries name, and the one in force when the export was made.
    pub(crate) policies: BTreeMap<u64, Digest>,
    /// Each file but the manifest and its signature.
    pub(crate) files: BTreeMap<String, FileDigest>,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileDigest {
    pub(crate) size_bytes: u64,
    pub(crate) sha256: Digest,
}

impl FileDigest {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self {
            size_bytes: bytes.len() as u64,
            sha256: Digest::of(bytes),
        }
    }
}

impl Manifest {
    /// The files that an export of these entries and policies has, no more and no fewer.
    pub(crate) fn expected_files(&self) -> BTreeSet<String> {
        let fixed = [CHECKPOINT, KEY, LINES, README].map(str::to_owned);
        let of_entries = self
            .entries
            .iter()
            .flat_map(|index| [entry_path(*index), proof_path(*index)]);
        let of_policies = self.policies.keys().map(|version| policy_path(*version));
        fixed.into_iter().chain(of_entries).chain(of_policies).collect()
    }
}
