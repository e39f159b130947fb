//! `sealgate keys list` (K7).

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::{Common, output};
use crate::admin::Reply;
use crate::config::Config;
use crate::config::keys::inventory;
use crate::config::layout::Layout;

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// What each key is for, where it lies, who holds it
    List {
        #[command(flatten)]
        common: Common,
    },
}

pub(super) fn run(command: KeysCommand) -> anyhow::Result<ExitCode> {
    let KeysCommand::List { common } = command;
    let layout = Layout::new(&common.dir);
    let config = Config::read(&layout.config())?;
    let keys = inventory(&layout, &config.trust)?;
    let text: Vec<String> = keys
        .iter()
        .map(|key| {
            let public = key.public.as_deref().unwrap_or("-");
            format!(
                "{}\n  for       {}\n  where     {}\n  holder    {}\n  rotation  {}\n  backup    {}\n  public    {public}",
                key.name, key.purpose, key.r#where, key.holder, key.rotation, key.backup
            )
        })
        .collect();
    output::reply(
        &common,
        &Reply {
            json: json!({ "keys": keys }),
            text: text.join("\n"),
        },
    )?;
    Ok(ExitCode::SUCCESS)
}
