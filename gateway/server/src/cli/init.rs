//! `sealgate init`: a data folder for the gateway and, beside it, the keys that the gateway must not hold (K6).

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use gateway_api::bytes::Bytes;
use policies::terms::TenantId;

use super::output;
use crate::clock::Clock;
use crate::config::keys::{self, Keys};
use crate::config::layout::Layout;
use crate::config::{Config, Expiry, Identity, Listen, Network, Policy, Rates, Relay, Trust, files};

/// Where people's keys go, beside the gateway's folder.
const AUTHORS: &str = "authors";

/// Flags of `init`.
#[derive(Debug, Args)]
pub(super) struct Init {
    /// Folder in which `gateway/` and `authors/` are made
    #[arg(long)]
    dir: PathBuf,
    /// The company's short name
    #[arg(long, default_value = "acme", value_parser = tenant)]
    tenant: TenantId,
    /// Width of an expiry bucket, seconds: stories go at the end of one
    #[arg(long, default_value_t = 3_600)]
    bucket_seconds: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn tenant(text: &str) -> Result<TenantId, String> {
    TenantId::parse(text).map_err(|error| error.to_string())
}

pub(super) fn run(init: &Init) -> anyhow::Result<ExitCode> {
    let layout = make(&init.dir, &init.tenant, init.bucket_seconds)?;
    let authors = init.dir.join(AUTHORS);
    if init.json {
        output::json(&serde_json::json!({ "gateway": layout.root(), "authors": authors }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let (gateway, authors) = (layout.root().display(), authors.display());
    output::text(&format!(
        "made {gateway}\nmade {authors}: move these keys to their holders; the gateway must not keep them\n\
         next: sealgate serve --dir {gateway}"
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Makes `gateway/` and `authors/` in `dir`; neither may exist.
pub(crate) fn make(dir: &Path, tenant: &TenantId, bucket_s: u64) -> anyhow::Result<Layout> {
    let layout = Layout::new(dir.join("gateway"));
    let authors = dir.join(AUTHORS);
    for folder in [layout.root(), &authors] {
        if folder.exists() {
            bail!(
                "`{}` exists; nothing was changed. Choose another --dir",
                folder.display()
            );
        }
    }
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make `{}`", dir.display()))?;
    files::make_folder(layout.root())?;
    files::make_folder(&authors)?;
    Keys::create(&layout, tenant, Clock::default().now_s())?;
    let config = Config {
        tenant: tenant.clone(),
        listen: Listen::default(),
        identity: Identity::default(),
        expiry: Expiry { bucket_s },
        policy: Policy::default(),
        relay: Relay::default(),
        network: Network::default(),
        rates: Rates::default(),
        telemetry: telemetry::Settings::default(),
        trust: make_authors(&authors)?,
    };
    config.check()?;
    files::write_new(&layout.config(), toml::to_string(&config)?.as_bytes())?;
    Ok(layout)
}

/// Keys of people: author, approver, compliance officer. Only their public halves go into the configuration.
fn make_authors(folder: &Path) -> anyhow::Result<Trust> {
    let role = |name: &str| -> anyhow::Result<Bytes> {
        let key = keys::generate_signing_key()?;
        keys::write_signing_key(&folder.join(name), &key)?;
        Ok(Bytes(key.verifying_key().to_bytes().to_vec()))
    };
    let (author, approver) = (role("author.key")?, role("approver.key")?);
    let (private, public) = keys::generate_compliance_key()?;
    keys::write_compliance_key(&folder.join("compliance.key"), &private)?;
    Ok(Trust {
        author_keys: vec![author],
        approver_keys: vec![approver],
        compliance_key: Bytes(public.to_vec()),
    })
}
