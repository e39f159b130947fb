//! `sealgate backup` and `sealgate restore`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{Common, ask, output, relay};
use crate::admin::{Command, Reply};
use crate::backup::restore::{self, Source};
use crate::config::layout::Layout;

/// Flags of `backup`.
#[derive(Debug, Args)]
pub(super) struct Backup {
    /// A folder that does not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The file of the key under which private keys are sealed; made if there is none. Keep it apart from the backup
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Back up the keys of the ledger's payloads into this file; keep it apart from the ledger
    #[arg(long, value_name = "FILE")]
    subject_keys: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Flags of `restore`.
#[derive(Debug, Args)]
pub(super) struct Restore {
    /// Make the data folder --dir from this backup
    #[arg(long, value_name = "BACKUP", requires = "key", required_unless_present_any = ["directory", "confirm"])]
    from: Option<PathBuf>,
    /// The backup's key
    #[arg(long, value_name = "FILE", requires = "from")]
    key: Option<PathBuf>,
    /// The keys of the ledger's payloads, from where they are kept
    #[arg(long, value_name = "FILE", requires = "from")]
    subject_keys: Option<PathBuf>,
    /// Bring back entries of the directory log that an agent wrote with `sealgate-agent directory --out FILE`
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    directory: Option<PathBuf>,
    /// Say that nobody knows later logs than the restored ones
    #[arg(long, conflicts_with_all = ["from", "directory"])]
    confirm: bool,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn backup(backup: Backup) -> anyhow::Result<ExitCode> {
    let command = Command::Backup {
        out: std::path::absolute(backup.out)?,
        key: std::path::absolute(backup.key)?,
        subject_keys: backup.subject_keys.map(std::path::absolute).transpose()?,
    };
    relay((backup.common, command)).await
}

pub(super) async fn restore(restore: Restore) -> anyhow::Result<ExitCode> {
    let common = restore.common;
    if let (Some(backup), Some(key)) = (restore.from, restore.key) {
        let source = Source {
            backup,
            key,
            subject_keys: restore.subject_keys,
        };
        return from_backup(&source, &common);
    }
    let command = match restore.directory {
        Some(file) => Command::DirectoryRecover {
            file: std::path::absolute(file)?,
        },
        None => Command::RestoreConfirm,
    };
    let reply = ask(&common, command).await?;
    output::reply(&common, &reply)?;
    Ok(ExitCode::SUCCESS)
}

fn from_backup(source: &Source, common: &Common) -> anyhow::Result<ExitCode> {
    let manifest = restore::restore(source, &Layout::new(&common.dir))?;
    let dir = common.dir.display();
    let text = format!(
        "restored {} ledger entries and {} of the directory log into {dir}\n\
         the gateway is held: it accepts nothing and writes to no log until that is confirmed\n\
         next: sealgate serve --dir {dir}, let agents connect, look at the status page, then sealgate restore --confirm --dir {dir}",
        manifest.ledger_size, manifest.directory_size
    );
    let json = json!({
        "made_at_s": manifest.made_at_s, "ledger_size": manifest.ledger_size,
        "directory_size": manifest.directory_size,
    });
    output::reply(common, &Reply { json, text })?;
    Ok(ExitCode::SUCCESS)
}
