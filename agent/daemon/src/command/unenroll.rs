//! `unenroll`

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use nix::fcntl::Flock;
use serde_json::{Value, json};

use super::Context;
use crate::agent::Agent;
use crate::config::enrollment::Enrollment;
use crate::config::paths::Paths;
use crate::exit::Exit;
use crate::local::client::LocalAgent;
use crate::local::wire::{self, UnenrollAnswer};
use crate::outbox::claims::Claims;
use crate::outbox::places::Places;
use crate::uplink::unenroll;
use crate::vault::{event, pending, removal};
use crate::{clock, daemon, print};

/// Longest wait for a running agent's end: it lets requests end, and no longer.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// Has the device revoked and removes what the agent keeps here. Files of the outbox stay. Without the gateway it
/// removes all the same, and says what the administrator still has to do.
#[derive(Debug, Args)]
pub(crate) struct Unenroll {
    /// Do it without being asked.
    #[arg(long)]
    yes: bool,
}

impl Unenroll {
    pub(crate) async fn execute(self, context: &Context) -> anyhow::Result<Exit> {
        let paths = &context.paths;
        let enrollment = Enrollment::load(paths)?;
        if !self.yes && (context.json || !print::is_confirmed(&question(&enrollment))?) {
            print::problem("nothing was changed; add --yes to unenroll this device");
            return Ok(Exit::Usage);
        }
        let _lock = lock(paths).await?;
        let answer = leave(paths, &enrollment).await?;
        removal::remove(paths)?;
        if context.json {
            print::json(&answer)?;
        } else {
            print::line(&text(&answer));
        }
        Ok(Exit::Done)
    }
}

fn question(enrollment: &Enrollment) -> String {
    format!(
        "Device {} of `{}` will be revoked. Its keys, received stories, kept drafts and activity are destroyed; files \
         of the outbox stay. To share again it needs a new token.\nUnenroll this device?",
        enrollment.device, enrollment.tenant
    )
}

/// Holds the folder; an agent that runs on it is asked to end first.
async fn lock(paths: &Paths) -> anyhow::Result<Flock<std::fs::File>> {
    if let Ok(lock) = daemon::lock(paths) {
        return Ok(lock);
    }
    let _: Value = LocalAgent::of(paths)?.post(wire::STOP, &json!({})).await?;
    let ended = daemon::lock_when_free(paths);
    let lock = tokio::time::timeout(STOP_PATIENCE, ended).await;
    lock.with_context(|| {
        format!(
            "the agent that runs on `{}` does not end; end it, then try again",
            paths.root().display()
        )
    })?
}

/// Everything that needs the keys: the gateway, what waits, the names of claimed files.
async fn leave(paths: &Paths, enrollment: &Enrollment) -> anyhow::Result<UnenrollAnswer> {
    let agent = match Agent::open(paths.clone()).await {
        Ok(agent) => Some(agent),
        Err(error) => {
            tracing::warn!(error = %format!("{error:#}"), "the agent's state cannot be read");
            None
        }
    };
    let told = unenroll::tell(paths, enrollment, agent.as_ref()).await;
    let outbox = paths.outbox();
    let mut answer = UnenrollAnswer {
        device: enrollment.device,
        gateway_told: told.is_ok(),
        problem: told.err().map(|error| format!("{error:#}")),
        drafts_lost: 0,
        events_lost: 0,
        outbox: outbox.is_dir().then(|| outbox.clone()),
    };
    let Some(agent) = agent else {
        return Ok(answer);
    };
    let mut connection = agent.vault.connection().await?;
    answer.drafts_lost = pending::count(&mut connection).await?;
    let aside = event::count_aside(&mut connection).await?;
    answer.events_lost = event::count(&mut connection).await?.saturating_add(aside);
    drop(connection);
    let claims = Claims {
        vault: &agent.vault,
        places: &Places::at(&outbox),
        now_s: clock::wall_s(),
    };
    if let Err(error) = claims.release().await {
        tracing::warn!(error = %format!("{error:#}"), "files in `processing/` of the outbox keep the names that they have there");
    }
    agent.vault.close().await;
    Ok(answer)
}

fn text(answer: &UnenrollAnswer) -> String {
    let mut lines = vec![if answer.gateway_told {
        format!(
            "device {} is unenrolled: the gateway has revoked it",
            answer.device
        )
    } else {
        format!(
            "device {} is unenrolled here, but the gateway does not know: {}\n  the administrator must revoke it: \
             sealgate device revoke {} --dir DIR",
            answer.device,
            answer.problem.as_deref().unwrap_or_default(),
            answer.device
        )
    }];
    if answer.drafts_lost > 0 {
        lines.push(format!(
            "{} kept drafts were not sent and are gone",
            answer.drafts_lost
        ));
    }
    if answer.events_lost > 0 {
        lines.push(format!("{} events did not reach the gateway", answer.events_lost));
    }
    if let Some(outbox) = &answer.outbox {
        lines.push(format!("files of the outbox are still in {}", outbox.display()));
    }
    lines.join("\n")
}
