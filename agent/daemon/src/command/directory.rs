//! `directory`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Context;
use crate::exit::Exit;
use crate::local::client::LocalAgent;
use crate::local::wire::{self, DirectoryAnswer};
use crate::print;
use crate::vault::files;

/// Writes the directory log as this device followed it: for an administrator whose gateway was restored from an older
/// backup. Devices, times and policy versions are in it; no names, and nothing that was shared.
#[derive(Debug, Args)]
pub(crate) struct Directory {
    /// A file that does not exist.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Directory {
    pub(crate) async fn execute(self, context: &Context) -> anyhow::Result<Exit> {
        let out = std::path::absolute(self.out)?;
        anyhow::ensure!(!out.exists(), "`{}` exists; choose another file", out.display());
        let answer: DirectoryAnswer = LocalAgent::of(&context.paths)?.get(wire::DIRECTORY).await?;
        files::write_new(&out, &serde_json::to_vec(&answer)?)?;
        let count = answer.entries.len();
        if context.json {
            print::json(&json!({ "entries": count, "out": out }))?;
        } else {
            print::line(&format!(
                "wrote {count} entries to {}\nhand it to the administrator",
                out.display()
            ));
        }
        Ok(Exit::Done)
    }
}
