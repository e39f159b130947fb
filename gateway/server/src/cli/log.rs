//! `sealgate log`: the auditor's commands.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use gateway_api::bytes::Bytes;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, Kem, OpModeR, single_shot_open};
use serde_json::{Value, json};

use super::{Common, ask, output, relay};
use crate::admin::{Command, Reply};
use crate::config::keys::read_compliance_key;

/// `info` of the HPKE context in which agents seal for compliance.
const SEALED_INFO: &[u8] = b"sealgate/sealed/1";
/// Encapsulated X25519 key, bytes.
const ENCAPSULATED_BYTES: usize = 32;

#[derive(Debug, Subcommand)]
pub(super) enum LogCommand {
    /// Find entries
    Search {
        /// Only this kind: relay, refusal, event, enroll, ...
        #[arg(long)]
        kind: Option<String>,
        /// Unix seconds, inclusive
        #[arg(long)]
        since: Option<u64>,
        /// Unix seconds, exclusive
        #[arg(long)]
        until: Option<u64>,
        #[arg(long, default_value_t = 1_000)]
        limit: usize,
        #[command(flatten)]
        common: Common,
    },
    /// Show one entry
    Show {
        index: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Write a copy that verifies, with the entries as JSON lines
    Export {
        /// A folder that does not exist
        #[arg(long)]
        out: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// Open what an agent sealed for compliance; this is recorded
    Open {
        index: u64,
        /// The compliance officer's private key
        #[arg(long)]
        key: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// Publish the newest checkpoints of both logs
    Publish {
        #[command(flatten)]
        common: Common,
    },
}

pub(super) async fn run(command: LogCommand) -> anyhow::Result<ExitCode> {
    match command {
        LogCommand::Search {
            kind,
            since,
            until,
            limit,
            common,
        } => {
            relay((
                common,
                Command::LogSearch {
                    kind,
                    since_s: since,
                    until_s: until,
                    limit,
                },
            ))
            .await
        }
        LogCommand::Show { index, common } => relay((common, Command::LogShow { index })).await,
        LogCommand::Export { out, common } => {
            let out = std::path::absolute(out)?;
            relay((common, Command::LogExport { out })).await
        }
        LogCommand::Publish { common } => relay((common, Command::LogPublish)).await,
        LogCommand::Open { index, key, common } => open(index, &key, &common).await,
    }
}

async fn open(index: u64, key: &Path, common: &Common) -> anyhow::Result<ExitCode> {
    let private = read_compliance_key(key)?;
    let reply = ask(common, Command::LogOpen { index }).await?;
    let text = |name: &str| reply.json.get(name).and_then(Value::as_str).unwrap_or_default();
    let sealed = Bytes::from_text(text("sealed"))?.0;
    let id = hex::decode(text("id")).context("the entry has no id")?;
    let opened = unseal(&private, &id, &sealed)?;
    let json = json!({ "index": index, "opened": opened });
    let text = serde_json::to_string_pretty(&json)?;
    output::reply(common, &Reply { json, text })?;
    Ok(ExitCode::SUCCESS)
}

/// Opens `enc || ciphertext`, and reads the padded CBOR in it.
fn unseal(private: &[u8], id: &[u8], sealed: &[u8]) -> anyhow::Result<Value> {
    let refused = || anyhow!("this key does not open the entry");
    let private = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(private).map_err(|_| refused())?;
    let (encapsulated, ciphertext) = sealed.split_at_checked(ENCAPSULATED_BYTES).ok_or_else(refused)?;
    let encapsulated =
        <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(encapsulated).map_err(|_| refused())?;
    let padded = single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &private,
        &encapsulated,
        SEALED_INFO,
        ciphertext,
        id,
    )
    .map_err(|_| refused())?;
    let (length, rest) = padded.split_first_chunk::<2>().ok_or_else(refused)?;
    let cbor = rest
        .get(..usize::from(u16::from_be_bytes(*length)))
        .ok_or_else(refused)?;
    let value: ciborium::Value = ciborium::from_reader(cbor).context("what was sealed cannot be read")?;
    Ok(report(&value))
}

/// `{1: findings, 2: justification, 3: rules, 4: findings left out, 5: matched text}` in words.
fn report(value: &ciborium::Value) -> Value {
    let field = |key: i64| {
        let entries = value.as_map().into_iter().flatten();
        entries
            .clone()
            .find(|(k, _)| k.as_integer() == Some(key.into()))
            .map(|(_, v)| v)
    };
    let findings = field(1).and_then(ciborium::Value::as_array).into_iter().flatten().map(|finding| {
        let part = |index: usize| finding.as_array().and_then(|parts| parts.get(index)).map(plain).unwrap_or_default();
        json!({
            "detector": part(0), "family": part(1), "confidence": part(2), "count": part(3), "distinct": part(4),
            "item": part(5),
        })
    });
    json!({
        "findings": findings.collect::<Vec<_>>(),
        "justification": field(2).map(plain),
        "rules": field(3).map(plain),
        "findings_left_out": field(4).map(plain),
        "matched_text": field(5).map(plain),
    })
}

fn plain(value: &ciborium::Value) -> Value {
    if let Some(text) = value.as_text() {
        return Value::from(text);
    }
    if let Some(number) = value.as_integer() {
        return i64::try_from(number).map_or(Value::Null, Value::from);
    }
    value
        .as_array()
        .map_or(Value::Null, |items| items.iter().map(plain).collect())
}
