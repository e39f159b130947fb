//! The device listener.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::body::MessageBody;
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, HttpServer, web};
use gateway_api::error::ErrorCode;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use telemetry::{Field, Place, SpanName, TRACEPARENT};

use super::rates::{self, Rates};
use super::{device, problem, tls, v1};
use crate::domain::fault::Fault;
use crate::domain::gateway::Gateway;
use crate::limits;
use crate::metrics::method_name;

/// Serves devices until stopped.
pub(crate) fn serve(gateway: &Arc<Gateway>, listener: TcpListener) -> anyhow::Result<Server> {
    let tls = tls::server_config(gateway)?;
    let tenant = gateway.config.tenant.clone();
    let workers = std::thread::available_parallelism()?.get();
    let connections = connections_per_worker(raise_descriptor_limit()?, workers);
    let network = gateway.config.network;
    let handshake = Duration::from_secs(network.handshake_s);
    let data = web::Data::new(Arc::clone(gateway));
    let rates = web::Data::new(Rates::new(&gateway.config.rates));
    Rates::announce(&gateway.metrics);
    let app = move || {
        App::new()
            .app_data(data.clone())
            .app_data(rates.clone())
            .wrap(from_fn(rates::limit))
            .wrap(from_fn(trace))
            .configure(v1::routes)
            .default_service(web::to(|| async {
                Err::<String, _>(problem::ApiError::from(Fault::not_found()))
            }))
    };
    let server = HttpServer::new(app)
        .workers(workers)
        .on_connect(move |connection, extensions| {
            device::on_connect(&tenant, network, connection, extensions)
        })
        .keep_alive(limits::KEEP_ALIVE)
        .client_request_timeout(handshake)
        .tls_handshake_timeout(handshake)
        .max_connections(connections)
        .shutdown_timeout(limits::SHUTDOWN_S)
        .tcp_nodelay(true)
        .disable_signals()
        .listen_rustls_0_23(listener, tls)?
        .run();
    Ok(server)
}

/// Raises this process's limit of open descriptors as far as it may: the limit then.
fn raise_descriptor_limit() -> anyhow::Result<usize> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = limits::CONNECTIONS_MAX.saturating_add(limits::DESCRIPTORS_RESERVED);
    let wanted = soft.max(hard.min(u64::try_from(wanted)?));
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)?;
    Ok(usize::try_from(wanted).unwrap_or(usize::MAX))
}

/// Connections that leave the gateway its own descriptors, however many strangers connect (H3).
fn connections_per_worker(descriptors: usize, workers: usize) -> usize {
    let connections = descriptors.saturating_sub(limits::DESCRIPTORS_RESERVED);
    (connections.min(limits::CONNECTIONS_MAX) / workers.max(1)).max(1)
}

/// A line and a count per request: the route's template, never the path.
async fn trace(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let started = Instant::now();
    let Some(gateway) = request.app_data::<web::Data<Arc<Gateway>>>().cloned() else {
        return next.call(request).await;
    };
    let method = method_name(request.method());
    let route = gateway.metrics.route_name(request.match_pattern().as_deref());
    let device = device::shown_by(&request);
    let header = request.headers().get(TRACEPARENT);
    let place = header
        .and_then(|value| value.to_str().ok())
        .and_then(Place::received);
    let tracing = gateway.exports.tracing();
    let answering = tracing.within_remote(place, SpanName::Request, async {
        let response = next.call(request).await;
        let status = status_of(&response);
        telemetry::note(|| {
            let hasher = gateway.exports.hasher();
            let tenant = gateway.config.tenant.as_str();
            let fields = [
                Field::Method(method),
                Field::Route(route.clone()),
                Field::Status(status),
                Field::Tenant(hasher.hash(tenant.as_bytes())),
            ];
            let device = device.map(|device| Field::Device(hasher.hash(device.to_string().as_bytes())));
            fields.into_iter().chain(device)
        });
        response
    });
    let response = answering.await;
    let (status, elapsed) = (status_of(&response), started.elapsed());
    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    tracing::debug!(method, route = route.as_str(), status, elapsed_ms, "request");
    gateway.metrics.request(method, route, status, elapsed);
    response
}

fn status_of<B>(response: &Result<ServiceResponse<B>, actix_web::Error>) -> u16 {
    let status = response.as_ref().map_or_else(
        |error| error.as_response_error().status_code(),
        ServiceResponse::status,
    );
    status.as_u16()
}

/// An id in a path that is not one.
pub(super) fn bad_id() -> Fault {
    Fault::new(ErrorCode::BadRequest, "the id in the path is not an id")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// H3: idle strangers cannot take the descriptors that purge and ledger need.
    #[test]
    fn connections_leave_descriptors_to_the_gateway() {
        for (descriptors, workers) in [(1_024, 2), (4_096, 8), (65_536, 2)] {
            let taken = connections_per_worker(descriptors, workers) * workers;
            assert!(taken + limits::DESCRIPTORS_RESERVED <= descriptors);
        }
    }
}
