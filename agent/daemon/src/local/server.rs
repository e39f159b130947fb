//! The server of the local API: routes, the guard before them, and how errors are told.
//!
//! A1: the socket is 0600 in a folder of 0700, and the kernel names the peer at each accept.
//! A4: a browser cannot speak to it, and what looks like one is refused.

use std::os::unix::net::UnixListener;
use std::sync::Arc;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{ORIGIN, REFERER};
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, HttpResponse, HttpServer, ResponseError, web};
use anyhow::{Context as _, bail};

use super::peer::{self, Peer};
use super::wire::{self, LocalProblem};
use super::{audiences, feed, outbox, records, stories};
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
    let data = web::Data::from(Arc::clone(agent));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .app_data(web::PayloadConfig::new(limits::LOCAL_BODY_BYTES_MAX))
            .wrap(from_fn(guard))
            .configure(routes)
    })
    .on_connect(peer::remember)
    .workers(2)
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
        .route(wire::RESUME, web::post().to(stories::resume))
        .route(wire::FEED, web::get().to(feed::feed))
        .route(wire::FEED_FILE, web::get().to(feed::file))
        .route(wire::AUDIENCES, web::get().to(audiences::list))
        .route(wire::AUDIENCES, web::post().to(audiences::change))
        .route(wire::OUTBOX, web::get().to(outbox::list))
        .route(wire::STATUS, web::get().to(records::status))
        .route(wire::ACTIVITY, web::get().to(records::activity))
        .route(wire::RULES, web::get().to(records::rules));
}

/// Before routing: the peer's user, and no request that a browser made.
async fn guard<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, actix_web::Error> {
    let own_uid = nix::unistd::geteuid().as_raw();
    let allowed = peer::may_use(request.conn_data::<Peer>().copied(), own_uid);
    let from_browser = request.headers().contains_key(ORIGIN) || request.headers().contains_key(REFERER);
    if !allowed || from_browser {
        tracing::warn!(allowed, from_browser, "a request on the local socket was refused");
        let response = HttpResponse::Forbidden().finish();
        return Ok(request.into_response(response).map_into_right_body());
    }
    Ok(next.call(request).await?.map_into_left_body())
}

/// Why a request failed, as the command prints it.
#[derive(Debug)]
pub(crate) struct Failure(LocalProblem);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        StatusCode::UNPROCESSABLE_ENTITY
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::build(self.status_code()).json(&self.0)
    }
}

impl From<LocalProblem> for Failure {
    fn from(problem: LocalProblem) -> Self {
        Self(problem)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<LocalProblem>() {
            Ok(problem) => Self(problem),
            Err(error) => Self(LocalProblem {
                message: format!("{error:#}"),
                help: None,
                exit: Exit::Failed,
            }),
        }
    }
}
