//! The server of the local API: routes, the guard before them, and how errors are told.
//!
//! A1: the socket is 0600 in a folder of 0700, and the kernel names the peer at each accept.
//! A4: a browser cannot speak to it, and what looks like one is refused.

use std::os::unix::net::UnixListener;
use std::sync::Arc;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, ORIGIN, REFERER};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, HttpResponse, HttpServer, ResponseError, web};
use agent_client::wire as app;
use anyhow::{Context as _, bail};

use super::peer::{self, Peer};
use super::wire::{self, LocalProblem, TamperCause};
use super::{
    app_lists, app_stories, apps, audiences, directory, feed, notices, outbox, records, rejoin, stop, stories,
};
use crate::agent::Agent;
use crate::exit::Exit;
use crate::limits;
use crate::vault::files;

/// Starts serving on the folder's socket. The caller holds the folder's lock, so that a socket
/// that lies there is a dead one.
///
/// # Errors
/// The socket cannot be made; the message says why.
pub(crate) fn start(agent: &Arc<Agent>) -> anyhow::Result<Server> {
    let socket = agent.paths.socket();
    if socket.as_os_str().len() > limits::SOCKET_PATH_BYTES_MAX {
        bail!(
            "`{}` is too long for a socket; use a folder with a shorter path",
            socket.display()
        );
    }
    if socket.exists() {
        std::fs::remove_file(&socket)?;
    }
    let listener =
        UnixListener::bind(&socket).with_context(|| format!("cannot listen on `{}`", socket.display()))?;
    files::restrict(&socket)?;
    listener.set_nonblocking(true)?;
    let connections = Arc::clone(&agent.connections);
    let data = web::Data::from(Arc::clone(agent));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .app_data(web::PayloadConfig::new(limits::LOCAL_BODY_BYTES_MAX))
            .app_data(web::JsonConfig::default().limit(limits::LOCAL_JSON_BYTES_MAX))
            .wrap(from_fn(guard))
            .configure(routes)
    })
    .on_connect(move |connection, extensions| peer::remember(&connections, connection, extensions))
    .workers(2)
    .max_connections(limits::LOCAL_WORKER_CONNECTIONS_MAX)
    .client_request_timeout(limits::LOCAL_HEAD_TIMEOUT)
    .disable_signals()
    .shutdown_timeout(1)
    .listen_uds(listener)?
    .run();
    Ok(server)
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .route(wire::SHARE, web::post().to(stories::share))
        .route(wire::CHECK, web::post().to(stories::check))
        .route(wire::REVOKE, web::post().to(stories::revoke))
        .route(wire::PENDING, web::get().to(stories::pending))
        .route(wire::PENDING, web::post().to(stories::change_pending))
        .route(wire::RESUME, web::post().to(stories::resume))
        .route(wire::FEED, web::get().to(feed::feed))
        .route(wire::FEED_FILE, web::get().to(feed::file))
        .route(wire::AUDIENCES, web::get().to(audiences::list))
        .route(wire::AUDIENCES, web::post().to(audiences::change))
        .route(wire::OUTBOX, web::get().to(outbox::list))
        .route(wire::APPS, web::get().to(apps::list))
        .route(wire::APPS, web::post().to(apps::change))
        .route(app::CHECK, web::post().to(apps::check))
        .route(wire::APP_CONFIRM, web::post().to(apps::confirm))
        .route(app::LISTS, web::get().to(app_lists::all))
        .route(app::LISTS, web::post().to(app_lists::define))
        .route("/v1/app/lists/{list}", web::get().to(app_lists::show))
        .route(app::SHARE, web::post().to(app_stories::share))
        .route(app::TAKE_BACK, web::post().to(app_stories::take_back))
        .route(app::STORIES, web::get().to(app_stories::waiting))
        .route("/v1/app/stories/{story}", web::get().to(app_stories::bytes))
        .route("/v1/app/stories/{story}", web::delete().to(app_stories::done))
        .route(wire::FALSE_POSITIVE, web::post().to(stories::false_positive))
        .route(wire::NOTICES, web::get().to(notices::list))
        .route(wire::NOTICES, web::post().to(notices::acknowledge))
        .route(wire::STATUS, web::get().to(records::status))
        .route(wire::ACTIVITY, web::get().to(records::activity))
        .route(wire::REJOIN, web::post().to(rejoin::rejoin))
        .route(wire::DIRECTORY, web::get().to(directory::directory))
        .route(wire::STOP, web::post().to(stop::stop))
        .route(wire::IDENTITY, web::post().to(records::reload_identity))
        .route(wire::RULES, web::get().to(records::rules));
}

/// Before routing: the peer's user, no request that a browser made, and from an app only what apps may.
async fn guard<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, actix_web::Error> {
    let own_uid = nix::unistd::geteuid().as_raw();
    let Some(cause) = refusal(
        request.conn_data::<Peer>(),
        own_uid,
        request.headers(),
        request.path(),
    ) else {
        return Ok(through(request, next).await?.map_into_left_body());
    };
    if let Some(agent) = request.app_data::<web::Data<Agent>>() {
        agent.tampered(cause);
    }
    let status = if cause == TamperCause::TooManyConnections {
        StatusCode::TOO_MANY_REQUESTS
    } else {
        StatusCode::FORBIDDEN
    };
    let response = HttpResponse::build(status).force_close().finish();
    Ok(request.into_response(response).map_into_right_body())
}

/// What changes something goes on to its end when nobody waits for the answer any more: half of it would have to be found
/// and settled later.
async fn through<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    if request.method() == Method::GET {
        return next.call(request).await;
    }
    let call = actix_web::rt::spawn(async move { next.call(request).await });
    call.await.map_err(actix_web::error::ErrorInternalServerError)?
}

/// Why a request is not even routed.
fn refusal(peer: Option<&Peer>, own_uid: u32, headers: &HeaderMap, path: &str) -> Option<TamperCause> {
    let Some(peer) = peer.filter(|peer| peer.may_use(own_uid)) else {
        return Some(TamperCause::OtherUser);
    };
    if headers.contains_key(ORIGIN) || headers.contains_key(REFERER) {
        return Some(TamperCause::Browser);
    }
    if apps::is_apps(headers) && !path.starts_with(wire::APP_PREFIX) {
        return Some(TamperCause::BeyondItsRights);
    }
    peer.is_too_many().then_some(TamperCause::TooManyConnections)
}

/// Why a request failed, as the command prints it.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    problem: LocalProblem,
}

impl Failure {
    /// For those who read the status: apps.
    pub(crate) const fn with_status(status: StatusCode, problem: LocalProblem) -> Self {
        Self { status, problem }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.problem.fmt(f)
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::build(self.status).json(&self.problem)
    }
}

impl From<LocalProblem> for Failure {
    fn from(problem: LocalProblem) -> Self {
        Self::with_status(StatusCode::UNPROCESSABLE_ENTITY, problem)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let problem = error
            .downcast::<LocalProblem>()
            .unwrap_or_else(|error| LocalProblem {
                message: format!("{error:#}"),
                help: None,
                exit: Exit::Failed,
            });
        problem.into()
    }
}
