//! `enroll`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Context;
use crate::exit::Exit;
use crate::local::client::LocalAgent;
use crate::local::wire::{self, CertificateView};
use crate::print;
use crate::uplink::enroll::{self, Outcome};

#[derive(Debug, Args)]
pub(crate) struct Enroll {
    /// The file that the administrator handed over (mode 0600); it is removed when it is used.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Give this folder's device a fresh certificate, because the gateway does not accept its identity any more.
    #[arg(long)]
    again: bool,
}

impl Enroll {
    pub(crate) async fn execute(self, context: &Context) -> anyhow::Result<Exit> {
        let outcome = if self.again {
            enroll::enroll_again(&context.paths, &self.token_file).await?
        } else {
            enroll::enroll(&context.paths, &self.token_file).await?
        };
        let enrolled = match outcome {
            Outcome::Enrolled(enrolled) => enrolled,
            Outcome::Waiting { fingerprint } => return waiting(context, &fingerprint),
        };
        if self.again && context.paths.socket().exists() {
            let running = LocalAgent::of(&context.paths)?;
            let _: CertificateView = running.post(wire::IDENTITY, &()).await?;
        }
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

fn waiting(context: &Context, fingerprint: &str) -> anyhow::Result<Exit> {
    if context.json {
        print::json(&json!({ "enrolled": false, "waiting": true, "fingerprint": fingerprint }))?;
    } else {
        print::line(&format!(
            "waiting for approval; tell the administrator this fingerprint: {fingerprint}\nthen run this command again"
        ));
    }
    Ok(Exit::Waiting)
}
