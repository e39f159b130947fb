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
use crate::limits;

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

/// What keeps the gateway from its work for everybody, the worst first; readiness is that there is none.
async fn stopping(gateway: &Gateway) -> Option<Trouble> {
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
    if let Some(free_bytes) = gateway.health.low_space() {
        return found(
            "the disk is nearly full: nothing new is accepted, what is there is delivered and shredded",
            &format!(
                "Make room on the disk of the data folder: {} MiB are left, {} MiB are needed. The gateway goes on by itself.",
                free_bytes >> 20,
                (limits::SPACE_BYTES_MIN * 2) >> 20,
            ),
        );
    }
    if gateway.clock.is_unsettled() {
        return found(
            "the clock has jumped: nothing is accepted or shredded",
            "Set the clock right. If it is right now, confirm it: sealgate clock confirm --dir DIR",
        );
    }
    if gateway.store.people().await.is_err() {
        return found(
            "the database does not answer",
            "Look at the disk and at the log, then restart.",
        );
    }
    None
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
