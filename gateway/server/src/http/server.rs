//! The device listener.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Instant;

use actix_web::body::MessageBody;
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, HttpServer, web};
use gateway_api::error::ErrorCode;

use super::{device, problem, tls, v1};
use crate::domain::fault::Fault;
use crate::domain::gateway::Gateway;
use crate::limits;

/// Serves devices until stopped.
pub(crate) fn serve(gateway: &Arc<Gateway>, listener: TcpListener) -> anyhow::Result<Server> {
    let tls = tls::server_config(&gateway.config, &gateway.keys, gateway.clock.now_s())?;
    let tenant = gateway.config.tenant.clone();
    let data = web::Data::new(Arc::clone(gateway));
    let app = move || {
        App::new()
            .app_data(data.clone())
            .wrap(from_fn(trace))
            .configure(v1::routes)
            .default_service(web::to(|| async {
                Err::<String, _>(problem::ApiError::from(Fault::not_found()))
            }))
    };
    let server = HttpServer::new(app)
        .on_connect(move |connection, extensions| device::on_connect(&tenant, connection, extensions))
        .keep_alive(limits::KEEP_ALIVE)
        .client_request_timeout(limits::HEAD_TIMEOUT)
        .tls_handshake_timeout(limits::HANDSHAKE_TIMEOUT)
        .max_connections(limits::CONNECTIONS_MAX)
        .shutdown_timeout(limits::SHUTDOWN_S)
        .tcp_nodelay(true)
        .disable_signals()
        .listen_rustls_0_23(listener, tls)?
        .run();
    Ok(server)
}

/// One line per request: the route's template, never the path.
async fn trace(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let started = Instant::now();
    let method = request.method().clone();
    let route = request.match_pattern().unwrap_or_else(|| "-".to_owned());
    let response = next.call(request).await;
    let status = response.as_ref().map_or_else(
        |error| error.as_response_error().status_code(),
        ServiceResponse::status,
    );
    let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::debug!(%method, route, status = status.as_u16(), elapsed_ms, "request");
    response
}

/// An id in a path that is not one.
pub(super) fn bad_id() -> Fault {
    Fault::new(ErrorCode::BadRequest, "the id in the path is not an id")
}
