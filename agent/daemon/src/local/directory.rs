//! `directory`: the directory log as this device followed it.

use actix_web::web::{Data, Json};
use anyhow::Context as _;
use gateway_api::bytes::Bytes;

use super::server::Failure;
use super::wire::DirectoryAnswer;
use crate::agent::Agent;
use crate::uplink::directory;
use crate::vault::directory_entry;

/// Every entry with the checkpoint that signs them. Nothing is followed meanwhile, so that they belong together.
pub(crate) async fn directory(agent: Data<Agent>) -> Result<Json<DirectoryAnswer>, Failure> {
    let _not_following = agent.directory.read().await;
    let checkpoint = directory::followed_checkpoint(&agent).await?;
    let mut connection = agent.vault.connection().await?;
    let entries = directory_entry::all(&mut connection).await?;
    Ok(Json(DirectoryAnswer {
        checkpoint: checkpoint.context("no directory log was followed yet")?,
        entries: entries.into_iter().map(Bytes).collect(),
    }))
}
