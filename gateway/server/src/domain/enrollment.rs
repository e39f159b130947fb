//! A device joins (E1-E3, E9): token spent, proof checked, logged, recorded, and only then certified.

use gateway_api::error::ErrorCode;
use gateway_api::v1::enroll::{EnrollRequest, EnrollResponse, proof_message};
use policies::directory::DirectoryEntry;
use policies::keys::DevicePublicKey;
use policies::terms::{DeviceId, Digest};
use serde_json::json;

use super::fault::Fault;
use super::gateway::Gateway;
use super::random;
use super::record::Kind;
use crate::store::tokens::Token;

const TOKEN_BYTES: usize = 32;
const VERSION_CHARS_MAX: usize = 64;

/// Enrols a device.
pub(crate) async fn enroll(gateway: &Gateway, request: &EnrollRequest) -> Result<EnrollResponse, Fault> {
    gateway.check_open()?;
    let key = check_proof(request)?;
    let now_s = gateway.clock.now_s();
    let device = DeviceId::from_bytes(random::bytes()?);
    let certificate_pem = gateway
        .keys
        .authority
        .issue_device(
            &request.csr_pem,
            &gateway.config.tenant,
            device,
            now_s,
            gateway.config.identity.certificate_lifetime_s,
        )?
        .map_err(|refused| Fault::new(ErrorCode::ProofInvalid, refused.to_string()))?;
    let token = spend(gateway, &request.token.0, now_s).await?;
    let person = gateway
        .store
        .person_by_id(token.person)
        .await?
        .filter(|person| person.revoked_s.is_none());
    let person = person.ok_or_else(|| Fault::new(ErrorCode::NotEnrolled, "the token's person has left"))?;
    let entry = DirectoryEntry::DeviceAdd {
        device,
        person: person.id,
        key: key.to_sec1(),
        class: token.class,
        at_s: now_s,
    };
    let log_index = gateway
        .directory
        .append(entry)
        .await
        .map_err(|error| gateway.storage_fault(&error))?;
    let payload = json!({
        "device": device,
        "person": person.id,
        "class": token.class,
        "token": hex::encode(token.id),
        "log_index": log_index,
        "agent_version": request.agent_version,
        "certificate": Digest::of(certificate_pem.as_bytes()),
    });
    gateway.record(Kind::Enroll, Some(person.id), payload).await?;
    gateway.wake.everyone();
    tracing::info!(%device, log_index, "device enrolled");
    Ok(EnrollResponse {
        device,
        person: person.id,
        class: token.class,
        tenant: gateway.config.tenant.clone(),
        certificate_pem,
        log_index,
    })
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

/// Spends the token. It is looked up by its hash, which is then compared in constant time, so that neither the lookup
/// nor the comparison says anything about a stored token.
async fn spend(gateway: &Gateway, token: &[u8], now_s: u64) -> Result<Token, Fault> {
    let invalid = || {
        Fault::new(
            ErrorCode::TokenInvalid,
            "the token is unknown, used, revoked or expired",
        )
    };
    if token.len() != TOKEN_BYTES {
        return Err(invalid());
    }
    let hash = Digest::of(token);
    let spent = gateway
        .store
        .spend_token(hash, now_s)
        .await?
        .ok_or_else(invalid)?;
    aws_lc_rs::constant_time::verify_slices_are_equal(spent.hash.as_bytes(), hash.as_bytes())
        .map_err(|_| invalid())?;
    Ok(spent)
}
