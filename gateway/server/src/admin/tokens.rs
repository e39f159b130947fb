//! Enrollment tokens (E1) and the enrollment file, which pins everything that an agent trusts (K6).

use gateway_api::bytes::Bytes;
use gateway_api::enrollment::EnrollmentFile;
use gateway_api::error::ErrorCode;
use gateway_api::v1::enroll::binding_digest;
use policies::terms::{AudienceClass, Digest};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Reply, lines, people};
use crate::domain::fault::Fault;
use crate::domain::gateway::Gateway;
use crate::domain::random;
use crate::domain::record::Kind;
use crate::limits;
use crate::store::tokens::{self, Token};

/// What a token is to be.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewToken {
    pub(crate) person: String,
    pub(crate) class: AudienceClass,
    pub(crate) lifetime_s: u64,
    /// Devices that it enrols.
    pub(crate) uses: u64,
    /// The one host name that it counts for.
    pub(crate) host: Option<String>,
    /// The one machine's serial number that it counts for.
    pub(crate) serial: Option<String>,
    /// Whether an administrator approves each device.
    pub(crate) approval: bool,
}

pub(super) async fn add(gateway: &Gateway, new: NewToken) -> Result<Reply, Fault> {
    if new.lifetime_s == 0 || new.lifetime_s > limits::TOKEN_LIFETIME_S_MAX {
        return Err(Fault::bad_request("a token lives for at most 72 h"));
    }
    if new.uses == 0 || new.uses > limits::TOKEN_USES_MAX {
        let detail = format!("a token enrols between 1 and {} devices", limits::TOKEN_USES_MAX);
        return Err(Fault::bad_request(detail));
    }
    gateway.check_open()?;
    let person = people::find(gateway, &new.person).await?;
    let now_s = gateway.clock.now_s();
    let expires_s = now_s.saturating_add(new.lifetime_s);
    let secret = random::bytes::<32>()?;
    let bind = |name: &Option<String>| name.as_deref().map(|name| binding_digest(&secret, name));
    let token = Token {
        id: random::bytes::<16>()?,
        hash: Digest::of(&secret),
        person: person.id,
        class: new.class,
        expires_s,
        uses_max: new.uses,
        uses: 0,
        host: bind(&new.host),
        serial: bind(&new.serial),
        approval: new.approval,
        revoked_s: None,
    };
    let payload = json!({
        "token": hex::encode(token.id), "person": person.id, "class": token.class, "expires_s": expires_s,
        "uses": token.uses_max, "bound_to_host": token.host.is_some(), "bound_to_serial": token.serial.is_some(),
        "approval": token.approval, "made": true,
    });
    let record = gateway.entry(Kind::Token, Some(person.id), payload)?;
    let mut write = gateway.store.write().await?;
    tokens::add(&mut write, &token, now_s).await?;
    gateway.record_with(write, vec![record]).await?;
    let file = toml::to_string(&enrollment_file(gateway, &secret, &token)).map_err(anyhow::Error::from)?;
    let json = json!({ "token": hex::encode(token.id), "expires_s": expires_s, "file": file });
    let text = format!(
        "token {} lives until {expires_s} (Unix seconds)",
        hex::encode(token.id)
    );
    Ok(Reply::new(json, text))
}

fn enrollment_file(gateway: &Gateway, secret: &[u8], token: &Token) -> EnrollmentFile {
    let public = |key: &ed25519_dalek::SigningKey| Bytes(key.verifying_key().to_bytes().to_vec());
    EnrollmentFile {
        token: Bytes(secret.to_vec()),
        expires_s: token.expires_s,
        bound_to_host: token.host.is_some(),
        bound_to_serial: token.serial.is_some(),
        gateway_url: gateway.public_url(),
        tenant: gateway.config.tenant.clone(),
        ca_pem: gateway.keys.authority.certificate_pem().to_owned(),
        directory_log_key: gateway.directory.vkey().to_owned(),
        ledger_log_key: gateway.ledger.vkey().to_owned(),
        acceptance_key: public(&gateway.keys.acceptance),
        external_sender_key: public(&gateway.keys.external_sender),
        timestamp_key: public(&gateway.keys.timestamp),
        author_keys: gateway.config.trust.author_keys.clone(),
        approver_keys: gateway.config.trust.approver_keys.clone(),
        compliance_key: gateway.config.trust.compliance_key.clone(),
    }
}

pub(super) async fn list(gateway: &Gateway) -> Result<Reply, Fault> {
    let now_s = gateway.clock.now_s();
    let tokens = gateway.store.tokens().await?;
    let json = tokens.iter().map(|token| {
        json!({
            "token": hex::encode(token.id), "person": token.person, "class": token.class,
            "expires_s": token.expires_s, "uses": token.uses, "uses_max": token.uses_max,
            "approval": token.approval, "state": state(token, now_s),
        })
    });
    let text = tokens.iter().map(|token| {
        format!(
            "{}  {}  {}",
            hex::encode(token.id),
            token.person,
            state(token, now_s)
        )
    });
    let text = lines(text.collect(), "there are no tokens");
    Ok(Reply::new(json!({ "tokens": json.collect::<Vec<_>>() }), text))
}

fn state(token: &Token, now_s: u64) -> &'static str {
    match token.revoked_s {
        _ if token.uses >= token.uses_max => "used",
        Some(_) => "revoked",
        None if token.expires_s <= now_s => "expired",
        None => "live",
    }
}

pub(super) async fn revoke(gateway: &Gateway, id: &str) -> Result<Reply, Fault> {
    let id: [u8; 16] = hex::decode(id)
        .ok()
        .and_then(|id| id.try_into().ok())
        .ok_or_else(|| Fault::bad_request("a token's id has 32 hex digits"))?;
    let mut write = gateway.store.write().await?;
    if !tokens::revoke(&mut write, &id, gateway.clock.now_s()).await? {
        return Err(Fault::new(
            ErrorCode::NotFound,
            "there is no live token of this id",
        ));
    }
    let payload = json!({ "token": hex::encode(id), "revoked": true });
    let record = gateway.entry(Kind::Token, None, payload)?;
    gateway.record_with(write, vec![record]).await?;
    Ok(Reply::new(
        json!({ "token": hex::encode(id) }),
        format!("revoked token {}", hex::encode(id)),
    ))
}
