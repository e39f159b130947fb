//! `status`

use std::time::Duration;

use clap::Args;

use super::{Context, duration};
use crate::exit::Exit;
use crate::local::client::{LocalAgent, query};
use crate::local::tamper;
use crate::local::wire::{self, IdentityState, OwnDevice, StatusAnswer, StatusQuery};
use crate::print;
use crate::uplink::policy::freshness::Freshness;

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Wait until at least this policy version is in force.
    #[arg(long, value_name = "VERSION", group = "wait")]
    wait_policy: Option<u64>,
    /// Wait until the gateway holds every event of this device.
    #[arg(long, group = "wait")]
    wait_spool: bool,
    /// Wait until an alarm that contains this text is raised.
    #[arg(long, value_name = "TEXT", group = "wait")]
    wait_alarm: Option<String>,
    /// Wait until the certificate is another than the one of this serial number.
    #[arg(long, value_name = "SERIAL", group = "wait")]
    wait_renewed: Option<String>,
    /// Wait until the gateway says this of the device's identity; `good`: until it is followed.
    #[arg(long, value_name = "STATE", group = "wait")]
    wait_identity: Option<IdentityState>,
    /// How long to wait.
    #[arg(long, value_parser = duration::parse, requires = "wait")]
    timeout: Option<Duration>,
}

impl Status {
    pub(crate) async fn execute(self, context: &Context) -> anyhow::Result<Exit> {
        let agent = LocalAgent::of(&context.paths)?;
        let asked = StatusQuery {
            wait_policy: self.wait_policy,
            wait_spool: self.wait_spool,
            wait_alarm: self.wait_alarm,
            wait_renewed: self.wait_renewed,
            wait_identity: self.wait_identity,
            timeout_s: self.timeout.map(|timeout| timeout.as_secs()),
        };
        let status: StatusAnswer = agent.get(&query(wire::STATUS, &asked)?).await?;
        if context.json {
            print::json(&status)?;
        } else {
            print::line(&text(&status));
        }
        Ok(Exit::Done)
    }
}

fn text(status: &StatusAnswer) -> String {
    let link = match (status.identity, status.online) {
        (IdentityState::Revoked, _) => "REVOKED: nothing is sent or received",
        (IdentityState::Invalid, _) => {
            "NOT ACCEPTED: enrol this device again; drafts are inspected at once and kept"
        }
        (IdentityState::Quarantined, _) => "QUARANTINED: drafts are inspected at once and kept",
        (IdentityState::Good, true) => "online",
        (IdentityState::Good, false) => "offline: drafts are inspected at once and kept",
    };
    let policy = match status.policy_version {
        0 => "none: nothing can be sealed".to_owned(),
        version => format!("version {version}{}", freshness(status.policy_freshness)),
    };
    let mut lines = vec![
        format!("device     {}", status.device),
        format!("gateway    {link}"),
        format!("identity   certificate until {}", time(status.certificate.ends_s)),
        format!("policy     {policy}"),
        format!("directory  {} entries followed", status.directory_size),
        format!("audiences  {}", status.audiences),
        format!("waiting    {} events, {} drafts", status.spool, status.pending),
        format!("version    {} (build {})", status.version, status.build),
    ];
    if status.unrecorded > 0 {
        lines.push(format!(
            "counted    {} blocked drafts that could not be recorded",
            status.unrecorded
        ));
    }
    if status.events_aside > 0 {
        lines.push(format!(
            "aside      {} events that do not reach the gateway",
            status.events_aside
        ));
    }
    lines.push(format!("socket     knows {}", status.peers));
    lines.extend(status.tamper.iter().map(|seen| {
        format!(
            "refused    {} times: {}",
            seen.count,
            tamper::sentence(seen.cause)
        )
    }));
    lines.extend(status.own_devices.iter().map(|own| own_device(own, status)));
    lines.extend(status.alarms.iter().map(|alarm| format!("ALARM      {alarm}")));
    lines.extend(status.notices.iter().map(|notice| format!("notice     {notice}")));
    lines.extend(
        status
            .missing
            .iter()
            .map(|missing| format!("missing    {missing}")),
    );
    lines.join("\n")
}

fn freshness(freshness: Freshness) -> &'static str {
    match freshness {
        Freshness::Unknown | Freshness::Fresh => "",
        Freshness::Stale => ", STALE: not confirmed as the latest",
        Freshness::Overdue => ", STALE for longer than it allows",
    }
}

fn own_device(own: &OwnDevice, status: &StatusAnswer) -> String {
    let which = if own.device == status.device {
        ", this one"
    } else {
        ""
    };
    let revoked = if own.revoked { ", revoked" } else { "" };
    let since = time(own.added_at_s);
    format!("yours      {} since {since}{which}{revoked}", own.device)
}

fn time(at_s: u64) -> String {
    jiff::Timestamp::from_second(i64::try_from(at_s).unwrap_or_default())
        .map_or_else(|_| "an unknown time".to_owned(), |at| at.to_string())
}
