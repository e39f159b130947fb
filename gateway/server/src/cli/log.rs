//! `sealgate log`: the auditor's commands.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand, ValueEnum};
use gateway_api::bytes::Bytes;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, Kem, OpModeR, single_shot_open};
use policies::terms::{AudienceId, DeviceId};
use serde_json::{Value, json};

use super::{Common, ask, output, relay};
use crate::admin::{Command, LogName, Reply};
use crate::config::keys::read_compliance_key;
use crate::domain::search::Filter;
use crate::evidence::pin::Pin;

/// `info` of the HPKE context in which agents seal for compliance.
const SEALED_INFO: &[u8] = b"sealgate/sealed/1";
/// Encapsulated X25519 key, bytes.
const ENCAPSULATED_BYTES: usize = 32;

/// Which entries: each flag narrows.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// From this time on: Unix seconds, or 2026-11-27T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time_s)]
    since: Option<u64>,
    /// Before this time
    #[arg(long, value_name = "TIME", value_parser = time_s)]
    until: Option<u64>,
    /// Of this kind: relay, refusal, event, enroll, ...
    #[arg(long)]
    kind: Option<String>,
    /// About this person: a name of the directory, or a pseudonym
    #[arg(long, value_name = "NAME|ID")]
    person: Option<String>,
    /// Of this device
    #[arg(long, value_name = "ID")]
    device: Option<DeviceId>,
    /// Of this audience
    #[arg(long, value_name = "ID")]
    audience: Option<AudienceId>,
    /// In which this rule fired, or this sharing rule decided
    #[arg(long)]
    rule: Option<String>,
    /// With this label
    #[arg(long)]
    label: Option<String>,
    /// So decided: allow, audit, warn_accepted, justified, redacted, block, ...
    #[arg(long)]
    verdict: Option<String>,
    /// Of this app
    #[arg(long)]
    app: Option<String>,
    /// Under this version of the policy
    #[arg(long, value_name = "VERSION")]
    policy_version: Option<u64>,
}

impl Which {
    /// What the entries say of themselves, and the person that they are about.
    fn split(self) -> (Filter, Option<String>) {
        let filter = Filter {
            since_s: self.since,
            until_s: self.until,
            kind: self.kind,
            policy_version: self.policy_version,
            person: None,
            device: self.device,
            audience: self.audience,
            rule: self.rule,
            label: self.label,
            verdict: self.verdict,
            app: self.app,
        };
        (filter, self.person)
    }
}

/// Unix seconds, or a time of RFC 3339.
fn time_s(text: &str) -> Result<u64, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let time: Result<jiff::Timestamp, _> = text.parse();
    time.ok()
        .and_then(|time| u64::try_from(time.as_second()).ok())
        .ok_or_else(|| format!("`{text}` is not a time like 2026-11-27T08:00:00Z, nor Unix seconds"))
}

/// One of the two logs.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Log {
    Ledger,
    Directory,
}

impl From<Log> for LogName {
    fn from(log: Log) -> Self {
        match log {
            Log::Ledger => Self::Ledger,
            Log::Directory => Self::Directory,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum LogCommand {
    /// Find entries, and say whether these are all; this is recorded
    Search {
        #[command(flatten)]
        which: Box<Which>,
        /// Entries of one page
        #[arg(long, default_value_t = 1_000)]
        limit: usize,
        /// Go on where an earlier page ended, with the same flags
        #[arg(long, value_name = "NEXT")]
        page: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Show one entry
    Show {
        index: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Write entries with proofs, policies and a signed manifest, for `sealgate verify --export`; this is recorded
    Export {
        #[command(flatten)]
        which: Box<Which>,
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
    /// Write the newest checkpoint to a file, to be kept where the gateway's operator has no say; for `sealgate verify --pin`
    Pin {
        /// Which log
        #[arg(long, value_enum, default_value_t = Log::Ledger)]
        log: Log,
        /// A file that does not exist
        #[arg(long)]
        out: PathBuf,
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
            which,
            limit,
            page,
            common,
        } => {
            let (filter, person) = which.split();
            let search = Command::LogSearch {
                filter,
                person,
                page,
                limit,
            };
            relay((common, search)).await
        }
        LogCommand::Show { index, common } => relay((common, Command::LogShow { index })).await,
        LogCommand::Export { which, out, common } => {
            let (filter, person) = which.split();
            let out = std::path::absolute(out)?;
            relay((common, Command::LogExport { filter, person, out })).await
        }
        LogCommand::Pin { log, out, common } => pin(log, &out, &common).await,
        LogCommand::Publish { common } => relay((common, Command::LogPublish)).await,
        LogCommand::Open { index, key, common } => open(index, &key, &common).await,
    }
}

async fn pin(log: Log, out: &Path, common: &Common) -> anyhow::Result<ExitCode> {
    let reply = ask(common, Command::LogPin { log: log.into() }).await?;
    let text = |name: &str| {
        reply
            .json
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let pin = Pin {
        key: text("key"),
        checkpoint: text("checkpoint"),
    };
    pin.write(out)?;
    let text = format!(
        "pinned {}\nwrote {}: keep it where the gateway's operator has no say",
        reply.text,
        out.display()
    );
    output::reply(
        common,
        &Reply {
            json: reply.json,
            text,
        },
    )?;
    Ok(ExitCode::SUCCESS)
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
