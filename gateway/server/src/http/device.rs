//! Who is asking: a `Device` in a handler's signature is the proof that a current certificate of a logged, unrevoked
//! device out of quarantine was shown; a `RenewingDevice`, that it may have ended lately (E5). Session resumption and
//! kept-alive connections keep old identities, so all of it is checked on every request (H4, E6).

use std::any::Any;
use std::future::{Ready, ready};
use std::sync::Arc;

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::dev::{Extensions, Payload, ServiceRequest};
use actix_web::{FromRequest, HttpRequest, web};
use gateway_api::error::ErrorCode;
#[cfg(target_os = "linux")]
use nix::sys::socket::{setsockopt, sockopt::TcpUserTimeout};
use policies::terms::{DeviceId, TenantId};
use tokio::net::TcpStream;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::problem::ApiError;
use crate::config;
use crate::domain::authority::device_of_uri;
use crate::domain::fault::Fault;
use crate::domain::gateway::{Device, Gateway};
use crate::domain::quarantine;
use crate::domain::renewal::RenewingDevice;

/// What the peer's certificate says; rustls has verified its chain to our own authority.
#[derive(Clone, Copy, Debug)]
struct PeerCertificate {
    device: DeviceId,
    /// None for one that we did not number ourselves.
    serial: Option<[u8; 16]>,
    not_after_s: u64,
}

/// Reads the peer's certificate once per connection, and bounds for how long it may leave an answer untaken.
pub(super) fn on_connect(
    tenant: &TenantId,
    network: config::Network,
    connection: &dyn Any,
    extensions: &mut Extensions,
) {
    let Some(stream) = connection.downcast_ref::<TlsStream<TcpStream>>() else {
        return;
    };
    let (socket, session) = stream.get_ref();
    bound_stalls(socket, network);
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    if let Some(peer) = certificate.and_then(|certificate| peer(tenant, certificate)) {
        extensions.insert(peer);
    }
}

/// A peer that takes nothing, or is gone, loses the connection after this: its kernel says so, or says nothing (RFC 5482).
/// actix waits for ever.
#[cfg(target_os = "linux")]
fn bound_stalls(socket: &TcpStream, network: config::Network) {
    let patience_ms = u32::try_from(network.patience_s.saturating_mul(1_000)).unwrap_or(u32::MAX);
    if let Err(error) = setsockopt(socket, TcpUserTimeout, &patience_ms) {
        tracing::warn!(%error, "a connection's stalls are not bounded");
    }
}

#[cfg(not(target_os = "linux"))]
fn bound_stalls(_: &TcpStream, _: config::Network) {}

/// The device that the peer's certificate names, whatever became of it.
pub(super) fn shown_by(request: &ServiceRequest) -> Option<DeviceId> {
    let peer = request.conn_data::<PeerCertificate>();
    peer.map(|peer| peer.device)
}

fn peer(tenant: &TenantId, der: &[u8]) -> Option<PeerCertificate> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let [GeneralName::URI(uri)] = names.value.general_names.as_slice() else {
        return None;
    };
    let not_after_s = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
    Some(PeerCertificate {
        device: device_of_uri(tenant, uri)?,
        serial: certificate.raw_serial().try_into().ok(),
        not_after_s,
    })
}

impl FromRequest for Device {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(authenticate(request).map_err(ApiError::from))
    }
}

impl FromRequest for RenewingDevice {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(authenticate_renewing(request).map_err(ApiError::from))
    }
}

fn authenticate(request: &HttpRequest) -> Result<Device, Fault> {
    let (gateway, peer) = shown(request)?;
    if peer.not_after_s <= gateway.clock.now_s() {
        return Err(Fault::new(
            ErrorCode::IdentityExpired,
            "the certificate has ended",
        ));
    }
    admit(gateway, &peer)
}

fn authenticate_renewing(request: &HttpRequest) -> Result<RenewingDevice, Fault> {
    let (gateway, peer) = shown(request)?;
    let window_s = gateway.config.identity.renewal_window_s;
    if peer.not_after_s.saturating_add(window_s) <= gateway.clock.now_s() {
        return Err(Fault::new(
            ErrorCode::IdentityInvalid,
            "the certificate ended too long ago to be renewed",
        ));
    }
    Ok(RenewingDevice {
        device: admit(gateway, &peer)?,
        serial: peer.serial,
        ends_s: peer.not_after_s,
    })
}

fn shown(request: &HttpRequest) -> Result<(&Gateway, PeerCertificate), Fault> {
    let peer = request.conn_data::<PeerCertificate>().copied();
    let peer = peer.ok_or_else(|| {
        Fault::new(
            ErrorCode::IdentityMissing,
            "this route needs a device certificate",
        )
    })?;
    let gateway = request
        .app_data::<web::Data<Arc<Gateway>>>()
        .ok_or_else(|| Fault::new(ErrorCode::Internal, "the gateway is not set up"))?;
    Ok((gateway, peer))
}

fn admit(gateway: &Gateway, peer: &PeerCertificate) -> Result<Device, Fault> {
    let logged = gateway.directory.device(peer.device).ok_or_else(|| {
        Fault::new(
            ErrorCode::IdentityInvalid,
            "the device is not in the directory log",
        )
    })?;
    let device = Device {
        id: logged.device,
        person: logged.person,
    };
    check_admitted(gateway, &device)?;
    Ok(device)
}

/// Whether the device is neither revoked nor quarantined: asked again before an answer that took a while (H4).
pub(super) fn check_admitted(gateway: &Gateway, device: &Device) -> Result<(), Fault> {
    let logged = gateway.directory.device(device.id);
    if logged.is_none_or(|logged| logged.revoked) {
        return Err(Fault::new(
            ErrorCode::DeviceRevoked,
            "this device has been revoked",
        ));
    }
    match gateway.quarantine.cause(device.id) {
        Some(cause) => Err(quarantine::fault(cause)),
        None => Ok(()),
    }
}
