//! Who is asking: a `Device` in a handler's signature is the proof that a current certificate of a logged, unrevoked
//! device was shown. Session resumption keeps old identities, so the status is checked on every request (H4, E6).

use std::any::Any;
use std::future::{Ready, ready};
use std::sync::Arc;

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::dev::{Extensions, Payload};
use actix_web::{FromRequest, HttpRequest, web};
use gateway_api::error::ErrorCode;
use policies::terms::{DeviceId, TenantId};
use tokio::net::TcpStream;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::problem::ApiError;
use crate::domain::authority::device_of_uri;
use crate::domain::fault::Fault;
use crate::domain::gateway::{Device, Gateway};

/// What the peer's certificate says; rustls has verified its chain to our own authority.
#[derive(Clone, Copy, Debug)]
struct PeerCertificate {
    device: DeviceId,
    not_after_s: u64,
}

/// Reads the peer's certificate once per connection.
pub(super) fn on_connect(tenant: &TenantId, connection: &dyn Any, extensions: &mut Extensions) {
    let Some(stream) = connection.downcast_ref::<TlsStream<TcpStream>>() else {
        return;
    };
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    if let Some(peer) = certificate.and_then(|certificate| peer(tenant, certificate)) {
        extensions.insert(peer);
    }
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

fn authenticate(request: &HttpRequest) -> Result<Device, Fault> {
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
    if peer.not_after_s <= gateway.clock.now_s() {
        return Err(Fault::new(
            ErrorCode::IdentityInvalid,
            "the certificate has expired",
        ));
    }
    let device = gateway.directory.device(peer.device);
    let device = device.ok_or_else(|| {
        Fault::new(
            ErrorCode::IdentityInvalid,
            "the device is not in the directory log",
        )
    })?;
    if device.revoked {
        return Err(revoked());
    }
    Ok(Device {
        id: peer.device,
        person: device.person,
    })
}

/// Whether the device is still unrevoked: asked again before an answer that took a while (H4).
pub(super) fn check_unrevoked(gateway: &Gateway, device: &Device) -> Result<(), Fault> {
    if gateway
        .directory
        .device(device.id)
        .is_none_or(|logged| logged.revoked)
    {
        Err(revoked())
    } else {
        Ok(())
    }
}

fn revoked() -> Fault {
    Fault::new(ErrorCode::DeviceRevoked, "this device has been revoked")
}
