//! What an auditor takes away from the ledger and can check elsewhere, without the gateway.
//!
//! ```text
//! <export>/README.txt                 how to check it, with our tool and with strangers'
//!          manifest.json              what was looked for, what was looked at, each file with its SHA-256
//!          manifest.note              SHA-256 of the manifest, signed by the ledger's key
//!          checkpoint, key            the ledger's signed size and root; its verifier key
//!          entries.jsonl              the entries as the gateway reads them, one line each
//!          entries/<index>            their exact bytes, as they were logged
//!          proofs/<index>.tlog-proof  that they are in the log of the checkpoint (C2SP tlog-proof)
//!          policies/<version>.bundle  the signed policies that were in force
//! ```
//! A **pin** is a checkpoint with its key in a file that the auditor keeps where the gateway's operator has no say.

pub(crate) mod export;
#[cfg(test)]
#[path = "../../../tests/fuzz/auditor.rs"]
mod fuzz;
pub(crate) mod manifest;
pub(crate) mod pin;
#[cfg(test)]
mod tests;
pub(crate) mod verify;

/// What the signature of a manifest states.
const STATEMENT: &str = "sealgate/export/1";
const MANIFEST: &str = "manifest.json";
const SIGNATURE: &str = "manifest.note";
const CHECKPOINT: &str = "checkpoint";
const KEY: &str = "key";
const README: &str = "README.txt";
const LINES: &str = "entries.jsonl";

fn entry_path(index: u64) -> String {
    format!("entries/{index}")
}

fn proof_path(index: u64) -> String {
    format!("proofs/{index}.tlog-proof")
}

fn policy_path(version: u64) -> String {
    format!("policies/{version}.bundle")
}
