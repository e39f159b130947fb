//! The command line's side: through the socket of the running gateway, or with the folder's lock.

use std::os::unix::net::UnixStream;

use anyhow::{Context as _, bail};
use gateway_api::error::Problem;

use super::{Command, Reply, socket};
use crate::config::layout::Layout;
use crate::domain::gateway::Gateway;

/// Carries a command out, wherever the one writer is.
pub(crate) async fn ask(layout: &Layout, command: Command) -> anyhow::Result<Reply> {
    if UnixStream::connect(layout.socket()).is_ok() {
        return through_socket(layout, &command).await;
    }
    let (gateway, writer) = Gateway::open(layout.clone()).await?;
    let reply = super::run(&gateway, command).await;
    gateway.close(writer).await?;
    reply.map_err(|fault| anyhow::anyhow!("{}\n  help: {}", fault.detail, fault.code.help()))
}

async fn through_socket(layout: &Layout, command: &Command) -> anyhow::Result<Reply> {
    let client = reqwest::Client::builder()
        .unix_socket(layout.socket())
        .build()
        .context("cannot reach the gateway")?;
    let response = client
        .post(format!("http://localhost{}", socket::PATH))
        .json(command)
        .send()
        .await
        .context("the running gateway does not answer on its admin socket")?;
    if response.status().is_success() {
        return response
            .json()
            .await
            .context("the gateway's answer cannot be read");
    }
    let problem: Problem = response
        .json()
        .await
        .context("the gateway's answer cannot be read")?;
    bail!("{}\n  help: {}", problem.detail, problem.help)
}
