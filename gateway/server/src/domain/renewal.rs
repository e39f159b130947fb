//! The next certificate of a device (E4, E5).
//!
//! ```text
//! certificate n, ended or not ─► proof by the device key ─► same CSR as n+1: the same answer
//!                                                        ─► n is the newest: n+1, recorded, stored, answered
//!                                                        ─► n was renewed before: a copy of the device did it (E7)
//! ```

use gateway_api::error::ErrorCode;
use gateway_api::v1::renew::{RenewRequest, RenewResponse, proof_message};
use serde_json::json;

use super::authority::Csr;
use super::fault::Fault;
use super::gateway::{Device, Gateway};
use super::quarantine::{self, Cause};
use super::record::Kind;
use crate::store::identity::{self, Certificate};
use policies::terms::Digest;

/// A device that has shown a certificate of ours, which may have ended within the window. Made by the extractor of
/// `http::device` alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RenewingDevice {
    pub(crate) device: Device,
    /// Serial number of the certificate that it showed.
    pub(crate) serial: Option<[u8; 16]>,
    /// When that ends, Unix seconds.
    pub(crate) ends_s: u64,
}

/// Answers a request for a certificate.
pub(crate) async fn renew(
    gateway: &Gateway,
    renewing: &RenewingDevice,
    request: &RenewRequest,
) -> Result<RenewResponse, Fault> {
    gateway.check_open()?;
    let device = &renewing.device;
    check_proof(gateway, device, request)?;
    let csr = Csr::parse(&request.csr_pem)
        .map_err(|refused| Fault::new(ErrorCode::ProofInvalid, refused.to_string()))?;
    quarantine::check_origin(gateway, device, &request.origin).await?;
    let _one_at_a_time = gateway.issuing.lock().await;
    let issued = gateway.store.certificates(device.id).await?;
    let released = gateway.store.is_released(device.id).await?;
    match judge(&issued, renewing, csr.digest, released) {
        Judgement::Again(certificate) => Ok(RenewResponse {
            certificate_pem: certificate.pem.clone().unwrap_or_default(),
            generation: certificate.generation,
        }),
        Judgement::Copy => Err(quarantine::shut_out(gateway, device, Cause::KeyGeneration).await?),
        Judgement::Next(_) if gateway.store.is_certified(csr.key).await? => Err(Fault::new(
            ErrorCode::RenewalRefused,
            "the TLS key was certified before",
        )),
        Judgement::Next(generation) => {
            let next = issue(gateway, device, csr, generation)?;
            let payload = json!({
                "device": device.id,
                "person": device.person,
                "generation": generation,
                "certificate": Digest::of(next.pem.as_deref().unwrap_or_default().as_bytes()),
            });
            let record = gateway.entry(Kind::Renew, Some(device.person), payload)?;
            let mut write = gateway.store.write().await?;
            identity::add_certificate(&mut write, device.id, &next).await?;
            gateway.record_with(write, vec![record]).await?;
            tracing::info!(device = %device.id, generation, "certificate renewed");
            Ok(RenewResponse {
                certificate_pem: next.pem.unwrap_or_default(),
                generation,
            })
        }
    }
}

/// Signs the certificate of a generation; it counts once it is stored.
pub(super) fn issue(
    gateway: &Gateway,
    device: &Device,
    csr: Csr,
    generation: u64,
) -> anyhow::Result<Certificate> {
    let (key, digest) = (csr.key, csr.digest);
    let issued = gateway.keys.authority.issue_device(
        csr,
        &gateway.config.tenant,
        device.id,
        gateway.clock.now_s(),
        gateway.config.identity.certificate_lifetime_s,
    )?;
    Ok(Certificate {
        generation,
        serial: issued.serial,
        key,
        csr: digest,
        ends_s: issued.ends_s,
        pem: Some(issued.pem),
    })
}

fn check_proof(gateway: &Gateway, device: &Device, request: &RenewRequest) -> Result<(), Fault> {
    let logged = gateway.directory.device(device.id).ok_or_else(Fault::not_found)?;
    let message = proof_message(&gateway.config.tenant, device.id, &request.csr_pem);
    let proof = <&[u8; 64]>::try_from(request.proof.0.as_slice());
    if proof.is_ok_and(|proof| logged.key.verify(&message, proof)) {
        Ok(())
    } else {
        Err(Fault::new(
            ErrorCode::ProofInvalid,
            "the device key did not sign this request",
        ))
    }
}

/// What a request means.
#[derive(Debug, PartialEq, Eq)]
enum Judgement<'a> {
    /// The newest certificate is the answer to this very request.
    Again(&'a Certificate),
    /// The device gets the certificate of this generation.
    Next(u64),
    /// Somebody renewed from the shown certificate before, with another key.
    Copy,
}

/// `issued` is in order of generations. A certificate of ours that is not among them is of a gateway that did not count
/// yet, or, where it ends after all of them, was issued before an older backup of the gateway was put back.
fn judge<'a>(
    issued: &'a [Certificate],
    shown: &RenewingDevice,
    csr: Digest,
    released: bool,
) -> Judgement<'a> {
    let Some(newest) = issued.last() else {
        return Judgement::Next(1);
    };
    let generation = issued
        .iter()
        .find(|certificate| Some(certificate.serial) == shown.serial)
        .map_or(0, |certificate| certificate.generation);
    let is_forgotten = generation == 0 && shown.ends_s > newest.ends_s;
    let is_newest_or_before = generation.saturating_add(1) >= newest.generation;
    if newest.csr == csr && (is_newest_or_before || released) {
        return Judgement::Again(newest);
    }
    if generation == newest.generation || is_forgotten || released {
        return Judgement::Next(newest.generation.saturating_add(1));
    }
    Judgement::Copy
}

#[cfg(test)]
mod tests;
