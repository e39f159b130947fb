//! The status page: says the one thing that is wrong and how to mend it. Plain HTTP on a loopback address; no login,
//! no names, nothing that changes anything.

use std::net::TcpListener;
use std::sync::Arc;

use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::http::{StatusCode, header};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Data};
use actix_web::{App, HttpResponse, HttpServer, body::MessageBody};
use gateway_api::v1::bundle::AckState;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::domain::gateway::Gateway;
use crate::{limits, metrics};

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--paper:#fff;--soft:#5b6570;--line:#d8dee4;--good:#1a7f37;--bad:#b42318}\
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--paper:#0d1117;--soft:#9aa5b1;--line:#30363d;--good:#3fb950;--bad:#ff7b72}}\
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:44rem;margin:3rem auto;padding:0 1rem}\
h1{font-size:1.3rem;margin:0 0 1.5rem}.state{font-size:1.15rem;font-weight:600;border-left:.3rem solid;padding:.2rem 0 .2rem .8rem;margin:0 0 1.5rem}\
.good{border-color:var(--good)}.bad{border-color:var(--bad)}p{margin:.2rem 0}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.35rem 1.5rem;border-top:1px solid var(--line);padding-top:1rem}\
dt{color:var(--soft)}dd{margin:0;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}code{font:.9em ui-monospace,monospace}";

/// What is wrong, and what to do.
pub(crate) struct Trouble {
    pub(crate) what: String,
    pub(crate) mend: String,
}

/// Serves the page until stopped.
pub(crate) fn serve(gateway: &Arc<Gateway>, listener: TcpListener) -> anyhow::Result<Server> {
    let data = Data::new(Arc::clone(gateway));
    let app = move || {
        App::new()
            .app_data(data.clone())
            .wrap(from_fn(check_host))
            .route("/", web::get().to(page))
            .route("/health/live", web::get().to(live))
            .route("/health/ready", web::get().to(ready))
            .route("/metrics", web::get().to(metrics))
    };
    let server = HttpServer::new(app)
        .workers(1)
        .keep_alive(limits::KEEP_ALIVE)
        .client_request_timeout(limits::HEAD_TIMEOUT)
        .shutdown_timeout(1)
        .disable_signals()
        .listen(listener)?
        .run();
    Ok(server)
}

/// A name that is not localhost is somebody's rebinding trick.
async fn check_host(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if !["localhost", "127.0.0.1", "[::1]"].contains(&name) {
        let answer =
            HttpResponse::build(StatusCode::MISDIRECTED_REQUEST).body("open this page as http://localhost");
        return Ok(request.into_response(answer).map_into_right_body());
    }
    Ok(next.call(request).await?.map_into_left_body())
}

async fn live() -> HttpResponse {
    HttpResponse::Ok().body("live")
}

async fn ready(gateway: Data<Arc<Gateway>>) -> HttpResponse {
    match stopping(&gateway).await {
        None => HttpResponse::Ok().body("ready"),
        Some(trouble) => HttpResponse::ServiceUnavailable().body(trouble.what),
    }
}

/// What Prometheus scrapes.
async fn metrics(gateway: Data<Arc<Gateway>>) -> HttpResponse {
    metrics::observe(&gateway).await;
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(gateway.metrics.text())
}

async fn page(gateway: Data<Arc<Gateway>>) -> HttpResponse {
    let trouble = trouble(&gateway).await;
    let body = render(&gateway, trouble.as_ref());
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ))
        .body(body.into_string())
}

fn found(what: &str, mend: &str) -> Option<Trouble> {
    Some(Trouble {
        what: what.to_owned(),
        mend: mend.to_owned(),
    })
}

/// What the gateway cannot work without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Stories are written.
    Writer,
    /// There is room for what is new.
    Disk,
    /// The wall clock can be trusted.
    Clock,
    /// Questions are answered.
    Database,
}

impl Part {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Writer => "writer",
            Self::Disk => "disk",
            Self::Clock => "clock",
            Self::Database => "database",
        }
    }
}

/// What keeps the gateway from its work for everybody, part by part, the worst first; readiness is that there is none.
pub(crate) async fn parts(gateway: &Gateway) -> [(Part, Option<Trouble>); 4] {
    [
        (Part::Writer, writer(gateway)),
        (Part::Disk, disk(gateway)),
        (Part::Clock, clock(gateway)),
        (Part::Database, database(gateway).await),
    ]
}

async fn stopping(gateway: &Gateway) -> Option<Trouble> {
    parts(gateway).await.into_iter().find_map(|(_, trouble)| trouble)
}

fn writer(gateway: &Gateway) -> Option<Trouble> {
    if let Some(what) = gateway.health.stopped() {
        return found(
            &what,
            "Look at the disk (space, errors) and at the log, then restart: recovery settles what was in flight.",
        );
    }
    if let Some(why) = gateway.health.held() {
        let (what, mend) = why.split_once(". ").unwrap_or((&why, ""));
        return found(what, mend);
    }
    if gateway.relay.has_lost_its_writer() {
        return found(
            "the writer of stories has ended: nothing is accepted",
            "Look at the log for why, then restart: recovery settles what was in flight.",
        );
    }
    None
}

fn disk(gateway: &Gateway) -> Option<Trouble> {
    let free_bytes = gateway.health.low_space()?;
    found(
        "the disk is nearly full: nothing new is accepted, what is there is delivered and shredded",
        &format!(
            "Make room on the disk of the data folder: {} MiB are left, {} MiB are needed. The gateway goes on by itself.",
            free_bytes >> 20,
            (limits::SPACE_BYTES_MIN * 2) >> 20,
        ),
    )
}

fn clock(gateway: &Gateway) -> Option<Trouble> {
    if !gateway.clock.is_unsettled() {
        return None;
    }
    found(
        "the clock has jumped: nothing is accepted or shredded",
        "Set the clock right. If it is right now, confirm it: sealgate clock confirm --dir DIR",
    )
}

async fn database(gateway: &Gateway) -> Option<Trouble> {
    if gateway.store.people().await.is_ok() {
        return None;
    }
    found(
        "the database does not answer",
        "Look at the disk and at the log, then restart.",
    )
}

/// The worst thing first, and only that.
pub(crate) async fn trouble(gateway: &Gateway) -> Option<Trouble> {
    let stopping = stopping(gateway).await;
    if stopping.is_some() {
        return stopping;
    }
    if let Some(why) = gateway.server_certificate.trouble() {
        return found(
            &format!("the files of the TLS certificate cannot be used, the one before stays in use: {why}"),
            "Mend `gateway.toml` or `keys/server.key`; the gateway looks again by itself. A restart would fail.",
        );
    }
    let is_revoked = |device| {
        gateway
            .directory
            .device(device)
            .is_none_or(|logged| logged.revoked)
    };
    let mut quarantined = gateway.quarantine.all().into_iter();
    if let Some((device, cause)) = quarantined.find(|(device, _)| !is_revoked(*device)) {
        return Some(Trouble {
            what: format!("device {device} is shut out: {}", cause.sentence()),
            mend: format!(
                "Find out whether it was copied. If it was: sealgate device revoke {device}, and enrol anew. If not (a restored \
                 backup, an exchanged machine): sealgate device release {device}"
            ),
        });
    }
    let since_s = gateway.clock.now_s().saturating_sub(limits::DELETION_SHOWN_S);
    if gateway.store.is_deletion_wrong(since_s).await.unwrap_or(true) {
        return found(
            "the receipts of deletion do not agree with what is stored",
            "See which: sealgate log search --kind deletion-receipt, and --kind deletion-reconciliation. Keep a copy of the data folder, run sealgate verify, and tell your security team.",
        );
    }
    if gateway.policy.load().current.is_none() {
        return found(
            "no policy is in force: agents seal nothing",
            "Sign and publish one: sealgate policy sign FOLDER --key KEY --version 1 --out F, a second signature, then sealgate policy publish F",
        );
    }
    let policy_ends_s = gateway
        .policy
        .load()
        .current
        .as_ref()
        .map(|bundle| bundle.expires_s);
    let ending = ending(
        policy_ends_s,
        gateway.keys.authority.ends_s(),
        gateway.clock.now_s(),
    );
    if ending.is_some() {
        return ending;
    }
    let current = gateway.policy.load().version();
    let states = gateway.store.policy_states().await.unwrap_or_default();
    let rejecting = states.iter().filter(|state| {
        let rejects = state.ack.state == AckState::Rejected && state.ack.version == current;
        rejects && !is_revoked(state.device)
    });
    let rejecting = rejecting.count();
    if rejecting > 0 {
        return found(
            &format!(
                "{rejecting} devices do not accept version {current} of the policy, and decide by an earlier one"
            ),
            "See why: sealgate policy status. Then publish a higher version that mends it.",
        );
    }
    if let Some(cause) = gateway.exports.failures().standing() {
        return found(
            &format!("the collector of telemetry takes nothing: {cause}"),
            "Stories are not affected. See that the collector runs at `telemetry.endpoint` of `gateway.toml`, and takes OTLP over HTTP (protobuf) there.",
        );
    }
    if gateway
        .directory
        .read(|directory| directory.devices().next().is_none())
    {
        return found(
            "no device is enrolled yet",
            "Make a token: sealgate token add --person NAME --out FILE",
        );
    }
    None
}

/// What ends by the clock, and has to be made anew by people.
fn ending(policy_ends_s: Option<u64>, authority_ends_s: Option<u64>, now_s: u64) -> Option<Trouble> {
    let days_left = |ends_s: u64| ends_s.saturating_sub(now_s) / 86_400;
    let publish = "Sign and publish a higher version: sealgate policy sign FOLDER --key KEY --version N --out F, a second signature, then sealgate policy publish F";
    if policy_ends_s.is_some_and(|ends_s| ends_s <= now_s) {
        return found("the policy has ended: no story is accepted", publish);
    }
    if let Some(days) = policy_ends_s
        .map(days_left)
        .filter(|days| *days < limits::POLICY_DAYS_MIN)
    {
        let what = format!(
            "the policy in force ends within {} days: no story is accepted then",
            days + 1
        );
        return found(&what, publish);
    }
    let days = days_left(authority_ends_s?);
    if days >= limits::AUTHORITY_DAYS_MIN {
        return None;
    }
    found(
        &format!(
            "the certificate of the authority ends within {} days: no device can connect then",
            days + 1
        ),
        "Plan a new data folder with a new authority, and enrol every device there anew before then.",
    )
}

fn render(gateway: &Gateway, trouble: Option<&Trouble>) -> Markup {
    let policy = gateway.policy.load();
    let (devices, revoked) = gateway.directory.read(|directory| {
        (
            directory.devices().count(),
            directory.devices().filter(|device| device.revoked).count(),
        )
    });
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Sealgate gateway" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Sealgate gateway of " (gateway.config.tenant.as_str()) }
                @match trouble {
                    None => { div class="state good" { p { "Everything works." } } }
                    Some(trouble) => {
                        div class="state bad" { p { (trouble.what) } }
                        p { (trouble.mend) }
                    }
                }
                dl {
                    dt { "Agents connect to" } dd { code { (gateway.public_url()) } }
                    @match &policy.current {
                        Some(bundle) => { dt { "Policy in force" } dd { "version " (bundle.version) ", entry " (bundle.log_index) " of the directory log" } }
                        None => { dt { "Policy in force" } dd { "none" } }
                    }
                    dt { "Devices" } dd { (devices) " enrolled, " (revoked) " revoked" }
                    dt { "Ledger" } dd { (gateway.ledger.size()) " entries" }
                    dt { "Directory log" } dd { (gateway.directory.size()) " entries" }
                    dt { "Stories waiting" } dd { (gateway.relay.depth()) " of " (limits::RELAY_QUEUE_MAX) }
                    dt { "Expiry bucket" } dd { (gateway.config.expiry.bucket_s) " s" }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: u64 = 1_800_000_000;
    const DAY_S: u64 = 86_400;

    fn what(policy_days: u64, authority_days: u64) -> Option<String> {
        let at = |days: u64| Some(NOW_S + days * DAY_S);
        let trouble = ending(at(policy_days), at(authority_days), NOW_S);
        trouble.map(|trouble| trouble.what)
    }

    #[test]
    fn what_ends_soon_is_said_in_time() {
        assert_eq!(what(limits::POLICY_DAYS_MIN, limits::AUTHORITY_DAYS_MIN), None);
        assert_eq!(ending(None, None, NOW_S).map(|trouble| trouble.what), None);
        let policy = what(limits::POLICY_DAYS_MIN - 1, 1_000).unwrap();
        assert!(policy.contains("ends within 3 days"), "{policy}");
        let authority = what(1_000, limits::AUTHORITY_DAYS_MIN - 1).unwrap();
        assert!(
            authority.contains("the certificate of the authority"),
            "{authority}"
        );
    }

    /// What stops every story comes before what may stop it.
    #[test]
    fn policy_that_has_ended_is_said_first() {
        assert!(what(0, 1).unwrap().contains("the policy has ended"));
    }
}
