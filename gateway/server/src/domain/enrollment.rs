//! A device joins (E1-E3, E9).
//!
//! ```text
//! proof, CSR, token ─► spent and noted in one transaction ─► waiting ─► approved | denied
//!                                                         ╰────────────────╯
//!            certified ◄─ recorded ◄─ logged (device-add) ◄───── approved
//! ```
//! The same request finds its enrollment again, wherever it stopped: a lost answer is answered alike (E4).

use gateway_api::error::ErrorCode;
use gateway_api::v1::enroll::{EnrollRequest, EnrollResponse, Waiting, fingerprint, proof_message};
use policies::directory::{DirectoryEntry, LoggedDevice};
use policies::keys::DevicePublicKey;
use policies::terms::{DeviceId, Digest, PersonId};
use serde_json::json;

use super::authority::Csr;
use super::fault::Fault;
use super::gateway::{Device, Gateway};
use super::random;
use super::record::Kind;
use super::renewal;
use crate::seam::Point;
use crate::store::enrollments::{self, Enrollment, State};
use crate::store::identity;
use crate::store::tokens::{self, Token};

const TOKEN_BYTES: usize = 32;
const VERSION_CHARS_MAX: usize = 64;

/// What a device is answered.
#[derive(Debug)]
pub(crate) enum Answer {
    Enrolled(EnrollResponse),
    /// An administrator must approve it.
    Waiting(Waiting),
}

/// Enrols a device, or goes on with an enrollment that was begun.
pub(crate) async fn enroll(gateway: &Gateway, request: &EnrollRequest) -> Result<Answer, Fault> {
    gateway.check_open()?;
    let key = check_proof(request)?;
    let csr = parse_csr(&request.csr_pem)?;
    let _one_at_a_time = gateway.issuing.lock().await;
    let enrollment = match gateway.store.enrollment(digest(request)).await? {
        Some(begun) => begun,
        None => begin(gateway, request, &key, &csr).await?,
    };
    match enrollment.state {
        State::Waiting => Ok(Answer::Waiting(Waiting {
            fingerprint: fingerprint(&enrollment.key),
        })),
        State::Denied => Err(Fault::new(
            ErrorCode::TokenInvalid,
            "an administrator denied this enrollment",
        )),
        State::Approved | State::Done { .. } => certify(gateway, &enrollment, csr, &request.agent_version)
            .await
            .map(Answer::Enrolled),
    }
}

/// An administrator decides on the device of this fingerprint; false when none waits.
pub(crate) async fn decide(gateway: &Gateway, shown: &str, approve: bool) -> Result<bool, Fault> {
    gateway.health.check_writable()?;
    let waiting = gateway.store.waiting_enrollments().await?;
    let Some(enrollment) = waiting.iter().find(|waiting| fingerprint(&waiting.key) == shown) else {
        return Ok(false);
    };
    if approve {
        check_person(gateway, enrollment.person).await?;
    }
    let payload = json!({
        "device": enrollment.device,
        "person": enrollment.person,
        "token": hex::encode(enrollment.token),
        "fingerprint": shown,
        "approved": approve,
    });
    let record = gateway.entry(Kind::EnrollDecision, Some(enrollment.person), payload)?;
    let mut write = gateway.store.write().await?;
    if !enrollments::decide(&mut write, enrollment.request, approve).await? {
        return Ok(false);
    }
    gateway.record_with(write, vec![record]).await?;
    Ok(true)
}

/// What makes two requests the same one.
fn digest(request: &EnrollRequest) -> Digest {
    let mut asked = proof_message(&request.token.0, &request.csr_pem);
    asked.extend(&request.device_key.0);
    Digest::of(&asked)
}

fn check_proof(request: &EnrollRequest) -> Result<DevicePublicKey, Fault> {
    let refused = |detail: &str| Fault::new(ErrorCode::ProofInvalid, detail);
    if request.agent_version.chars().count() > VERSION_CHARS_MAX {
        return Err(Fault::bad_request("the agent's version is too long"));
    }
    let key = DevicePublicKey::from_sec1(&request.device_key.0)
        .map_err(|_| refused("the device key is no P-256 point"))?;
    let proof: &[u8; 64] = request
        .proof
        .0
        .as_slice()
        .try_into()
        .map_err(|_| refused("the proof must have 64 bytes"))?;
    if key.verify(&proof_message(&request.token.0, &request.csr_pem), proof) {
        Ok(key)
    } else {
        Err(refused("the proof does not verify under the device key"))
    }
}

fn parse_csr(pem: &str) -> Result<Csr, Fault> {
    Csr::parse(pem).map_err(|refused| Fault::new(ErrorCode::ProofInvalid, refused.to_string()))
}

/// Spends the token, after everything that can be refused without spending it.
async fn begin(
    gateway: &Gateway,
    request: &EnrollRequest,
    key: &DevicePublicKey,
    csr: &Csr,
) -> Result<Enrollment, Fault> {
    let now_s = gateway.clock.now_s();
    let token = check_token(gateway, request).await?;
    if gateway.store.is_certified(csr.key).await? {
        return Err(Fault::new(
            ErrorCode::ProofInvalid,
            "the TLS key was certified before",
        ));
    }
    let device = match request.again {
        Some(device) => device,
        None => DeviceId::from_bytes(random::bytes()?),
    };
    let enrollment = Enrollment {
        request: digest(request),
        token: token.id,
        device,
        person: token.person,
        class: token.class,
        key: key.to_sec1(),
        csr_pem: request.csr_pem.clone(),
        at_s: now_s,
        state: if token.approval {
            State::Waiting
        } else {
            State::Approved
        },
    };
    let mut write = gateway.store.write().await?;
    if !tokens::spend(&mut write, token.id, now_s).await? {
        return Err(token_invalid());
    }
    enrollments::add(&mut write, &enrollment).await?;
    let payload = json!({
        "token": hex::encode(token.id), "person": token.person, "device": device, "used": true,
    });
    let record = gateway.entry(Kind::Token, Some(token.person), payload)?;
    gateway.record_with(write, vec![record]).await?;
    Ok(enrollment)
}

/// Finds the token by its hash, which is then compared in constant time, so that neither the lookup nor the comparison
/// says anything about a stored token.
async fn check_token(gateway: &Gateway, request: &EnrollRequest) -> Result<Token, Fault> {
    if request.token.0.len() != TOKEN_BYTES {
        return Err(token_invalid());
    }
    let hash = Digest::of(&request.token.0);
    let token = gateway.store.token(hash).await?.ok_or_else(token_invalid)?;
    aws_lc_rs::constant_time::verify_slices_are_equal(token.hash.as_bytes(), hash.as_bytes())
        .map_err(|_| token_invalid())?;
    let is_elsewhere = |bound: Option<Digest>, said: Option<Digest>| bound.is_some() && bound != said;
    if is_elsewhere(token.host, request.host) || is_elsewhere(token.serial, request.serial) {
        return Err(Fault::new(
            ErrorCode::TokenInvalid,
            "the token is bound to another machine",
        ));
    }
    check_person(gateway, token.person).await?;
    if let Some(device) = request.again {
        check_again(gateway, device, &token, &request.device_key.0)?;
    }
    Ok(token)
}

/// Whether the person is still there: asked at each step of a device, for they may have left since the last one (E1).
async fn check_person(gateway: &Gateway, person: PersonId) -> Result<(), Fault> {
    let person = gateway.store.person_by_id(person).await?;
    if person.is_none_or(|person| person.revoked_s.is_some()) {
        return Err(Fault::new(ErrorCode::NotEnrolled, "the token's person has left"));
    }
    Ok(())
}

/// A device enrols again as itself with the key that is logged for it, by a token of its own person (E8).
fn check_again(gateway: &Gateway, device: DeviceId, token: &Token, key: &[u8]) -> Result<(), Fault> {
    let logged = logged_device(gateway, device)?;
    if logged.revoked {
        return Err(Fault::new(
            ErrorCode::DeviceRevoked,
            "a revoked device does not come back: enrol in a new folder",
        ));
    }
    if logged.key.to_sec1() != key || logged.person != token.person || logged.class != token.class {
        return Err(Fault::new(
            ErrorCode::TokenInvalid,
            "the token is for another person or class than the device's",
        ));
    }
    Ok(())
}

fn logged_device(gateway: &Gateway, device: DeviceId) -> Result<LoggedDevice, Fault> {
    gateway.directory.device(device).ok_or_else(|| {
        Fault::new(
            ErrorCode::IdentityInvalid,
            "the device is not in the directory log: enrol in a new folder",
        )
    })
}

fn token_invalid() -> Fault {
    Fault::new(
        ErrorCode::TokenInvalid,
        "the token is unknown, used, revoked or expired",
    )
}

/// Certifies, logs and records the device, and only then answers. What was done before a crash is not done again.
async fn certify(
    gateway: &Gateway,
    enrollment: &Enrollment,
    csr: Csr,
    agent_version: &str,
) -> Result<EnrollResponse, Fault> {
    let device = Device {
        id: enrollment.device,
        person: enrollment.person,
    };
    let logged = gateway.directory.device(device.id);
    if logged.as_ref().is_some_and(|logged| logged.revoked) {
        return Err(Fault::new(
            ErrorCode::DeviceRevoked,
            "this device has been revoked",
        ));
    }
    let is_logged = logged.is_some();
    if let State::Done { certificate_pem } = &enrollment.state
        && is_logged
    {
        return response(gateway, enrollment, certificate_pem);
    }
    check_person(gateway, enrollment.person).await?;
    let mut issued = gateway.store.certificates(device.id).await?;
    let is_certified = matches!(enrollment.state, State::Done { .. });
    let certificate = match issued.pop() {
        Some(newest) if is_certified => newest,
        newest => {
            let generation = newest.map_or(1, |newest| newest.generation.saturating_add(1));
            renewal::issue(gateway, &device, csr, generation)?
        }
    };
    let certificate_pem = certificate.pem.clone().unwrap_or_default();
    let payload = json!({
        "device": device.id,
        "person": device.person,
        "class": enrollment.class,
        "log_index": logged.map(|logged| logged.index),
        "token": hex::encode(enrollment.token),
        "agent_version": agent_version,
        "generation": certificate.generation,
        "certificate": Digest::of(certificate_pem.as_bytes()),
    });
    let mut write = gateway.store.write().await?;
    if !is_certified {
        identity::add_certificate(&mut write, device.id, &certificate).await?;
        enrollments::finish(&mut write, enrollment.request, &certificate_pem).await?;
    }
    let subject = Some(device.person);
    if is_logged {
        let record = gateway.entry(Kind::Enroll, subject, payload)?;
        gateway.record_with(write, vec![record]).await?;
    } else {
        write.commit().await?;
        gateway.seams.reach(Point::Certified).await;
        let entry = DirectoryEntry::DeviceAdd {
            device: device.id,
            person: device.person,
            key: enrollment.key,
            class: enrollment.class,
            at_s: gateway.clock.now_s(),
        };
        gateway.log(entry, Kind::Enroll, subject, payload).await?;
    }
    gateway.wake.everyone();
    tracing::info!(device = %device.id, generation = certificate.generation, "device enrolled");
    response(gateway, enrollment, &certificate_pem)
}

fn response(
    gateway: &Gateway,
    enrollment: &Enrollment,
    certificate_pem: &str,
) -> Result<EnrollResponse, Fault> {
    let logged = logged_device(gateway, enrollment.device)?;
    Ok(EnrollResponse {
        device: logged.device,
        person: logged.person,
        class: logged.class,
        tenant: gateway.config.tenant.clone(),
        certificate_pem: certificate_pem.to_owned(),
        log_index: logged.index,
    })
}
