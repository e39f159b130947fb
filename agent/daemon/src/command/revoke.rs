//! `revoke`

use clap::Args;
use policies::terms::Cti;

use super::Context;
use crate::exit::Exit;
use crate::local::client::LocalAgent;
use crate::local::wire::{self, RevokeAnswer, RevokeRequest};
use crate::print;

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// The story, by its id.
    story: Cti,
}

impl Revoke {
    pub(crate) async fn execute(self, context: &Context) -> anyhow::Result<Exit> {
        let agent = LocalAgent::of(&context.paths)?;
        let answer: RevokeAnswer = agent
            .post(wire::REVOKE, &RevokeRequest { story: self.story })
            .await?;
        if context.json {
            print::json(&answer)?;
        } else {
            print::line(&format!(
                "revoked: the gateway destroyed its key and ciphertext, and agents forget it\nnobody can take back what a person has already read: {}",
                answer.story
            ));
        }
        Ok(Exit::Done)
    }
}
