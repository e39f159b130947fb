//! The end of an enrollment at the gateway: what was decided here reaches the record first, then the device is revoked.

use anyhow::Context as _;
use gateway_api::error::ErrorCode;

use super::client::CallError;
use super::{events, identity};
use crate::agent::{self, Agent};
use crate::config::enrollment::Enrollment;
use crate::config::paths::Paths;

/// Uploads the events that wait and has the device revoked, as far as the folder's state can still be read.
///
/// # Errors
/// The gateway does not know of it: it cannot be reached or refuses, or the device's certificate cannot be used.
pub(crate) async fn tell(
    paths: &Paths,
    enrollment: &Enrollment,
    agent: Option<&Agent>,
) -> anyhow::Result<()> {
    let apart = match agent {
        Some(_) => None,
        None => Some(agent::gateway(paths, enrollment, &identity::load(paths)?)?),
    };
    let gateway = agent.map(|agent| &agent.gateway).or(apart.as_ref());
    if let Some(agent) = agent
        && let Err(error) = events::upload(agent).await
    {
        tracing::warn!(error = %format!("{error:#}"), "events could not be uploaded");
    }
    let gateway = gateway.context("there is no way to the gateway")?;
    match gateway.unenroll().await {
        Err(error) if !is_revoked(&error) => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Revoked already: by the administrator, or by a try of which the answer was lost.
fn is_revoked(error: &CallError) -> bool {
    error.code() == Some(ErrorCode::DeviceRevoked)
}
