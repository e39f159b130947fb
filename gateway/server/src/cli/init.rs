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
use crate::config::{Config, Expiry, Identity, Listen, Trust, files};

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
    let layout = Layout::new(init.dir.join("gateway"));
    let authors = init.dir.join("authors");
    for folder in [layout.root(), &authors] {
        if folder.exists() {
            bail!("`{}` exists; nothing was changed. Choose another --dir", folder.display());
        }
    }
    std::fs::create_dir_all(&init.dir).with_context(|| format!("cannot make `{}`", init.dir.display()))?;
    files::make_folder(layout.root())?;
    files::make_folder(&authors)?;
    let now_s = Clock::default().now_s();
    Keys::create(&layout, &init.tenant, now_s)?;
    let config = Config {
        tenant: init.tenant.clone(),
        listen: Listen::default(),
        identity: Identity::default(),
        expiry: Expiry { bucket_s: init.bucket_seconds },
        trust: make_authors(&authors)?,
    };
    files::write_new(&layout.config(), toml::to_string(&config)?.as_bytes())?;
    Config::read(&layout.config())?;
    report(init, &layout, &authors)?;
    Ok(ExitCode::SUCCESS)
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
    Ok(Trust { author_keys: vec![author], approver_keys: vec![approver], compliance_key: Bytes(public.to_vec()) })
}

fn report(init: &Init, layout: &Layout, authors: &Path) -> anyhow::Result<()> {
    if init.json {
        return output::json(&serde_json::json!({ "gateway": layout.root(), "authors": authors }));
    }
    output::text(&format!(
        "made {}\nmade {}: move these keys to their holders; the gateway must not keep them\nnext: sealgate serve --dir {}",
        layout.root().display(),
        authors.display(),
        layout.root().display(),
    ))
}
