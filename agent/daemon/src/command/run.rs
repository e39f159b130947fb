//! `run`

use super::Context;
use crate::daemon;
use crate::exit::Exit;
use crate::print;

pub(crate) async fn execute(context: &Context) -> anyhow::Result<Exit> {
    daemon::run(context.paths.clone(), |ready| {
        if print::json(&ready).is_err() {
            tracing::error!("the agent could not say that it is ready");
        }
    })
    .await?;
    Ok(Exit::Done)
}
