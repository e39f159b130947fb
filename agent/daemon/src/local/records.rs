//! `status`, `activity`, `rules`: what the agent is, what it decided and reported, what applies.

use actix_web::web::{Data, Json, Query};

use super::server::Failure;
use super::wire::{
    ActivityAnswer, ActivityEntry, CertificateView, DetectorView, IdentityState, OwnDevice, RuleView,
    RulesAnswer, StatusAnswer, StatusQuery,
};
use super::{peer, wait};
use crate::agent::{Agent, Link};
use crate::compose::{record, report};
use crate::limits;
use crate::uplink::policy::freshness;
use crate::uplink::{identity, origin};
use crate::vault::audience::AudienceState;
use crate::vault::{audience, event, journal, notice, pending};

/// Lines of the journal that `activity` shows.
const ACTIVITY_MAX: i64 = 200;

/// How the agent is.
pub(crate) async fn status(
    agent: Data<Agent>,
    query: Query<StatusQuery>,
) -> Result<Json<StatusAnswer>, Failure> {
    let fits = |status: &StatusAnswer| {
        let policy = query
            .wait_policy
            .is_none_or(|version| status.policy_version >= version);
        let alarm = |part: &String| status.alarms.iter().any(|alarm| alarm.contains(part));
        let renewed = query
            .wait_renewed
            .as_ref()
            .is_none_or(|serial| status.certificate.serial != *serial);
        let identity = query
            .wait_identity
            .is_none_or(|state| status.identity == state && (state != IdentityState::Good || status.online));
        policy
            && renewed
            && identity
            && (!query.wait_spool || status.spool == 0)
            && query.wait_alarm.as_ref().is_none_or(alarm)
    };
    let answer = wait::until(&agent, query.timeout_s, async || {
        let status = current(&agent).await?;
        Ok(fits(&status).then_some(status))
    });
    Ok(Json(answer.await?))
}

/// Takes the identity of an enrollment that was made beside the running agent (E8).
pub(crate) async fn reload_identity(agent: Data<Agent>) -> Result<Json<CertificateView>, Failure> {
    identity::reload(&agent).await?;
    Ok(Json(certificate(&agent)))
}

fn certificate(agent: &Agent) -> CertificateView {
    let identity = agent.identity.load();
    CertificateView {
        serial: identity.serial.clone(),
        ends_s: identity.ends_s,
    }
}

async fn current(agent: &Agent) -> anyhow::Result<StatusAnswer> {
    let mut connection = agent.vault.connection().await?;
    let audiences = audience::all(&mut connection, &agent.vault.cipher).await?;
    let members = audiences
        .iter()
        .filter(|audience| audience.state == AudienceState::Member)
        .count();
    // Before the events: what is settled in between is counted twice rather than not at all.
    let unrecorded = agent.emergency.lock().await.count();
    let link = agent.link();
    let follower = agent.directory.read().await;
    let own = follower
        .directory()
        .devices()
        .filter(|logged| logged.person == agent.enrollment.person);
    let notices = notice::all(&mut connection, &agent.vault.cipher).await?;
    let own_devices = own.map(|logged| OwnDevice {
        device: logged.device,
        added_at_s: logged.added_at_s,
        revoked: logged.revoked,
    });
    Ok(StatusAnswer {
        own_devices: own_devices.collect(),
        device: agent.enrollment.device,
        person: agent.enrollment.person,
        enrolled: true,
        online: link == Link::Online,
        revoked: link == Link::Revoked,
        identity: match link {
            Link::Starting | Link::Online | Link::Offline => IdentityState::Good,
            Link::Quarantined => IdentityState::Quarantined,
            Link::Invalid => IdentityState::Invalid,
            Link::Revoked => IdentityState::Revoked,
        },
        certificate: certificate(agent),
        policy_version: agent.policy.version(),
        policy_freshness: freshness::current(agent),
        directory_size: follower.size(),
        audiences: u64::try_from(members)?,
        spool: u64::try_from(event::count(&mut connection).await?)?.saturating_add(unrecorded.min(1)),
        unrecorded,
        events_aside: u64::try_from(event::count_aside(&mut connection).await?)?,
        pending: u64::try_from(pending::count(&mut connection).await?)?,
        alarms: alarms(agent),
        notices: notices.into_iter().map(|notice| notice.message).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        build: agent.build,
        peers: peer::identification().to_owned(),
        tamper: agent.tamper.view(),
        missing: missing(),
    })
}

/// What must be looked at; a clock that runs behind signed times is told with the rest (B5).
fn alarms(agent: &Agent) -> Vec<String> {
    let mut alarms = agent.alarms();
    let behind_s = agent.clock.behind_s();
    if behind_s > limits::CLOCK_SKEW_S {
        alarms.push(format!(
            "this device's clock is {behind_s} s behind times that the gateway signed; set it"
        ));
    }
    let ahead_s = agent.clock.ahead_s();
    if ahead_s > limits::CLOCK_SKEW_S {
        alarms.push(format!(
            "this device's clock is {ahead_s} s ahead of the gateway's; set it"
        ));
    }
    alarms
}

/// Parts of the design that this build does not have on this platform: said, never skipped.
fn missing() -> Vec<String> {
    let mut missing = vec![
        "guard: files that other apps open are not checked".to_owned(),
        "parser sandbox: files are read inside the agent's own process".to_owned(),
        "page and browser extension: there is no listener but the Unix socket".to_owned(),
        "hardware key: the device key lies in a file (tier `file`)".to_owned(),
    ];
    if origin::machine_id().is_none() {
        let what = "machine id: a copy of this folder on another machine is told by its certificate alone";
        missing.push(what.to_owned());
    }
    missing
}

/// What was decided, and exactly what was reported (K26).
pub(crate) async fn activity(agent: Data<Agent>) -> Result<Json<ActivityAnswer>, Failure> {
    let mut connection = agent.vault.connection().await?;
    let lines = journal::latest(&mut connection, &agent.vault.cipher, ACTIVITY_MAX).await?;
    let mut entries = Vec::with_capacity(lines.len());
    for line in lines {
        let entry: ActivityEntry = serde_json::from_slice(&line.body).map_err(anyhow::Error::from)?;
        entries.push(ActivityEntry {
            id: Some(hex::encode(line.id)),
            ..entry
        });
    }
    entries.extend(record::waiting(&agent, &mut connection).await?);
    Ok(Json(ActivityAnswer {
        entries,
        reported_fields: report::fields(),
    }))
}

/// The policy in plain words, offline too (R3).
pub(crate) async fn rules(agent: Data<Agent>) -> Result<Json<RulesAnswer>, Failure> {
    let policy = agent.policy.in_force()?;
    let plan = &policy.plan;
    let rules = plan.rules().iter().map(|rule| RuleView {
        rule: rule.id.clone(),
        mode: rule.mode.to_string(),
        action: rule.action,
        sentence: rule.sentence.clone(),
        owner: rule.owner.clone(),
        link: rule.link.clone(),
        report: rule.report.to_string(),
    });
    let detectors = plan.detectors().iter().map(|detector| DetectorView {
        detector: detector.id.clone(),
        name: detector.name.clone(),
        finds: detector.finds.clone(),
    });
    let sharing = plan.sharing().lines.iter().map(|line| {
        format!(
            "{}:{}: {}, {}",
            line.file,
            line.line,
            line.ptype,
            line.fields.join(", ")
        )
    });
    Ok(Json(RulesAnswer {
        tenant: plan.tenant().to_string(),
        policy_version: policy.version,
        policy_digest: policy.digest,
        rules: rules.collect(),
        detectors: detectors.collect(),
        labels: plan.labels().to_vec(),
        sharing: sharing.collect(),
    }))
}
