//! `enroll`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Context;
use crate::exit::Exit;
use crate::print;
use crate::uplink::enroll;

#[derive(Debug, Args)]
pub(crate) struct Enroll {
    /// The file that the administrator handed over (mode 0600); it is removed when it is used.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
}

impl Enroll {
    pub(crate) async fn execute(self, context: &Context) -> anyhow::Result<Exit> {
        let enrolled = enroll::enroll(&context.paths, &self.token_file).await?;
        if context.json {
            print::json(&json!({
                "enrolled": true,
                "device": enrolled.device,
                "person": enrolled.person,
                "class": enrolled.class,
                "tenant": enrolled.tenant,
                "log_index": enrolled.log_index,
            }))?;
        } else {
            print::line(&format!(
                "enrolled as device {} of `{}`\nnext: sealgate-agent --dir {} run",
                enrolled.device,
                enrolled.tenant,
                context.paths.root().display()
            ));
        }
        Ok(Exit::Done)
    }
}
